"""A relay in front of a ZooKeeper server that writes down each request, as the server gets it."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

PING = 11


@dataclass(frozen=True)
class Request:
    """One frame of a client; ``body`` is what follows its header."""

    t: float
    kind: int
    body: bytes


@dataclass
class Conversation:
    """All that one connection's client has said."""

    opening: bytes = b""
    """The connect request."""
    requests: list[Request] = field(default_factory=list)
    closed: bool = False
    """Whether it has ended."""


class Tap:
    """What goes through `tapped`."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.conversations: list[Conversation] = []
        self._server = host, port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _listen(self, ready: threading.Event, over: asyncio.Event) -> None:
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0, backlog=1000) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await over.wait()
            self._cut()
            while self._writers:
                await asyncio.sleep(0.01)

    async def _relay(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, on = await asyncio.open_connection(*self._server)
        self._writers |= {back, on}
        conversation = Conversation()
        self.conversations.append(conversation)
        try:
            await asyncio.gather(self._up(client, on, conversation), self._down(server, back))
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side has gone, and the other goes with it
        finally:
            back.transport.abort()
            on.transport.abort()
            self._writers -= {back, on}

    async def _up(
        self, client: asyncio.StreamReader, on: asyncio.StreamWriter, said: Conversation
    ) -> None:
        try:
            said.opening = await self._frame(client, on)
            while True:
                frame = await self._frame(client, on)
                _, kind = struct.unpack_from(">ii", frame)
                said.requests.append(Request(monotonic(), kind, frame[8:]))
        finally:
            said.closed = True

    async def _frame(self, client: asyncio.StreamReader, on: asyncio.StreamWriter) -> bytes:
        head = await client.readexactly(4)
        frame = await client.readexactly(int.from_bytes(head, "big"))
        on.write(head + frame)
        return frame

    async def _down(self, server: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            back.write(data)
        raise ConnectionResetError


T = TypeVar("T", bound=Tap)


def tapped(host: str, port: int) -> AbstractContextManager[Tap]:
    """Relay to that server for as long as the block lasts."""
    return relaying(Tap(host, port))


@contextmanager
def relaying(tap: T) -> Iterator[T]:
    """Have it relay for as long as the block lasts."""
    ready, over = threading.Event(), asyncio.Event()
    thread = threading.Thread(
        target=lambda: tap._loop.run_until_complete(tap._listen(ready, over)), name="tap"
    )
    thread.start()
    ready.wait()
    try:
        yield tap
    finally:
        tap._loop.call_soon_threadsafe(over.set)
        thread.join()
        tap._loop.close()
