"""One TCP connection of a ZooKeeper session: frames in, frames out."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from bench.engines.live.swarm import jute
from bench.engines.live.swarm.shard import monotonic


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


class Connection(asyncio.Protocol):
    """One TCP connection of a session: frames in, frames out."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._buffer = b""
        """The beginning of a frame whose end is yet to come."""
        self._transport: asyncio.Transport | None = None
        self._pending: list[tuple[float, asyncio.Future[jute.Reply]]] = []
        self._xid = 0
        self._accepted: asyncio.Future[jute.Connected] | None = None
        self.closed = False

    def accepted(self) -> asyncio.Future[jute.Connected]:
        """The answer to a connect request that is yet to be written."""
        self._accepted = asyncio.get_running_loop().create_future()
        return self._accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing

    def data_received(self, data: bytes) -> None:
        if not self._buffer and jute.is_pong(data):  # nearly all that is ever read
            self._session.pinged()
            return
        data = self._buffer + data
        while len(data) >= 4 and not self.closed:
            end = 4 + int.from_bytes(data[:4], "big")
            if len(data) < end:
                break
            frame, data = data[4:end], data[end:]
            self._frame(frame)
        self._buffer = data

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
        if self._transport is not None and not self.closed:
            self._transport.write(frame)

    def ask(self, kind: int, body: bytes = b"") -> asyncio.Future[jute.Reply]:
        """Send a request; the future fails with `Gone` if the connection ends first."""
        answer: asyncio.Future[jute.Reply] = asyncio.get_running_loop().create_future()
        if self.closed:
            answer.set_exception(Gone())
            return answer
        self._xid += 1
        self.write(jute.request(self._xid, kind, body))
        self._pending.append((monotonic(), answer))
        self._session.sent()
        return answer

    def pause(self, paused: bool) -> None:
        """Read nothing, not even that the peer has closed; or read on."""
        if self._transport is not None and not self.closed:
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.abort()
        self._session.dropped(self)

    def abort(self) -> None:
        """Close at once; what was asked fails."""
        if self.closed:
            return
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        for _, answer in self._pending:
            if not answer.done():
                answer.set_exception(Gone())
                answer.exception()  # nobody has to wait for it
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_exception(Gone())
            self._accepted.exception()
