"""Where things lie on a ZooKeeper server, and under which rights. Pure: no driver, no I/O.

    /<namespace>/groups/<group>/<member>    ephemeral; its data are the metadata's JSON
    /<namespace>/groups/<group>/!<member>   persistent: forced down; its data are the reason
    /<namespace>/cells/<cell>               persistent; its data are the cell's value

Names are percent-escaped, so that each has one path and each path one name; no escaped name begins
with an exclamation mark.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from membership.errors import InvalidValue

DEFAULT_PORT = 2181


class Acl(NamedTuple):
    """Who may do what to a node: ZooKeeper's permission bits, a scheme and an identity."""

    permissions: int
    scheme: str
    identity: str


ACL = Acl(31, "world", "anyone")
"""All rights for everybody: what nodes are created with on a connection without an identity."""
_READABLE = Acl(1, "world", "anyone")


def rights(digest: str | None, *, world_readable: bool) -> tuple[Acl, ...]:
    """What every node of a connection is created with. ``digest`` is ``user:password``.

    What comes out holds no password, only the hash that ZooKeeper keeps.
    """
    if digest is None:
        return (ACL,)
    user = digest.partition(":")[0]
    hashed = b64encode(sha1(digest.encode()).digest()).decode()  # noqa: S324  ZooKeeper's choice
    owner = Acl(31, "digest", f"{user}:{hashed}")
    return (owner, _READABLE) if world_readable else (owner,)


class Address(NamedTuple):
    """What a URL says: the servers, any of which will do, and the namespace on them."""

    hosts: tuple[tuple[str, int], ...]
    namespace: str


_SHAPE = "zookeeper://host:port,host:port/namespace"
_MARK = "!"
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")


def parse(url: str) -> Address:
    """Take the URL apart. Raises: InvalidValue, without repeating what may be a secret.

    A URL is there to be shown, so one with a user and a password is refused: they belong in
    `ZooKeeperConfig.digest`.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InvalidValue(
            f"credentials go into ZooKeeperConfig(digest=...), not into the URL: {_SHAPE}"
        )
    if parts.scheme != "zookeeper" or parts.query or parts.fragment:
        raise InvalidValue(f"the URL has to be of the form {_SHAPE}")
    namespace = parts.path.strip("/")
    segments = namespace.split("/")
    if not all(map(_SEGMENT.fullmatch, segments)) or segments[0] == "zookeeper":
        raise InvalidValue(
            f"{namespace!r} is no namespace (letters, digits and ._~- between slashes, "
            f"and not ZooKeeper's own): {_SHAPE}"
        )
    return Address(tuple(_host(text) for text in parts.netloc.split(",")), namespace)


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise InvalidValue(f"{text!r} is no server: {_SHAPE}")
    return host, port or DEFAULT_PORT


def namespace_of(url: str) -> str:
    """The URL's namespace. Raises: InvalidValue."""
    return parse(url).namespace


def escape(name: str) -> str:
    """The path segment for a name: never empty, ``.`` or ``..``, never with a slash."""
    return name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")


def unescape(segment: str) -> str | None:
    """The name that `escape` made this segment of; None for one that it can't have made."""
    name = unquote(segment)
    return name if name and escape(name) == segment else None


def groups_path(namespace: str) -> str:
    return f"/{namespace}/groups"


def group_path(namespace: str, group: str) -> str:
    return f"/{namespace}/groups/{escape(group)}"


def member_path(namespace: str, group: str, name: str) -> str:
    return f"{group_path(namespace, group)}/{escape(name)}"


def marker_path(namespace: str, group: str, name: str) -> str:
    """Where it is noted that the name is forced down."""
    return f"{group_path(namespace, group)}/{_MARK}{escape(name)}"


def split_marked(segments: Iterable[str]) -> tuple[set[str], set[str]]:
    """Of what is below a group: the segments that may be members', and those forced down.

    The latter come without their mark, whether or not there is a member.
    """
    unmarked: set[str] = set()
    marked: set[str] = set()
    for segment in segments:
        (marked if segment.startswith(_MARK) else unmarked).add(segment.removeprefix(_MARK))
    return unmarked, marked


def cell_path(namespace: str, cell: str) -> str:
    return f"/{namespace}/cells/{escape(cell)}"


def parent(path: str) -> str:
    """The path above; ``/`` for one right below the root."""
    return path.rpartition("/")[0] or "/"


def ancestors(path: str) -> tuple[str, ...]:
    """The paths that have to exist before this one can, the topmost first."""
    segments = path.split("/")[1:-1]
    return tuple("/" + "/".join(segments[: end + 1]) for end in range(len(segments)))
