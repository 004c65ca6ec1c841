"""The contract: what every backend promises, whatever it stands on.

Nothing here speaks to a server. `membership.testing` checks each promise on each backend.

All methods may be called from any thread. A call that needs the servers either has its effect
and returns, or raises `Disconnected` within the backend's connect timeout plus its session or
member timeout; after `close` every call raises `Closed`. Callbacks run on a thread of the
library's own, one at a time for each connection, and must not block for long.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from membership.model import CellState, Member, MemberEvent, Metadata, View

T_co = TypeVar("T_co", covariant=True)

Meter = Callable[[str, float], None]
"""Told of each measurement as it is made: a name and a value; it must be quick.

It is called on the library's threads, several connections' at once where they share it. Names end
in their unit. There are:

``renewal_seconds``: a renewal of this connection's members was answered, this long after it was
sent. ``renewal_late_seconds``: it was sent this long after it was due. ``read_seconds``: a watched
group was read in this time; ``look_seconds``: what was to expire in it was. Where the servers tell
of changes and deaths there is neither.

`membership.metrics` has adapters.
"""

Callback = Callable[["Registration"], None]


@dataclass(frozen=True, slots=True)
class Traits:
    """What differs between backends, as data."""

    delivery: Literal["push", "poll"]
    clock: Literal["server", "writer", "reader", "process"]
    """Whose clock decides that a member is dead."""
    detection: float
    """The longest time, in s, from a member's crash until a watch says ``left``, unloaded."""
    lease: float
    """For how long, in s, the servers keep a member after its last answered renewal, at least."""
    staleness: float
    """The longest time, in s, from a cut until a view stops calling itself fresh, unloaded."""
    metadata_bytes: int
    """The most that one member's metadata may take as UTF-8 JSON."""
    cell_bytes: int
    exempt: frozenset[str] = frozenset()
    """Promises that this backend is stated not to keep; only Nova's ways are."""


class Registration(ABC):
    """One membership of ours. It heals itself until `leave`, under the same name.

    After its session or row is lost it joins again, with its current metadata and a new token:
    ``on_lost`` is called when the loss is learnt, ``on_rejoined`` once it stands again. What a
    dead session of its own left behind is waited out. A name that a live other has taken
    meanwhile stays theirs; the registration keeps trying and stays lost.
    """

    group: str
    name: str

    @property
    @abstractmethod
    def token(self) -> int:
        """The current life's incarnation; the last one's while it is lost."""

    @property
    @abstractmethod
    def metadata(self) -> Metadata:
        """What `update` last accepted."""

    @property
    @abstractmethod
    def is_member(self) -> bool:
        """Whether this life may still be believed in, decided without asking anybody.

        False from the local monotonic deadline on: the sending of the last answered renewal,
        plus the timeout, less a drift margin. True is no promise that others agree yet.
        """

    @abstractmethod
    def update(self, metadata: Metadata) -> None:
        """Replace the metadata; others see one ``updated``. Same value: no change, no event.

        While lost, the new value is what the next life joins with.

        Raises: NotAMember after `leave`; InvalidValue; Disconnected: it is made up for as soon as
        the servers answer, in this life or the next.
        """

    @abstractmethod
    def leave(self) -> None:
        """Be gone at once and for good. A second call does nothing.

        Raises: Disconnected, when the servers couldn't be told: the registration is over here,
        and they will notice by their timeout.
        """


