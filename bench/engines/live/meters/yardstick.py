"""How slow the machine is just now: what one fixed piece of work takes of a processor."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.engines.live.meters import Meter, Reading

ROUND_TRIPS = 180
"""Over a socket: the kernel's part of serving many small requests."""
DOCUMENT = {f"service-{number:03}": [number / 7, number / 11, number / 13] for number in range(150)}
"""Written as JSON and read again: branches, and memory that is allocated."""
NUMBERS, PLACES, STRIDE = 400_000, 4_000, 99_991
"""So many numbers are added of so many that don't fit into a core's own cache."""


@contextmanager
def yardstick() -> Iterator[Meter]:
    """A meter of the CPU time (s) of that work, some 3 ms.

    A machine whose cores others share may be a third slower at one hour than at the next, and the
    servers on it take so much more for the same.
    """
    numbers = list(range(NUMBERS))
    places = [place * STRIDE % NUMBERS for place in range(PLACES)]
    one, other = socket.socketpair()

    def read() -> Iterator[Reading]:
        before = time.thread_time()
        for _ in range(ROUND_TRIPS):
            one.send(b"ping")
            other.recv(4)
        json.loads(json.dumps(DOCUMENT))
        sum(numbers[place] for place in places)
        yield Reading("machine", "yardstick", time.thread_time() - before, "s")

    with one, other:
        yield Meter("yardstick", read)
