"""What we ask of ZooKeeper, as values: kazoo's requests going out, our own types coming back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
    SessionMovedError,
    UnimplementedError,
)
from kazoo.protocol import serialization as wire
from kazoo.security import Id

from membership.backends.zookeeper.connection import (
    AddWatch,
    MultiRead,
    RemoveWatches,
    Watching,
)
from membership.backends.zookeeper.paths import Acl
from membership.errors import MembershipError

T = TypeVar("T")

_EPHEMERAL = 1
ANY = -1
"""In place of a version: whichever it is."""


class Lost(Exception):
    """The connection or the session ended before an answer came: the outcome is unknown."""


class Refused(Exception):
    """The server's answer is no, and nothing was changed."""


class NoNode(Refused):
    """There is nothing at the path, or above it."""


class NodeExists(Refused):
    """There is something at the path."""


class BadVersion(Refused):
    """The node's data have another version."""


class Unimplemented(Refused):
    """The server is too old to know the request."""


_TRANSLATIONS: tuple[tuple[tuple[type[Exception], ...], type[Exception]], ...] = (
    ((ConnectionLoss, SessionExpiredError, SessionMovedError), Lost),
    ((NoNodeError,), NoNode),
    ((NodeExistsError,), NodeExists),
    ((BadVersionError,), BadVersion),
    ((UnimplementedError,), Unimplemented),
)


def _translate(error: Exception, request: Any) -> Exception:
    what = getattr(request, "path", "a transaction")
    for theirs, ours in _TRANSLATIONS:
        if isinstance(error, theirs):
            found = ours()
            break
    else:
        if isinstance(error, NoAuthError):
            why = "this connection's identity has no right to it"
        else:
            why = "see the cause"
        found = MembershipError(f"ZooKeeper refuses {what} ({type(error).__name__}): {why}")
    found.__cause__ = error
    return found


@dataclass(frozen=True, slots=True)
class Stat:
    """What ZooKeeper notes of a node."""

    created: int
    """The transaction that created it (czxid): no two lives of a path share one."""
    version: int
    """How often its data were set since."""
    owner: int
    """The session that it will die with (ephemeralOwner); 0 where it persists."""
    children: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as read at one instant."""

    data: bytes
    stat: Stat


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A request, and how to read its answer. ``optional``: None is the answer for no node."""

    request: Any
    read: Callable[[Any], T]
    optional: bool = False

    def outcome(self, answer: Any, error: Exception | None) -> T | Exception:
        """What the server's answer, or the error in its place, means to us."""
        if error is None:
            try:
                return self.read(answer)
            except KazooException as found:
                error = found
        elif self.optional and isinstance(error, NoNodeError):
            return cast(T, None)
        return _translate(error, self.request)


def create(path: str, data: bytes, rights: tuple[Acl, ...], *, ephemeral: bool) -> Operation[Stat]:
    """Raises: NoNode (no parent), NodeExists."""
    request = wire.Create2(path, data, _acl(rights), _EPHEMERAL if ephemeral else 0)
    return Operation(request, lambda answer: _stat(answer[1]))


def write(path: str, data: bytes, version: int = ANY) -> Operation[Stat]:
    """Raises: NoNode, BadVersion."""
    return Operation(wire.SetData(path, data, version), _stat)


def delete(path: str, version: int = ANY) -> Operation[None]:
    """Raises: NoNode, BadVersion."""
    return Operation(wire.Delete(path, version), _nothing)


def get(path: str, *, watch: bool = False) -> Operation[Node | None]:
    """The node; the watch, where there is one, is of its data and its end."""
    request = wire.GetData(path, None)
    return Operation(
        Watching(request) if watch else request,
        _node,
        optional=True,
    )


def get_all(paths: Sequence[str]) -> Operation[list[Node | None]]:
    """The nodes, all as of one instant. Raises: Unimplemented before 3.6."""
    return Operation(
        MultiRead(tuple(paths)),
        lambda answers: [answer and _node(answer) for answer in answers],
    )


def exists(path: str, *, watch: bool = False) -> Operation[Stat | None]:
    """The node's stat; the watch is of its data, its end and its beginning."""
    request = wire.Exists(path, None)
    return Operation(
        Watching(request) if watch else request,
        lambda answer: _stat(answer) if answer else None,
        optional=True,
    )


def children(path: str, *, watch: bool = False) -> Operation[Sequence[str] | None]:
    """The last path segments below; the watch is of the list and the node's end."""
    request = wire.GetChildren(path, None)
    return Operation(Watching(request) if watch else request, tuple, optional=True)


def sync(path: str) -> Operation[None]:
    """Have the server catch up with its leader before it answers what is asked after this."""
    return Operation(wire.Sync(path), _nothing)


def add_watch(path: str) -> Operation[None]:
    """Tell of every change at the path and below it. Raises: Unimplemented before 3.6."""
    return Operation(AddWatch(path), _nothing)


def remove_watches(path: str) -> Operation[None]:
    return Operation(RemoveWatches(path), _nothing)


@dataclass(frozen=True, slots=True)
class Failed:
    """Which part of a transaction failed, counted from 0, and how."""

    part: int
    error: Exception


def transaction(*parts: Any) -> Operation[Failed | None]:
    """All parts or none, in order; the answer is the first part that failed."""
    return Operation(wire.Transaction(parts), lambda results: _first_failure(parts, results))


def check_part(path: str, version: int = ANY) -> Any:
    return wire.CheckVersion(path, version)


def create_part(path: str, data: bytes, rights: tuple[Acl, ...]) -> Any:
    return wire.Create(path, data, _acl(rights), 0)


def creates(part: Any) -> bool:
    """Whether it is a `create_part`."""
    return isinstance(part, wire.Create)


def write_part(path: str, data: bytes, version: int) -> Any:
    return wire.SetData(path, data, version)


def delete_part(path: str) -> Any:
    return wire.Delete(path, ANY)


@cache
def _acl(rights: tuple[Acl, ...]) -> list[Any]:
    return [wire.ACL(one.permissions, Id(one.scheme, one.identity)) for one in rights]


def _node(answer: Any) -> Node:
    data, stat = answer
    return Node(data or b"", _stat(stat))


def _stat(stat: Any) -> Stat:
    return Stat(stat.czxid, stat.version, stat.ephemeralOwner, stat.numChildren)


def _nothing(_: object) -> None:
    return None


def _first_failure(parts: Sequence[Any], results: Sequence[object]) -> Failed | None:
    for number, result in enumerate(results):
        if isinstance(result, Exception) and not isinstance(
            result, (RolledBackError, RuntimeInconsistency)
        ):
            return Failed(number, _translate(result, parts[number]))
    return None