class Closable(ABC):
    """What has an end, as a context manager."""

    @abstractmethod
    def close(self) -> None:
        """End it. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Stream(Closable, Generic[T_co]):
    """What one reader is told, one thing after another. `close` stops its iteration."""

    @abstractmethod
    def next(self, timeout: float | None = None) -> T_co | None:
        """The next one, waited for up to ``timeout`` seconds (None: for ever).

        None after the timeout, and at once after `close`.
        """

    @abstractmethod
    def notify(self, call: Callable[[], None]) -> None:
        """Have it called whenever `next` may have something, and at the end: for who waits for
        several streams at a time.

        First of all from here, for what came before. It has to be quick and leave the stream
        alone; another one takes its place.
        """

    def __iter__(self) -> Iterator[T_co]:
        while (told := self.next()) is not None:
            yield told


class Watch(Stream[MemberEvent]):
    """A stream of one group's changes, and the view that they add up to.

    The members present at first come as ``joined``. From then on every *net* difference is an
    event, in order for each member: an incarnation that was replaced is ``left`` and
    ``joined``. Where events can have been missed (a lost session, a slow consumer's full
    queue) the stream says ``resynced`` and goes on with the net difference.

    The queue holds up to ``limit`` events; past that the consumer is too slow: queued events
    are dropped for one ``resynced`` and the net difference at the time of its next call.
    """

    group: str

    @property
    @abstractmethod
    def view(self) -> View:
        """What is known now; never blocks, never asks the servers."""


class CellWatch(Stream[CellState]):
    """The states of one cell: the present one first, then each newer one that is still current.

    States in between may be passed over.
    """


@dataclass(frozen=True, slots=True)
class Fence:
    """A condition on another cell: that its version is still this one."""

    cell: str
    version: int


@dataclass(frozen=True, slots=True)
class Absent:
    """A condition on a group: that nobody of that name is a live member.

    Where beats decide, it is judged by what a watch of this connection has seen, and by the row
    as it is at that moment: a member that beat since then is not absent.
    """

    group: str
    name: str


Condition = Fence | Absent


class Cell(ABC):
    """A small value with a version that only grows: shared state that recipes are built on.

    The versions of one cell are 1, 2, 3, …, across restarts of clients and servers.
    """

    name: str

    @abstractmethod
    def get(self) -> CellState:
        """The committed state, never older than any that this connection has seen.

        Raises: Disconnected.
        """

    @abstractmethod
    def compare_and_set(self, value: bytes, version: int, *under: Condition) -> CellState:
        """Write ``value`` if the cell's version is still ``version`` (0: never written).

        With conditions, only if they hold too; all are checked in one atomic step with the
        write. It is committed, durable where the servers are, when the call returns.

        Raises: Conflict, nothing written; Disconnected, outcome unknown: `get` tells;
        InvalidValue where the value is too large.
        """

    @abstractmethod
    def watch(self) -> CellWatch:
        """Follow the cell."""


class Membership(Closable):
    """One connection to the servers, with any number of registrations, watches and cells."""

    traits: Traits

    @abstractmethod
    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,
        on_rejoined: Callback | None = None,
    ) -> Registration:
        """Become a member. On return others can see it.

        Raises: NameTaken if a live other holds the name (where a dead one's remains do, they
        are waited out first); InvalidValue; Disconnected.
        """

    @abstractmethod
    def members(self, group: str) -> View:
        """Read the group now. A group that nobody joined is empty, not an error.

        Raises: Disconnected. For an answer from what is known, ask a watch for its view.
        """

    @abstractmethod
    def member(self, group: str, name: str) -> Member | None:
        """Read one member now; None where it isn't alive. Raises: Disconnected."""

    @abstractmethod
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that have members, sorted. Raises: Disconnected."""

    @abstractmethod
    def watch(self, group: str, *, limit: int = 100_000) -> Watch:
        """Follow a group. On return its view is complete. Raises: Disconnected."""

    @abstractmethod
    def force_down(self, group: str, name: str, reason: str = "") -> None:
        """Have everybody take that name for no member, however alive it is: for maintenance.

        Views lack it and watches say ``left``, as of a crash; it may be done before the name has
        joined. The member itself is left alone: its registration goes on, and keeps the name.
        Doing it again replaces the reason. Raises: InvalidValue; Disconnected.
        """

    @abstractmethod
    def lift(self, group: str, name: str) -> None:
        """End what `force_down` began: a life that went on is ``joined``, with its old token.

        Where nothing was forced down, nothing happens. Raises: Disconnected.
        """

    @abstractmethod
    def forced_down(self, group: str) -> Mapping[str, str]:
        """The names that are forced down now, each with its reason. Raises: Disconnected."""

    @abstractmethod
    def cell(self, name: str) -> Cell:
        """The cell of that name; it exists from its first write on."""

    @abstractmethod
    def close(self) -> None:
        """Leave everywhere and let go of every thread and connection. Never raises for a server
        that doesn't answer; its members end by their timeout then. A second call does nothing.
        """
