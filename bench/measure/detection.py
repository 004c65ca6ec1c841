"""How late each observer learnt of each fault (detection time, T_D of Chen, Toueg and Aguilera)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.measure.figures import spread
from bench.measure.lives import (
    FAULTS,
    attributed,
    faults,
    impaired,
    lives,
    nearest,
    observations,
    truth,
)
from bench.result import Kind, Record

VICTIM = ["run", "backend", "repeat", "subject", "client", "server", "incarnation", "fault"]
COLUMNS = [*VICTIM, "onset", "renewed", "observer", "detected", "detection"]


def victims(record: Record) -> pd.DataFrame:
    """One row per victim and observer, with `COLUMNS`.

    `fault`: crashed, left or frozen; `onset`: its confirmation; `renewed`: when the life's last
    answered renewal before it was sent (NaN: none). `detected`: when the observer was first told
    that this life is over; NaN is missed, a censored time. `detection` = detected - onset, in s.

    What an observer said before the fault can have begun is a mistake, never a detection. Between
    order and confirmation it is one, of zero seconds. A freeze counts as noticed only while it
    lasts.
    """
    known = lives(record)
    hit = attributed(faults(record, *FAULTS), known).reset_index(drop=True)
    hit = hit.rename(columns={"t": "onset", "kind": "fault"}).assign(run=record.index)
    hit["victim"] = np.arange(len(hit))
    life = known.set_index("life").reindex(hit["life"])
    for column in ("incarnation", "client", "server"):
        hit[column] = hit[column].fillna(life[column].set_axis(hit.index))
    hit["renewed"] = _last_renewals(record, hit, np.asarray(life["start"], dtype=np.float64))
    hit["until"] = _untils(record, hit)

    told = attributed(observations(record, Kind.LEFT), known)
    pairs = hit[["victim", "life", "began", "until"]].merge(
        told[["life", "observer", "t", "clock_error"]], on="life"
    )
    in_time = (pairs["t"] >= pairs["began"] - pairs["clock_error"].fillna(0)) & (
        pairs["t"] < pairs["until"]
    )
    first = pairs[in_time].groupby(["victim", "observer"])["t"].min().rename("detected")

    observers = pd.DataFrame({"observer": pd.array(record.observers, dtype="string")})
    rows = (
        hit.drop(columns="observer")
        .merge(observers, how="cross")
        .merge(first.reset_index(), on=["victim", "observer"], how="left")
    )
    rows["detection"] = (rows["detected"] - rows["onset"]).clip(lower=0.0)
    return rows[COLUMNS]


def first_and_every(victims: pd.DataFrame) -> pd.DataFrame:
    """One row a victim: the victim's columns, `first` and `every` (detection times in s, NaN).

    `first` is the first observer's, NaN if none noticed; `every` the last one's, NaN if one didn't.
    """
    key = ["run", "subject", "onset"]
    groups = victims.groupby(key, sort=False)
    rows = victims.drop_duplicates(key).set_index(key)
    detection = groups["detection"]
    rows["first"] = detection.min()
    rows["every"] = detection.max().where(detection.count() == groups.size())
    return rows.reset_index()[[*VICTIM, "onset", "renewed", "first", "every"]]


def quantiles(victims: pd.DataFrame) -> dict[str, object]:
    """The summary's detection figures: of the first observer, and of the last one in `every`.

    `count` counts victims, `missed` those of them never noticed; the others are of what was
    noticed, in seconds, None where there is nothing.
    """
    each = first_and_every(victims)
    return {**_figures(each["first"]), "every": _figures(each["every"])}


def _figures(times: pd.Series[float]) -> dict[str, object]:
    return {
        "count": len(times),
        "missed": int(times.isna().sum()),
        **spread(times.dropna()),
    }


def _last_renewals(
    record: Record, hit: pd.DataFrame, starts: NDArray[np.float64]
) -> pd.Series[float]:
    """Of each fault's life; a renewal of an earlier life says nothing about this one."""
    last = nearest(hit.assign(t=hit["onset"]), truth(record, Kind.RENEWED), "t")
    return last.where(last >= starts)


def _untils(record: Record, hit: pd.DataFrame) -> pd.Series[float]:
    """A freeze can be noticed until the service has recovered, a death for ever."""
    freezes = impaired(record).rename(columns={"since": "onset"}).assign(fault=str(Kind.FROZEN))
    found = hit[["subject", "onset", "fault"]].merge(
        freezes, on=["subject", "onset", "fault"], how="left"
    )
    return found["until"].fillna(np.inf)
