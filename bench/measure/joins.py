"""How long it took to join: the ramp, each service's first join, and those after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.measure.convergence import views
from bench.measure.figures import Figure, mean, quantile
from bench.measure.lives import nearest, observations, truth
from bench.result import Kind, Record


def joins(records: Sequence[Record]) -> dict[str, object]:
    """The summary's figures (s).

    `ramp_seconds`: from the first request to the last service's first answer. `p50`, `p99`: each
    service's first join, from its request to the answer. `seen_…`: from the answer until the last
    observer was told. `views`: how many different memberships any observer held until all had been
    told of all, in the run with most. `again`: `count`, `p50`, `p99` of the later joins of services
    that were started anew or had lost their membership, from then to the answer.
    """
    firsts = [_first(record) for record in records]
    later = pd.concat([_later(record) for record in records])
    waits = pd.concat([rows["answered"] - rows["asked"] for rows in firsts]).dropna()
    seen = pd.concat([rows["seen"] - rows["answered"] for rows in firsts]).dropna().clip(lower=0.0)
    return {
        "ramp_seconds": mean([_ramp(rows) for rows in firsts]),
        "p50": quantile(waits, 0.50),
        "p99": quantile(waits, 0.99),
        "seen_p50": quantile(seen, 0.50),
        "seen_p99": quantile(seen, 0.99),
        "views": max(filter(None, map(_views, records, firsts)), default=None),
        "again": {
            "count": len(later),
            "p50": quantile(later, 0.50),
            "p99": quantile(later, 0.99),
        },
    }


def _first(record: Record) -> pd.DataFrame:
    """One row a service, by name: asked, answered, seen."""
    asked = truth(record, Kind.JOINING).drop_duplicates("subject").set_index("subject")["t"]
    answered = truth(record, Kind.JOINED).drop_duplicates("subject").set_index("subject")["t"]
    told = observations(record, Kind.JOINED).drop_duplicates(["observer", "subject"])
    by_all = told.groupby("subject")["t"].agg(["max", "count"])
    seen = by_all["max"].where(by_all["count"] == len(record.observers))
    return pd.DataFrame({"asked": asked, "answered": answered, "seen": seen})


def _ramp(rows: pd.DataFrame) -> Figure:
    both = rows.dropna(subset=["asked", "answered"])
    return float(rows["answered"].max() - rows["asked"].min()) if len(both) else None


def _views(record: Record, rows: pd.DataFrame) -> int | None:
    changes = observations(record, Kind.JOINED, Kind.LEFT)
    known = rows["seen"].max(skipna=False)
    return None if np.isnan(known) else views(changes[changes["t"] <= known])


def _later(record: Record) -> pd.Series[float]:
    """For each time that a service had to join again, how long that took."""
    without = truth(record, Kind.LOST, Kind.RESTARTED)
    back = nearest(without, truth(record, Kind.JOINED), "t", "forward")
    return (back - without["t"]).dropna()
