"""Who truly lived when, and which life an event speaks of.

A life is one incarnation of a service: from the answer to its join to its confirmed crash or
leave. The observers' statements are judged against lives, never against names alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from bench.result import Kind, Record

ENDS = (Kind.CRASHED, Kind.LEFT)
FAULTS = (*ENDS, Kind.FROZEN)


def truth(record: Record, *kinds: Kind) -> pd.DataFrame:
    """What was done to the services or what they did, of these kinds, in order."""
    events = record.events
    return _ordered(events[events["observer"].isna() & events["kind"].isin(kinds)])


def observations(record: Record, *kinds: Kind) -> pd.DataFrame:
    """What the record's observers were told, of these kinds, in order."""
    events = record.events
    return _ordered(
        events[events["observer"].isin(record.observers).fillna(False) & events["kind"].isin(kinds)]
    )


def lives(record: Record) -> pd.DataFrame:
    """One row a life: life (its number), subject, incarnation, client, server, start, end, doomed.

    `end` is the confirmed crash or leave, infinite where the run saw none. `doomed` is when that
    end can have begun: the order to die comes before the confirmation, and clocks have errors.
    From then on nobody who calls the life over is wrong.
    """
    joined = truth(record, Kind.JOINED)
    again = joined["incarnation"].notna() & joined.duplicated(["subject", "incarnation"])
    columns = ["subject", "incarnation", "client", "server"]
    rows = joined.loc[~again, [*columns, "t"]].rename(columns={"t": "start"}).reset_index(drop=True)
    rows.insert(0, "life", np.arange(len(rows)))
    ends = attributed(faults(record, *ENDS), rows).groupby("life")[["t", "began"]].min()
    rows["end"] = rows["life"].map(ends["t"]).fillna(np.inf)
    rows["doomed"] = rows["life"].map(ends["began"]).fillna(np.inf)
    return rows


def faults(record: Record, *kinds: Kind) -> pd.DataFrame:
    """The confirmed faults of these kinds, with `began`: the earliest they can have taken hold."""
    rows = truth(record, *kinds)
    return rows.assign(began=rows["t"] - rows["value"].fillna(0) - rows["clock_error"].fillna(0))


def attributed(events: pd.DataFrame, lives: pd.DataFrame) -> pd.DataFrame:
    """`events` (in order) with the number of the `life` that each concerns; others are dropped.

    The token decides; where it is null or unknown, the last life begun by then.
    """
    known = lives.loc[lives["incarnation"].notna(), ["subject", "incarnation", "life"]]
    by_token = events.merge(known, on=["subject", "incarnation"], how="left")["life"]
    begun = lives[["subject", "life"]].assign(t=lives["start"])
    by_time = nearest(events, begun, "life")
    found = events.assign(
        life=by_token.fillna(by_time.set_axis(by_token.index)).to_numpy(dtype=float)
    )
    return found[found["life"].notna()].astype({"life": np.int64})


def impaired(record: Record) -> pd.DataFrame:
    """One row a freeze: subject, since, until.

    It lasts from the freeze to the first renewal or join that was answered after the service
    went on; infinite where there was none.
    """
    frozen = truth(record, Kind.FROZEN)[["subject", "t"]]
    resumed = frozen.assign(t=nearest(frozen, truth(record, Kind.RESUMED), "t", "forward"))
    went_on = resumed[resumed["t"].notna()]
    until = nearest(went_on, truth(record, Kind.RENEWED, Kind.JOINED), "t", "forward")
    return pd.DataFrame(
        {
            "subject": frozen["subject"],
            "since": frozen["t"],
            "until": until.reindex(frozen.index).fillna(np.inf),
        }
    )


def is_impaired(events: pd.DataFrame, impairments: pd.DataFrame) -> pd.Series[bool]:
    """For each event (columns subject and t), whether its service was impaired at that instant."""
    pairs = events[["subject", "t"]].reset_index().merge(impairments, on="subject")
    hit = pairs.loc[(pairs["t"] >= pairs["since"]) & (pairs["t"] < pairs["until"]), "index"]
    return pd.Series(events.index.isin(hit), index=events.index)


def overlap(spans: pd.DataFrame, impairments: pd.DataFrame) -> pd.Series[float]:
    """For each span (columns subject, start, end), for how long (s) its service was impaired."""
    pairs = spans[["subject", "start", "end"]].reset_index().merge(impairments, on="subject")
    since, until = pairs["since"], pairs["until"]
    first = pairs["start"].where(pairs["start"] > since, since)
    last = pairs["end"].where(pairs["end"] < until, until)
    shared = (last - first).clip(lower=0).groupby(pairs["index"]).sum()
    return shared.reindex(spans.index, fill_value=0.0)


def nearest(
    rows: pd.DataFrame,
    others: pd.DataFrame,
    column: str,
    direction: Literal["backward", "forward"] = "backward",
) -> pd.Series[float]:
    """For each row, `column` of the last of `others` with its subject that isn't later.

    Forward: of the first one that isn't earlier. NaN where there is none. Both have subject and t.
    """
    if rows.empty or others.empty:  # which merge_asof doesn't take
        return pd.Series(np.nan, index=rows.index)
    order = rows[["subject", "t"]].sort_values("t")
    values = others[["subject", "t"]].assign(value=others[column]).sort_values("t")
    found = pd.merge_asof(order, values, on="t", by="subject", direction=direction)["value"]
    return found.set_axis(order.index).reindex(rows.index)


def _ordered(events: pd.DataFrame) -> pd.DataFrame:
    """By time. At one instant tokens grow, and a departure comes before the return."""
    return events.sort_values(
        ["t", "incarnation", "kind"], ascending=[True, True, False], ignore_index=True
    )
