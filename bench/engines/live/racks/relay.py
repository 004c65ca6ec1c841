"""A process that is the links of some racks: it holds each packet as long as its way demands.

For kernels without netem. Each of these links is a pair of TUN devices, one in the fabric and one
in the rack, both in the hands of this process: what one end sends it writes to the other, later.
A way never reorders: a packet is due no earlier than the one before it, as in a queue at a
router, since TCP would take the jitter's reordering for loss.

    python relay.py CONTROL DEVICE DEVICE ...       numbers of open files, the devices in pairs

Run as a file and on the standard library alone, it is there at once and stays small. It ends when
the other end of its control socket is closed, as it is when the harness dies.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from struct import Struct

ORDER = Struct("!Idd")
"""From now on hold the packets of this way (2k: from the first device of pair k to the second,
2k + 1: back) for so long, give or take so much, in s. Sent back once it is carried out."""

LARGEST = 65_536
BATCH = 256
"""Packets taken from one device before the others have their turn."""

_random = SystemRandom()


@dataclass
class _Way:
    source: int
    sink: int
    delay: float = 0.0
    jitter: float = 0.0
    held: deque[tuple[float, bytes]] = field(default_factory=deque)
    """When each is due, ascending, and the packet."""

    def take(self) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(self.source, LARGEST)
            except BlockingIOError:
                return
            due = time.monotonic() + self.delay
            if self.jitter:
                due += _random.uniform(-self.jitter, self.jitter)
            if self.held:
                due = max(due, self.held[-1][0])
            self.held.append((due, packet))

    def hold(self, delay: float, jitter: float) -> None:
        """What is held already is held no longer than it would be now: a link heals at once."""
        self.delay, self.jitter = delay, jitter
        latest = time.monotonic() + delay + jitter
        self.held = deque((min(due, latest), packet) for due, packet in self.held)

    def pass_on(self) -> None:
        while self.held and self.held[0][0] <= time.monotonic():
            with suppress(OSError):  # the other end is down: lost, as on a wire
                os.write(self.sink, self.held.popleft()[1])

    def next_due(self) -> float:
        return self.held[0][0] if self.held else float("inf")


def relay(control: socket.socket, ways: list[_Way]) -> None:
    """Carry packets until nobody is left to give orders."""
    by_source = {way.source: way for way in ways}
    files = [control.fileno(), *by_source]
    while True:
        wait = max(0.0, min(way.next_due() for way in ways) - time.monotonic())
        ready, _, _ = select.select(files, [], [], wait if wait < float("inf") else None)
        for file in ready:
            if file in by_source:
                by_source[file].take()
        for way in ways:
            way.pass_on()
        if control.fileno() in ready:
            order = control.recv(ORDER.size)
            if not order:
                return
            number, delay, jitter = ORDER.unpack(order)
            ways[number].hold(delay, jitter)
            control.send(order)


def _low(file: int) -> int:
    """The same file under the lowest free number: `select` takes none past 1023."""
    copy = os.dup(file)
    os.close(file)
    os.set_blocking(copy, False)
    return copy


def _main() -> None:
    control, *devices = map(int, sys.argv[1:])
    ends = [_low(device) for device in devices]
    pairs = zip(ends[::2], ends[1::2], strict=True)
    ways = [way for one, other in pairs for way in (_Way(one, other), _Way(other, one))]
    relay(socket.socket(fileno=control), ways)


if __name__ == "__main__":
    _main()
