"""Many sockets on which little comes: they are looked at together, not one by one."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Reader(Protocol):
    """Who reads a socket."""

    def read(self) -> None:
        """Something has come, or the peer has closed."""


class Pond:
    """Sockets that are read when somebody calls `read`; and at once while anybody is waiting for
    an answer.

    An event loop that is told of each ping's answer spends more on being told than the answer
    takes to read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._fd = self._epoll.fileno()
        self._readers: dict[int, Reader] = {}
        self._waiting = 0

    def add(self, fd: int, reader: Reader) -> None:
        """Look at this socket too; nothing happens where it was added already."""
        if fd not in self._readers:
            self._epoll.register(fd, select.EPOLLIN)
            self._readers[fd] = reader

    def remove(self, fd: int) -> None:
        """Look at it no more; nothing happens where it wasn't added."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def read(self) -> None:
        """Have everything read that has come."""
        for fd, _ in self._epoll.poll(0, len(self._readers) or 1):
            if (reader := self._readers.get(fd)) is not None:  # unless another one ended it
                reader.read()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within the block what comes is read at once."""
        if not self._waiting:
            self._loop.add_reader(self._fd, self.read)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Look at nothing any more."""
        self._loop.remove_reader(self._fd)
        self._epoll.close()
