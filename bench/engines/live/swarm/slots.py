"""Timers for thousands of services that need no exact instant: one wake-up serves many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bench.engines.live.swarm.shard import monotonic

SLOT = 0.01
"""In s; what kazoo draws its ping times in steps of. Waking for each ping alone costs twice the
CPU: most of it goes into waking, not into pinging."""

Due = Callable[[float], None]


class Slots:
    """Calls back in the middle of the slot that holds a time: half a slot off at most, and on
    average not at all. ``origin``, less than a slot, is where the slots begin: drawn for each
    shard, so that they lie anyhow to the ticks of a server on the same clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: float) -> None:
        self._loop = loop
        self._origin = origin
        self._waiting: dict[int, list[Due]] = {}

    def add(self, t: float, call: Due) -> float:
        """Call it with the time returned here, when that has come. There is no way to cancel:
        whoever no longer waits for that time ignores the call."""
        slot = int((t - self._origin) / SLOT)
        due = self._origin + (slot + 0.5) * SLOT
        if (waiting := self._waiting.get(slot)) is None:
            waiting = self._waiting[slot] = []
            self._loop.call_later(max(0.0, due - monotonic()), self._wake, slot, due)
        waiting.append(call)
        return due

    def _wake(self, slot: int, due: float) -> None:
        for call in self._waiting.pop(slot):
            call(due)
