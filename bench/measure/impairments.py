"""When a service was up and yet not itself: stopped, cut off, slowed, or on a wrong clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.measure.delays import lag
from bench.measure.lives import nearest, truth
from bench.measure.once import once
from bench.result import Kind, Record

HEALINGS: Mapping[Kind, Kind] = {
    Kind.FROZEN: Kind.RESUMED,
    Kind.CUT: Kind.HEALED,
    Kind.LOSSY: Kind.HEALED,
    Kind.DELAYED: Kind.HEALED,
    Kind.SKEWED: Kind.UNSKEWED,
}
"""What begins an impairment, and what ends it."""

LINKS = (Kind.CUT, Kind.LOSSY, Kind.DELAYED)


@once
def impairments(record: Record) -> pd.DataFrame:
    """One row each: subject, state, since, healed, recovered, until. A service's don't overlap.

    `state` is the kind that began it. `healed`: when its cause was taken away; infinite where it
    wasn't. `recovered`: the first renewal or join of the service that was answered after that.
    A shard that doesn't know of an impairment (of a link, of a clock) doesn't tell of renewals;
    then it is one timeout after the healing, or the next join where the service had lost its
    membership meanwhile. `until`: what the observers may be behind (`delays.lag`) later, for so
    long they may still make mistakes that come from it.
    """
    begun = truth(record, *HEALINGS)[["subject", "t", "kind"]]
    healed = [
        nearest(rows, truth(record, HEALINGS[Kind(str(kind))]), "t", "forward")
        for kind, rows in begun.groupby("kind")
    ]
    rows = begun.rename(columns={"t": "since", "kind": "state"})
    rows = rows.assign(healed=pd.concat(healed) if healed else np.inf)
    rows = rows.sort_values(["subject", "since"], ignore_index=True)
    following = rows.groupby("subject")["since"].shift(-1).fillna(np.inf)
    # A healing after it began again is that one's: this one never ended by itself.
    rows["healed"] = rows["healed"].where(rows["healed"] <= following).fillna(np.inf)
    rows["recovered"] = _recovered(record, rows)
    rows["until"] = np.minimum(rows["recovered"] + lag(record.parameters), following)
    return rows


def states(events: pd.DataFrame, impaired: pd.DataFrame) -> pd.Series[str]:
    """For each event (columns subject and t), how its service was impaired; null if it wasn't."""
    pairs = events[["subject", "t"]].reset_index().merge(impaired, on="subject")
    hit = pairs[(pairs["t"] >= pairs["since"]) & (pairs["t"] < pairs["until"])]
    return hit.drop_duplicates("index").set_index("index")["state"].reindex(events.index)


def overlap(lived: pd.DataFrame, impaired: pd.DataFrame) -> pd.Series[float]:
    """For each span (columns subject, start, end), for how long (s) its service was impaired."""
    pairs = lived[["subject", "start", "end"]].reset_index().merge(impaired, on="subject")
    since, until = pairs["since"], pairs["until"]
    first = pairs["start"].where(pairs["start"] > since, since)
    last = pairs["end"].where(pairs["end"] < until, until)
    shared = (last - first).clip(lower=0).groupby(pairs["index"]).sum()
    return shared.reindex(lived.index, fill_value=0.0)


def _recovered(record: Record, rows: pd.DataFrame) -> pd.Series[float]:
    ended = rows.assign(t=rows["healed"])[["subject", "t"]]
    ended = ended[np.isfinite(ended["t"])]
    back = nearest(ended, truth(record, Kind.RENEWED, Kind.JOINED), "t", "forward")
    back = back.reindex(rows.index)
    begun = rows.assign(t=rows["since"])[["subject", "t"]]
    lost = nearest(begun, truth(record, Kind.LOST), "t", "forward")
    told = (rows["state"] == Kind.FROZEN) | (lost <= back)
    silent = rows["healed"] + (record.parameters.timeout or 0.0)
    return back.where(told, np.fmin(back, silent)).fillna(np.inf)
