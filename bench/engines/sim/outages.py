"""When a single server doesn't answer, and when clients that keep trying get through again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.plan import Floats


@dataclass(frozen=True, slots=True)
class Outage:
    """From ``down`` to ``up`` nothing is answered. ``hangs``: connections stay open meanwhile and
    what was asked is answered afterwards; else they break, and new ones are refused."""

    down: float
    up: float
    hangs: bool = False


def during(outages: Sequence[Outage], t: float) -> Outage | None:
    """The outage at that instant."""
    return next((outage for outage in outages if outage.down <= t < outage.up), None)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: the first, each further one twice as long, up to the longest."""

    first: float
    longest: float

    def after(self, tried: float, up: float) -> float:
        """The first attempt at ``up`` or later, of those that follow one at ``tried``."""
        if up == math.inf:
            return up
        pause = self.first
        while tried < up:
            tried += pause
            pause = min(2 * pause, self.longest)
        return tried

    def all_after(self, tried: Floats, up: float) -> Floats:
        """The same of many."""
        attempts, pause = tried.copy(), self.first
        while pause < self.longest and (early := attempts < up).any():
            attempts[early] += pause
            pause = min(2 * pause, self.longest)
        missing = np.maximum(np.ceil((up - attempts) / self.longest), 0.0)
        return attempts + missing * self.longest
