"""Spans of time as rows: since and until, in seconds of the run; infinite for what never ended."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Instants = NDArray[np.float64]


def spans(pairs: Iterable[tuple[float, float]]) -> pd.DataFrame:
    """The spans' union: apart from each other, in order; empty ones are left out."""
    merged: list[list[float]] = []
    for since, until in sorted(pair for pair in pairs if pair[0] < pair[1]):
        if merged and since <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], until)
        else:
            merged.append([since, until])
    return pd.DataFrame(merged, columns=["since", "until"], dtype=float)


def union(rows: pd.DataFrame, start: float = -np.inf, end: float = np.inf) -> pd.DataFrame:
    """The union of these rows' spans, as far as they lie between start and end."""
    clipped = rows[["since", "until"]].clip(start, end)
    return spans(clipped.itertuples(index=False, name=None))


def length(merged: pd.DataFrame) -> float:
    """Seconds, of spans that don't overlap."""
    return float((merged["until"] - merged["since"]).sum())


def within(times: Instants, merged: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each instant lies in one of these spans (since included, until not)."""
    return position(times, merged) >= 0


def position(times: Instants, merged: pd.DataFrame) -> NDArray[np.int64]:
    """The number of the span that each instant lies in, -1 for none."""
    if merged.empty:
        return np.full(len(times), -1, dtype=np.int64)
    since, until = (np.asarray(merged[name], dtype=np.float64) for name in ("since", "until"))
    last = np.searchsorted(since, times, side="right") - 1
    inside = (last >= 0) & (times < until[np.maximum(last, 0)])
    return np.where(inside, last, -1).astype(np.int64)


def touched(since: Instants, until: Instants, merged: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each of these spans has an instant in common with one of `merged`."""
    if merged.empty:
        return np.zeros(len(since), dtype=np.bool_)
    starts, ends = (np.asarray(merged[name], dtype=np.float64) for name in ("since", "until"))
    return np.asarray(
        np.searchsorted(starts, until, side="right") > np.searchsorted(ends, since, side="right")
    )
