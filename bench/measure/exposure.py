"""The time in which mistakes could be made, by the state that the services were in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.measure.impairments import HEALINGS, impairments, overlap
from bench.measure.lives import lives
from bench.measure.outages import outages
from bench.measure.spans import length, union
from bench.measure.window import observed
from bench.result import Record

UP, OUTAGE, IMPAIRED, RUN = "up", "outage", "impaired", "run"
STATES = (UP, OUTAGE, *map(str, HEALINGS))


@dataclass(frozen=True)
class Exposure:
    """Sums from the first phase on."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Service-seconds of services that lived, by state."""
    clock: Mapping[str, float] = field(default_factory=dict)
    """Seconds in which there can have been a service in each state, in any impaired one, and of
    the run."""
    views: float = 0.0
    """Service-seconds of services that were not impaired, counted once for each observer."""

    def of(self, *states: str) -> float:
        """Service-seconds in any of these states."""
        return sum(self.seconds.get(state, 0.0) for state in states)

    def __add__(self, other: Exposure) -> Exposure:
        return Exposure(
            _sum(self.seconds, other.seconds),
            _sum(self.clock, other.clock),
            self.views + other.views,
        )


def exposure(record: Record) -> Exposure:
    """Of one run; nothing where it never came to a phase."""
    window = observed(record)
    if window is None:
        return Exposure()
    lived = lives(record).sort_values("start")
    # A service that joined again is one service still: its earlier life counts up to there.
    later = lived.groupby("subject")["start"].shift(-1).fillna(np.inf)
    lived["end"] = np.minimum(lived["end"], later).clip(window.start, window.end)
    lived["start"] = lived["start"].clip(window.start, window.end)
    impaired = impairments(record)
    failing = union(outages(record), window.start, window.end)

    seconds, clock = {}, {}
    for state, rows in impaired.groupby("state"):
        seconds[str(state)] = float(overlap(lived, rows).sum())
        clock[str(state)] = length(union(rows, window.start, window.end))
    seconds[OUTAGE] = sum(
        _unimpaired(lived, impaired, since, until)
        for since, until in failing.itertuples(index=False, name=None)
    )
    clock[OUTAGE] = length(failing)
    whole = _unimpaired(lived, impaired, window.start, window.end)
    seconds[UP] = max(whole - seconds[OUTAGE], 0.0)
    clock[UP], clock[RUN] = window.seconds - clock[OUTAGE], window.seconds
    clock[IMPAIRED] = length(union(impaired, window.start, window.end))
    return Exposure(
        {state: seconds[state] for state in STATES if state in seconds},
        clock,
        whole * len(record.observers),
    )


def _unimpaired(lived: pd.DataFrame, impaired: pd.DataFrame, since: float, until: float) -> float:
    """Service-seconds between the two instants."""
    clipped = lived.assign(
        start=lived["start"].clip(since, until), end=lived["end"].clip(since, until)
    )
    return float((clipped["end"] - clipped["start"] - overlap(clipped, impaired)).sum())


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in (*one, *other)}
