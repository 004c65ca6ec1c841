"""ZooKeeper's client protocol, as much of it as a member speaks: bytes in, values out.

Requests and responses are jute records behind a four-byte length. Source of the layouts:
ZooKeeper's ``zookeeper.jute``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PING_XID = -2
WATCH_XID = -1

CREATE = 15  # create2, whose answer has the stat; servers from 3.5
DELETE = 2
EXISTS = 3
GET = 4
PING = 11
CLOSE = -11

NO_NODE = -101
NODE_EXISTS = -110
SESSION_EXPIRED = -112
SESSION_MOVED = -118
CONNECTION_LOSS = -4

EPHEMERAL = 1
PERSISTENT = 0

_CONNECT = struct.Struct(">iqiq")
_REPLY = struct.Struct(">iqi")
_HEAD = struct.Struct(">iii")
_STAT = struct.Struct(">qqqqiiiqiiq")
_INT = struct.Struct(">i")

PING_FRAME = _HEAD.pack(8, PING_XID, PING)
_PONG = struct.pack(">ii", 16, PING_XID)
PONG_BYTES = 20


@dataclass(frozen=True, slots=True)
class Acl:
    """One entry of an access control list."""

    permissions: int
    scheme: str
    identity: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The answer to a connect request; ``timeout`` 0: the session that was asked for is over."""

    timeout: float
    session: int
    password: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The header of an answer, and the body that follows it."""

    xid: int
    zxid: int
    error: int
    body: bytes


def _bytes(data: bytes) -> bytes:
    return _INT.pack(len(data)) + data


def connect(last_zxid: int, timeout: float, session: int, password: bytes) -> bytes:
    """A connect request's frame; session 0 asks for a new one. ``timeout`` in s."""
    body = _CONNECT.pack(0, last_zxid, round(timeout * 1000), session)
    body += _bytes(password) + b"\x00"  # not content with a read-only server
    return _INT.pack(len(body)) + body


def connected(body: bytes) -> Connected:
    """Decode the answer to `connect`."""
    _, timeout, session = struct.unpack_from(">iiq", body)
    (length,) = _INT.unpack_from(body, 16)
    return Connected(timeout / 1000, session, body[20 : 20 + length])


def request(xid: int, kind: int, body: bytes = b"") -> bytes:
    """A request's frame."""
    return _HEAD.pack(8 + len(body), xid, kind) + body


def create(path: str, data: bytes, acl: tuple[Acl, ...], flags: int) -> bytes:
    """The body of a create request."""
    entries = b"".join(
        _INT.pack(entry.permissions)
        + _bytes(entry.scheme.encode())
        + _bytes(entry.identity.encode())
        for entry in acl
    )
    return _bytes(path.encode()) + _bytes(data) + _INT.pack(len(acl)) + entries + _INT.pack(flags)


def delete(path: str, version: int) -> bytes:
    """The body of a delete request, for data of that version."""
    return _bytes(path.encode()) + _INT.pack(version)


def look(path: str, *, watch: bool) -> bytes:
    """The body of an exists or a get request."""
    return _bytes(path.encode()) + bytes([watch])


def reply(frame: bytes) -> Reply:
    """Decode any answer but the first."""
    xid, zxid, error = _REPLY.unpack_from(frame)
    return Reply(xid, zxid, error, frame[16:])


def is_pong(data: bytes) -> bool:
    """Whether these are the frame of one ping's answer, and nothing else."""
    return len(data) == PONG_BYTES and data.startswith(_PONG)


@dataclass(frozen=True, slots=True)
class Stat:
    """What a member needs of a node's stat record."""

    czxid: int
    owner: int
    """``ephemeralOwner``: the session that the node goes with."""


def stat(body: bytes) -> Stat:
    """Decode the answer to an exists request."""
    fields = _STAT.unpack_from(body)
    return Stat(fields[0], fields[7])


def stat_of_got(body: bytes) -> Stat:
    """Decode the answer to a get request, but for the data."""
    (length,) = _INT.unpack_from(body)
    return stat(body[4 + max(length, 0) :])
