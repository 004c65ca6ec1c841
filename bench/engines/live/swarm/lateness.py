"""How late renewals went out: every one is counted, and none is kept."""

from __future__ import annotations

import math
from collections import defaultdict

from bench.engines.live.swarm.shard import Measurement

SLICE = 0.25
"""Seconds that share their counts."""
FINEST = 1e-4
STEP = math.log(1.05)
"""Lateness is rounded up to the next of these: 0.1 ms, and on in steps of 5%."""


class Lateness:
    """A histogram for each slice of time, so that an hour of pings takes no more memory than the
    last moment's."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[int, int], int] = defaultdict(int)

    def add(self, due: float, seconds: float) -> None:
        """What was due then went out so much later."""
        bucket = math.ceil(math.log(seconds / FINEST) / STEP) if seconds > FINEST else 0
        self._counts[int(due / SLICE), bucket] += 1

    def drain(self) -> list[Measurement]:
        """The counts since the last call; what comes later for a slice makes rows of its own."""
        counts, self._counts = self._counts, defaultdict(int)
        return [
            Measurement(
                (slot + 0.5) * SLICE, "lateness", FINEST * math.exp(bucket * STEP), "s", count
            )
            for (slot, bucket), count in counts.items()
        ]
