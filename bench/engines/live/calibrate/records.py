"""What the record of a short run gives: how fast a meter grew, how long a server was gone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from bench.engines.live.engine import execute
from bench.errors import InvalidRun
from bench.plan import Floats, plan
from bench.progress import Listener
from bench.result import Kind, Record
from bench.scenario import loads

ROUNDS = 12
"""Of fitting: each weighs rows by what the one before expects of them."""
LEAST = 1e-6
"""CPU seconds: less than that is nothing."""
HOLD = 1
"""The first phase in which nothing happens, of every scenario here."""


def cost(value: float, what: str) -> float:
    """A cost that was measured. Raises: InvalidRun where more work seemed to cost nothing."""
    if not value > 0:
        raise InvalidRun(
            f"{what} came out as {value:.3g}: something else kept this machine busy, run the "
            "calibration again when it is quiet"
        )
    return value


def nearest(rows: Floats, took: Floats, weights: Floats) -> tuple[list[float], float]:
    """The costs of the columns, none below 0, by which ``rows`` come nearest to what they ``took``,
    each by its share of what is expected of it; and how far off they are, to compare: a regression
    with gamma errors and the identity link. ``weights``: how much each row says.

    Shares of what was measured would make the lowest readings count the most.
    """
    from scipy.optimize import nnls  # not at import: it takes a second

    expected = took
    for _ in range(ROUNDS):
        scale = np.sqrt(weights) / np.maximum(expected, LEAST)
        found, _ = nnls(rows * scale[:, np.newaxis], took * scale)
        expected = rows @ found
    expected = np.maximum(expected, LEAST)
    return found.tolist(), float((weights * (np.log(expected) + took / expected)).sum())


def recorded(text: str, where: str, listen: Listener) -> Record:
    """The record of this scenario's only run."""
    (run,) = plan(loads(text, "calibration"))
    kept: list[Record] = []
    execute(run, where=where, keep=kept.append, listen=listen)
    if not kept or not kept[0].complete:
        raise InvalidRun(f"the calibration's run on {run.backend.kind} broke off: run it again")
    return kept[0]


def series(record: Record, source: str, metric: str) -> pd.DataFrame:
    """The readings of a meter, in order of time. Raises: InvalidRun where there is none."""
    metrics = record.metrics
    found = metrics[(metrics["source"] == source) & (metrics["metric"] == metric)]
    if len(found) < 2:
        raise InvalidRun(f"{source} was not metered for {metric}: nothing can be calibrated")
    return found.sort_values("t")


def truth(record: Record, kind: Kind) -> pd.DataFrame:
    """What was done of that kind, in order of time."""
    events = record.events
    found = events[(events["kind"] == str(kind)) & events["observer"].isna()]
    return found.sort_values("t")


def span(record: Record, phase: int) -> tuple[float, float]:
    """When the phase of that number begins and ends."""
    events = record.events
    edges = (str(Kind.PHASE), str(Kind.END))
    begun = events.loc[events["kind"].isin(edges), "t"].sort_values()
    return float(begun.iloc[phase]), float(begun.iloc[phase + 1])


def rate(record: Record, source: str, metric: str, phase: int = HOLD) -> float:
    """How fast a counter grew in a phase, a second."""
    start, stop = span(record, phase)
    readings = series(record, source, metric)
    inside = readings[readings["t"].between(start, stop)]  # the next one may be of a new process
    if len(inside) < 2:
        raise InvalidRun(f"{source} was hardly metered for {metric}: run the calibration again")
    grown = float(inside["value"].iloc[-1] - inside["value"].iloc[0])
    return grown / float(inside["t"].iloc[-1] - inside["t"].iloc[0])


def first(record: Record, source: str, metric: str) -> float:
    """The first reading of the run."""
    return float(series(record, source, metric)["value"].iloc[0])


def yardstick(records: Iterable[Record]) -> float:
    """The mean of its readings."""
    readings = [series(record, "machine", "yardstick")["value"] for record in records]
    return float(pd.concat(readings).mean())


def highest(record: Record, source: str, metric: str) -> float:
    """The largest reading of the run."""
    return float(series(record, source, metric)["value"].max())


def back(record: Record) -> float:
    """How long a server was gone, in s."""
    back = record.events[record.events["kind"] == str(Kind.SERVER_BACK)]
    if back.empty:
        raise InvalidRun("a server that was hit did not come back: run the calibration again")
    return float(back["value"].max())


def _joins(record: Record) -> tuple[pd.Series[float], pd.Series[float]]:
    truth = record.events[record.events["observer"].isna()]
    asked, answered = (
        truth[truth["kind"] == str(kind)].drop_duplicates("subject").set_index("subject")["t"]
        for kind in (Kind.JOINING, Kind.JOINED)
    )
    return asked, answered.reindex(asked.index)


def spacing(record: Record) -> float:
    """Between two joins, where more are asked for than can be answered; of the later half, when
    the server knows what joining is."""
    _, answered = _joins(record)
    later = answered[answered >= answered.median()]
    return float(later.max() - later.min()) / (len(later) - 1)


def latency(record: Record) -> float:
    """Of a join, on average, where there are no more than can be answered."""
    asked, answered = _joins(record)
    return float((answered - asked).median())
