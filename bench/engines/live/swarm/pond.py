"""Many sockets on which little comes: one file of the event loop's for all of them."""

from __future__ import annotations

import asyncio
import select
from typing import Protocol


class Reader(Protocol):
    """Who reads a socket."""

    def read(self) -> None:
        """Something has come, or the peer has closed."""


class Pond:
    """Sockets that are read as soon as there is something to read.

    An event loop's own handle for each of ten thousand takes more memory than a session does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._fd = self._epoll.fileno()
        self._readers: dict[int, Reader] = {}
        loop.add_reader(self._fd, self._read)

    def add(self, fd: int, reader: Reader) -> None:
        """Look at this socket too; nothing happens where it was added already."""
        if fd not in self._readers:
            self._epoll.register(fd, select.EPOLLIN)
            self._readers[fd] = reader

    def remove(self, fd: int) -> None:
        """Look at it no more; nothing happens where it wasn't added."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _read(self) -> None:
        for fd, _ in self._epoll.poll(0, len(self._readers) or 1):
            if (reader := self._readers.get(fd)) is not None:  # unless another one ended it
                reader.read()

    def close(self) -> None:
        """Look at nothing any more."""
        self._loop.remove_reader(self._fd)
        self._epoll.close()
