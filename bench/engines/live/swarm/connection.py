"""One TCP connection of a ZooKeeper session: frames in, frames out."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol

from bench.engines.live.swarm import jute
from bench.engines.live.swarm.pond import Pond
from bench.engines.live.swarm.shard import monotonic

READ_BYTES = 4096
"""What a session is ever told fits in."""


class Gone(ConnectionError):
    """The connection ended under a request."""


class Session(Protocol):
    """Told of what happens on its connection, in its order."""

    def sent(self) -> None:
        """A request went out."""

    def answered_request(self, sent: float, reply: jute.Reply) -> None:
        """A request that was sent then was answered."""

    def pinged(self) -> None:
        """A ping was answered."""

    def watched(self) -> None:
        """A watch was triggered."""

    def dropped(self, connection: Connection) -> None:
        """It has ended."""


class Connection:
    """One TCP connection of a session: frames in, frames out.

    What comes is read at once, but for a ping's answer on an `idle` connection: that lies there
    until `read`. Being told of each answer takes more CPU than reading it.
    """

    __slots__ = (
        "_accepted",
        "_begun",
        "_idle",
        "_pending",
        "_pond",
        "_session",
        "_socket",
        "_xid",
        "closed",
    )

    def __init__(self, session: Session, sock: socket.socket, pond: Pond) -> None:
        self._session = session
        self._socket = sock
        self._pond = pond
        self._begun = b""
        """The beginning of a frame whose end is yet to come."""
        self._pending: list[tuple[float, asyncio.Future[jute.Reply]]] = []
        self._xid = 0
        self._accepted: asyncio.Future[jute.Connected] | None = None
        self._idle = False
        self.closed = False
        self.pause(False)

    @property
    def idle(self) -> bool:
        """Whether nothing is expected but pings' answers."""
        return self._idle

    @idle.setter
    def idle(self, idle: bool) -> None:
        if idle is not self._idle and not self.closed:
            self._idle = idle
            lowest = jute.PONG_BYTES + 1 if idle else 1
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, lowest)

    def open(self, request: bytes) -> asyncio.Future[jute.Connected]:
        """Send the connect request; the future fails with `Gone` if the connection ends first."""
        self._accepted = asyncio.get_running_loop().create_future()
        self.write(request)
        return self._accepted

    def read(self) -> None:
        """Take in what has come."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
            self._session.dropped(self)
        elif not self._begun and jute.is_pong(data):  # nearly all that is ever read
            self._session.pinged()
        else:
            self._take(self._begun + data)

    def _take(self, data: bytes) -> None:
        while len(data) >= 4 and not self.closed:
            end = 4 + int.from_bytes(data[:4], "big")
            if len(data) < end:
                break
            frame, data = data[4:end], data[end:]
            self._frame(frame)
        self._begun = data

    def _frame(self, frame: bytes) -> None:
        if self._accepted is not None:
            accepted, self._accepted = self._accepted, None
            if not accepted.done():  # by those who wait no longer
                accepted.set_result(jute.connected(frame))
            return
        reply = jute.reply(frame)
        if reply.xid == jute.PING_XID:
            self._session.pinged()
        elif reply.xid == jute.WATCH_XID:
            self._session.watched()
        else:
            sent, answer = self._pending.pop(0)
            self._session.answered_request(sent, reply)
            if not answer.done():
                answer.set_result(reply)

    def write(self, frame: bytes) -> None:
        """Send it: a session never has so much unanswered that it doesn't fit the socket."""
        if self.closed:
            return
        try:
            self._socket.send(frame)
        except OSError:
            return  # the connection has ended, which whoever reads next will find

    def ask(self, kind: int, body: bytes = b"") -> asyncio.Future[jute.Reply]:
        """Send a request; the future fails with `Gone` if the connection ends first."""
        answer: asyncio.Future[jute.Reply] = asyncio.get_running_loop().create_future()
        if self.closed:
            answer.set_exception(Gone())
            return answer
        self.idle = False
        self._xid += 1
        self.write(jute.request(self._xid, kind, body))
        self._pending.append((monotonic(), answer))
        self._session.sent()
        return answer

    def pause(self, paused: bool) -> None:
        """Read nothing, not even that the peer has closed; or read on."""
        if self.closed:
            return
        if paused:
            self._pond.remove(self._socket.fileno())
        else:
            self._pond.add(self._socket.fileno(), self)

    def abort(self) -> None:
        """Close at once; what was asked fails."""
        if self.closed:
            return
        self.pause(True)
        self.closed = True
        self._socket.close()
        for _, answer in self._pending:
            if not answer.done():
                answer.set_exception(Gone())
                answer.exception()  # nobody has to wait for it
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_exception(Gone())
            self._accepted.exception()


async def connected(host: str, port: int, source: str) -> socket.socket:
    """A socket to the first of the host's addresses that answers, from that source address; empty:
    any. Raises: OSError."""
    loop = asyncio.get_running_loop()
    refusal: OSError = ConnectionError(f"{host} has no address")
    for family, *_, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _connected(family, address, source)
        except OSError as error:
            refusal = error
    raise refusal


async def _connected(family: int, address: Any, source: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            made.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
