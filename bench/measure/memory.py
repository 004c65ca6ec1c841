"""Whether the harness's own memory stays what it is: that of its processes, observers included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.measure.figures import Figure
from bench.measure.load import highest_sum
from bench.measure.spans import Instants
from bench.measure.window import Window, steady
from bench.result import Record

TOGETHER = ("harness", "library", "observers")
"""The sources that each stand for several of our processes; what they share counts once."""
SUMS = ("harness", "observers")
"""Those of them whose processes are weighed one by one too."""

FEWEST = 5
"""Readings of a process in the second half of a run from which a growth can be told."""

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Held:
    """The memory of one process in the second half of a run; None where it was read too seldom.

    ``slope`` (bytes a second) is Theil and Sen's, the median of the slopes between all pairs of
    readings: what a process takes for a moment, or gives back at once, doesn't bend it.
    """

    most: float
    """Bytes, in the whole run less its ramp and settling."""
    slope: Figure
    share: Figure
    """What that slope amounts to in this half, as a share of the median."""


def processes(record: Record) -> dict[str, Held]:
    """By name: the engine's own process, each shard's, and all those of the library as one. What
    was not read all along isn't there: a process that begins late has reason to grow."""
    window = steady(record)
    servers = {str(server["name"]) for server in record.environment.get("servers", ())}
    rows = record.metrics[record.metrics["metric"] == "rss_bytes"]
    rows = rows[~rows["source"].isin({*servers, *SUMS})]
    if window is None:
        return {}
    return {
        str(source): _held(readings.sort_values("t"), window)
        for source, readings in rows.groupby("source")
        if readings["t"].min() <= window.start
    }


def memory(records: Sequence[Record]) -> dict[str, object]:
    """The summary's figures; None where nothing was read, or too seldom.

    `max_bytes`: the highest sum over the harness's processes, observers and members included.
    `growth_bytes_per_hour` and `growth_share`: of the process that grew most in the second half
    of a run, as of `Held`; a share of 1% means that it ended that half 1% larger than it began.
    Below `processes`, the same of each alone. Of several runs the worst one counts.
    """
    runs = [processes(record) for record in records]
    names = sorted({name for run in runs for name in run})
    each = {name: _worst([run[name] for run in runs if name in run]) for name in names}
    return {
        "max_bytes": _most([_together(record) for record in records]),
        "growth_bytes_per_hour": _most([it["growth_bytes_per_hour"] for it in each.values()]),
        "growth_share": _most([it["growth_share"] for it in each.values()]),
        "processes": each,
    }


def _held(readings: pd.DataFrame, window: Window) -> Held:
    times, values = (np.asarray(readings[name], dtype=np.float64) for name in ("t", "value"))
    inside = (times >= window.start) & (times <= window.end)
    late = inside & (times >= window.start + window.seconds / 2)
    most = float(values[inside].max(initial=values[0]))
    if late.sum() < FEWEST:
        return Held(most, None, None)
    slope = _slope(times[late], values[late])
    return Held(most, slope, slope * window.seconds / 2 / float(np.median(values[late])))


def _slope(times: Instants, values: Instants) -> float:
    earlier, later = np.triu_indices(len(times), k=1)
    return float(np.median((values[later] - values[earlier]) / (times[later] - times[earlier])))


def _worst(runs: Sequence[Held]) -> dict[str, Figure]:
    slope = _most([held.slope for held in runs])
    return {
        "max_bytes": _most([held.most for held in runs]),
        "growth_bytes_per_hour": None if slope is None else slope * HOUR,
        "growth_share": _most([held.share for held in runs]),
    }


def _together(record: Record) -> Figure:
    ours = record.metrics[record.metrics["source"].isin(TOGETHER)]
    return highest_sum(ours, "rss_bytes", steady(record))


def _most(values: Sequence[Figure]) -> Figure:
    return max((value for value in values if value is not None), default=None)
