"""What the observers' reading cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.measure.figures import Figure, mean, quantile, ratio
from bench.measure.lives import observations
from bench.measure.load import rate
from bench.measure.window import steady
from bench.result import Kind, Record

COUNTED = ("rows_read", "bytes_read")
"""Cumulative metrics of the observers, where they are metered."""


def reads(records: Sequence[Record]) -> dict[str, object]:
    """The summary's figures, for each observer, over the runs less their ramps and settling.

    `per_second`; `seconds_p50` and `seconds_p99` that one took; `rows_read_per_second` and
    `bytes_read_per_second`. None where it wasn't written down: a backend that pushes reads once.
    """
    rates: dict[str, list[Figure]] = {name: [] for name in ("per_second", *COUNTED)}
    took = [np.empty(0)]
    for record in records:
        window, watching = steady(record), max(1, len(record.observers))
        journal = observations(record, Kind.READ, Kind.LOOKED)
        if window is not None and len(journal):
            inside = journal[journal["t"].between(window.start, window.end)]
            rates["per_second"].append(ratio(len(inside) / watching, window.seconds))
            took.append(inside["value"].dropna().to_numpy(np.float64))
        mine = record.metrics[record.metrics["source"].isin(record.observers)]
        for name in COUNTED:
            found = rate(mine, (name,), window)
            rates[name].append(None if found is None else found / watching)
    seconds = pd.Series(np.concatenate(took))
    return {
        "per_second": mean(rates["per_second"]),
        "seconds_p50": quantile(seconds, 0.50),
        "seconds_p99": quantile(seconds, 0.99),
        **{f"{name}_per_second": mean(rates[name]) for name in COUNTED},
    }
