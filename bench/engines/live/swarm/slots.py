"""Timers for thousands of services that need no exact instant: one wake-up serves many."""

from __future__ import annotations

import asyncio
from typing import Protocol

from bench.engines.live.swarm.shard import monotonic

SLOT = 0.01
"""In s; what kazoo draws its ping times in steps of. Waking for each ping alone costs twice the
CPU: most of it goes into waking, not into pinging. Longer slots cost less still, and flatter the
server: what arrives in one bunch wakes it once."""


class Sleeper(Protocol):
    """Somebody who waits for a time to come."""

    def ready(self, due: float) -> bool:
        """It has come: whether there is something to send now."""

    def send(self) -> None:
        """Send it."""

    def note(self, due: float) -> None:
        """It was sent: what follows from that."""


_NOBODY: tuple[float, list[Sleeper]] = (0.0, [])


class Slots:
    """Once in each slot, in its middle, it wakes those whose time lies in the slot: half a slot
    off at most, and on average not at all. ``origin``, less than a slot, is where the slots begin:
    drawn for each shard, so that they lie anyhow to the ticks of a server on the same clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: float) -> None:
        self._loop = loop
        self._origin = origin
        self._waiting: dict[int, tuple[float, list[Sleeper]]] = {}
        """The middle of a slot, and who waits for it."""
        self._next = self._slot(monotonic()) + 1
        self._timer = self._set()

    def add(self, t: float, sleeper: Sleeper) -> float:
        """Wake it at the time returned here. There is no way to cancel: whoever no longer waits
        for that time ignores the call."""
        slot = int((t - self._origin) / SLOT)
        if slot < self._next:
            slot = self._next
        if (waiting := self._waiting.get(slot)) is None:
            waiting = self._waiting[slot] = (self._middle(slot), [])
        due, sleepers = waiting
        sleepers.append(sleeper)
        return due

    def close(self) -> None:
        """Wake nobody any more."""
        self._timer.cancel()

    def _slot(self, t: float) -> int:
        return int((t - self._origin) / SLOT)

    def _middle(self, slot: int) -> float:
        return self._origin + (slot + 0.5) * SLOT

    def _set(self) -> asyncio.TimerHandle:
        delay = self._middle(self._next) - monotonic()
        return self._loop.call_later(max(0.0, delay), self._wake)

    def _wake(self) -> None:
        # All that have passed: a loop that is kept busy comes round less often than once a slot.
        begun = self._next
        self._next = max(begun, self._slot(monotonic() - SLOT / 2)) + 1
        self._timer = self._set()
        for slot in range(begun, self._next):
            due, sleepers = self._waiting.pop(slot, _NOBODY)
            # One kind of work at a time: the processor finds its code in its caches, and a server
            # that the first one woke is awake for the others.
            ready = [each for each in sleepers if each.ready(due)]
            for each in ready:
                each.send()
            for each in ready:
                each.note(due)
