"""Who truly lived when, and which life an event speaks of.

A life is one incarnation of a service: from the answer to its join to its confirmed death or
leave. The observers' statements are judged against lives, never against names alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd

from bench.measure.once import once
from bench.result import Kind, Record

DEATHS = (Kind.CRASHED, Kind.POWER_LOST)
ENDS = (*DEATHS, Kind.LEFT)


def truth(record: Record, *kinds: Kind) -> pd.DataFrame:
    """What was done to the services or what they did, of these kinds, in order."""
    return _of(_true(record), kinds)


def observations(record: Record, *kinds: Kind) -> pd.DataFrame:
    """What the record's observers were told, of these kinds, in order."""
    return _of(_told(record), kinds)


@once
def lives(record: Record) -> pd.DataFrame:
    """One row a life: life (its number), subject, incarnation, client, server, start, end, doomed.

    `end` is the confirmed death or leave, infinite where the run saw none. `doomed` is when that
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
    """The confirmed faults of these kinds, with `began`: the earliest they can have taken hold,
    which is when a shard was to carry them out."""
    rows = truth(record, *kinds)
    ordered = rows["value"].where(rows["kind"].isin((*ENDS, Kind.FROZEN)), 0.0).fillna(0)
    return rows.assign(began=rows["t"] - ordered - rows["clock_error"].fillna(0))


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


@once
def _true(record: Record) -> pd.DataFrame:
    return _ordered(record.events[record.events["observer"].isna()])


@once
def _told(record: Record) -> pd.DataFrame:
    return _ordered(record.events[record.events["observer"].isin(record.observers).fillna(False)])


def _ordered(events: pd.DataFrame) -> pd.DataFrame:
    """By time. At one instant tokens grow, and a departure comes before the return."""
    return events.sort_values(
        ["t", "incarnation", "kind"], ascending=[True, True, False], ignore_index=True
    )


def _of(ordered: pd.DataFrame, kinds: Collection[Kind]) -> pd.DataFrame:
    return ordered[ordered["kind"].isin(kinds)].reset_index(drop=True)
