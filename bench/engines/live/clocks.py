"""How far another clock is from ours, by the usual exchange of time stamps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.engines.live.swarm.shard import monotonic

EXCHANGES = 16


@dataclass(frozen=True, slots=True)
class Offset:
    """``seconds``, added to the other clock's times, gives ours, but for ``error`` at most."""

    seconds: float
    error: float


def measure(clock: Callable[[], float]) -> Offset:
    """The offset of a clock elsewhere, by the quickest of some readings: half of what that one
    took is the bound."""
    best = Offset(0.0, float("inf"))
    for _ in range(EXCHANGES):
        asked = monotonic()
        theirs = clock()
        answered = monotonic()
        if (error := (answered - asked) / 2) < best.error:
            best = Offset((asked + answered) / 2 - theirs, error)
    return best
