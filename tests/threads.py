"""Threads, and that the library leaves none behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from membership.testing import eventually


@contextmanager
def none_left() -> Iterator[None]:
    """Whoever starts a thread in the block ends it, but for those that keep servers."""
    before = set(threading.enumerate())

    def left() -> list[str]:
        names = [thread.name for thread in set(threading.enumerate()) - before]
        return [name for name in names if not name.startswith("heartbench-servers")]

    yield
    eventually(lambda: not left(), why=left)
