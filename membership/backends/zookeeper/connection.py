"""What kazoo lacks for us, added where it lets one: below its client, in its connection.

kazoo 2.10 and 2.11 don't show when pings and requests were sent and answered, and don't know
persistent watches. The subclass here overrides six methods; four of them call the original.

They also take up to 17 system calls to read a message: three waits, an epoll of its own for each,
and two reads. Here it is one wait and one read, and what comes together is read together.
TLS is ours: kazoo reads the certificates anew for each attempt, can't check before 2.11 whose
certificate a server shows, and leaves what the TLS layer has read ahead lying until more comes.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from kazoo.exceptions import EXCEPTIONS, AuthFailedError, ConnectionDropped, NoNodeError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import PING_XID, ConnectionHandler
from kazoo.protocol.serialization import (
    GetData,
    MultiHeader,
    Watch,
    int_struct,
    multiheader_struct,
    stat_struct,
    write_string,
)

from membership.config import Tls
from membership.errors import InvalidValue

AHEAD = 1 << 16
"""Bytes that are read at once, where they have come."""


class Reports(Protocol):
    """Told of what happens on the wire, in its order, on the connection's own thread."""

    def connected_as(self, session: int, timeout: float, sent: float) -> None:
        """The server granted this session this timeout, asked at ``sent``."""

    def answered(self, sent: float) -> None:
        """The server answered a request that was sent then: the session was renewed."""

    def pinged(self, sent: float, late: float) -> None:
        """It answered a ping, which had been sent so much later than it should have been."""

    def event(self, kind: int, path: str) -> None:
        """A watch of ours was triggered."""


class Connection(ConnectionHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's connection, telling what it does."""

    def __init__(self, *args: Any, reports: Reports, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reports = reports
        self.refusal: Exception | None = None
        """Why the last attempt to connect failed, if it did."""
        self._unanswered: deque[float] = deque()
        self._ping: tuple[float, float] | None = None  # sent and not answered; when, and how late
        self._ping_period = 0.0
        self._last_sent = 0.0
        self._ahead = bytearray()  # what has come and nobody has asked for yet

    def waiting_since(self) -> float | None:
        """When what the server hasn't answered yet was sent, the oldest of it; from any thread."""
        ping = self._ping
        try:
            oldest = self._unanswered[0]
        except IndexError:
            return ping and ping[0]
        return min(oldest, ping[0]) if ping else oldest

    def cut(self) -> None:
        """Break the TCP connection, if there is one; from any thread."""
        if self._socket is not None:
            with suppress(OSError):
                # the plain socket's: TLS would go on unencrypted for whoever reads meanwhile
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _connect(self, host: str, hostip: str, port: int) -> Any:
        self._forget()
        self._ahead.clear()
        self.handler.host = host  # kazoo 2.10 doesn't pass it on
        sent = time.monotonic()
        try:
            timeouts = super()._connect(host, hostip, port)
        except AuthFailedError as error:  # kazoo would give up for good
            self.refusal = ConnectionDropped("the server doesn't take this kind of credentials")
            raise self.refusal from error
        except Exception as error:
            # behind kazoo's own error, which may say no more than "None"
            self.refusal = error.__context__ if isinstance(error.__context__, OSError) else error
            raise
        self.refusal = None
        self._forget()
        self._last_sent = time.monotonic()
        timeout = round(timeouts[0] * 1.5) / 1000  # kazoo's read timeout is 2/3 of the session's
        self._ping_period = timeout / 3
        self._reports.connected_as(self.client._session_id, timeout, sent)
        return timeouts

    def _forget(self) -> None:
        self._unanswered.clear()
        self._ping = None

    def _submit(self, request: Any, timeout: float, xid: int | None = None) -> None:
        now = time.monotonic()
        if xid == PING_XID:
            self._ping = (now, max(0.0, now - self._last_sent - self._ping_period))
        elif xid is not None and xid > 0:
            self._unanswered.append(now)
        super()._submit(request, timeout, xid)
        self._last_sent = now

    def _read(self, length: int, timeout: float) -> bytes:
        # Not the original: see above. The socket doesn't block.
        ahead = self._ahead
        with self._socket_error_handling():
            while len(ahead) < length:
                try:
                    chunk = self._socket.recv(AHEAD)
                except (BlockingIOError, ssl.SSLWantReadError):
                    if not self.handler.select([self._socket], [], [], timeout)[0]:
                        raise self.handler.timeout_exception("half a message came") from None
                    continue
                if not chunk:
                    raise ConnectionDropped("the server closed the connection")
                ahead += chunk
        taken = bytes(ahead[:length])
        del ahead[:length]
        return taken

    def _read_socket(self, read_timeout: float) -> Any:
        response = self._read_message(read_timeout)
        while self._ahead and response is None:  # kazoo waits for the socket next
            response = self._read_message(read_timeout)
        return response

    def _read_message(self, read_timeout: float) -> Any:
        response = super()._read_socket(read_timeout)
        if (ping := self._ping) is not None and not self.ping_outstanding.is_set():
            self._ping = None
            self._reports.answered(ping[0])
            self._reports.pinged(*ping)
        return response

    def _read_response(self, header: Any, buffer: bytes, offset: int) -> Any:
        pending = self.client._pending
        if not pending or pending[0][2] != header.xid:  # kazoo's thread would end over it
            raise ConnectionDropped("an answer came that nothing was asked for")
        sent = self._unanswered.popleft()
        response = super()._read_response(header, buffer, offset)
        self._reports.answered(sent)
        return response

    def _read_watch_event(self, buffer: bytes, offset: int) -> None:
        # Not the original: it knows one-shot watches on exact paths only, and none is set by it.
        event, _ = Watch.deserialize(buffer, offset)
        self._reports.event(event.type, event.path)


class Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's threads, with a bound on what one unreachable server may cost, and with our TLS.

    kazoo would wait a whole session timeout for each, and lose the session over it.
    """

    def __init__(self, servers: int, tls: Tls | None) -> None:
        super().__init__()
        self.host = ""
        """The name of the server that is being connected to, for TLS to check."""
        self._servers = servers
        self._context = None if tls is None else _context(tls)

    def create_connection(self, address: Any, timeout: float, **_: Any) -> Any:
        bound = timeout / (self._servers + 1)
        connection = super().create_connection(address, timeout=bound)
        if self._context is None:
            return connection
        try:
            return self._context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise

    def select(self, reads: Any, writes: Any, _errors: Any, timeout: float | None = None) -> Any:
        # Not the original, which makes an epoll each time; nobody here asks for errors alone.
        decrypted = [one for one in reads if isinstance(one, ssl.SSLSocket) and one.pending()]
        poll = select.poll()
        for one in (*reads, *writes):
            poll.register(one, select.POLLIN * (one in reads) | select.POLLOUT * (one in writes))
        wait = 0.0 if decrypted else timeout
        ready = dict(poll.poll(None if wait is None else math.ceil(wait * 1000)))
        # whatever goes wrong with a socket shows when it is read or written
        readable = [one for one in reads if ready.get(one.fileno(), 0) & ~select.POLLOUT]
        writable = [one for one in writes if ready.get(one.fileno(), 0) & ~select.POLLIN]
        return [*{*decrypted, *readable}], writable, []


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises: InvalidValue."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            # with no password an encrypted key would ask on the terminal
            context.load_cert_chain(tls.certificate, tls.key, password="")
    except OSError as error:
        raise InvalidValue(f"{tls} can't be used: {error}") from error
    return context


@dataclass(frozen=True, slots=True)
class Watching:
    """A read that leaves a one-shot watch; `Reports` is told of it, not kazoo's own registry."""

    read: Any

    @property
    def type(self) -> int:
        return int(self.read.type)

    @property
    def path(self) -> str:
        return str(self.read.path)

    def serialize(self) -> bytes:
        return bytes(self.read._replace(watcher=True).serialize())

    def deserialize(self, buffer: bytes, offset: int) -> Any:
        return self.read.deserialize(buffer, offset)


@dataclass(frozen=True, slots=True)
class AddWatch:
    """Watch a path and all below it until told otherwise. Servers from 3.6; kazoo has no such call.

    It dies with the connection, and needs no node at the path.
    """

    path: str
    type = 106
    _PERSISTENT_RECURSIVE = 1

    def serialize(self) -> bytes:
        return bytes(write_string(self.path) + int_struct.pack(self._PERSISTENT_RECURSIVE))

    def deserialize(self, _buffer: bytes, _offset: int) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class MultiRead:
    """The data of many nodes at one instant, for the price of one request. Servers from 3.6."""

    paths: tuple[str, ...]
    type = 22
    _ERROR = -1

    def serialize(self) -> bytes:
        header = MultiHeader(GetData.type, False, -1).serialize()
        reads = (header + GetData(path, None).serialize() for path in self.paths)
        return b"".join(reads) + bytes(multiheader_struct.pack(self._ERROR, True, -1))

    def deserialize(self, buffer: bytes, offset: int) -> list[Any]:
        """Data and stat of each, or None where there is no node."""
        found: list[Any] = []
        while True:
            header, offset = MultiHeader.deserialize(buffer, offset)
            if header.done:
                return found
            if header.type == self._ERROR:
                (code,) = int_struct.unpack_from(buffer, offset)
                offset += int_struct.size
                if code != NoNodeError.code:
                    raise EXCEPTIONS[code]
                found.append(None)
            else:
                data, stat = GetData.deserialize(buffer, offset)
                offset += int_struct.size + len(data or b"") + stat_struct.size
                found.append((data, stat))


@dataclass(frozen=True, slots=True)
class RemoveWatches:
    """End whatever watches this connection has on a path. Servers from 3.5."""

    path: str
    type = 18
    _ANY = 3

    def serialize(self) -> bytes:
        return bytes(write_string(self.path) + int_struct.pack(self._ANY))

    def deserialize(self, _buffer: bytes, _offset: int) -> bool:
        return True
