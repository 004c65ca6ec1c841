"""What befell the services, one row for each time that it did, and when each could be noticed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.measure.impairments import HEALINGS, impairments
from bench.measure.lives import ENDS, attributed, faults, lives, nearest, truth
from bench.result import Kind, Record

FLAPPED = "flapped"
RESTARTED = str(Kind.RESTARTED)

VICTIM = ["run", "backend", "repeat", "subject", "client", "server", "incarnation", "fault"]
COLUMNS = [*VICTIM, "life", "onset", "began", "direction", "renewed", "healed", "recovered"]
COLUMNS += ["until"]


def onsets(record: Record) -> pd.DataFrame:
    """One row an onset, with `COLUMNS`; `life` is the one that was hit.

    `fault`: the event's kind; but `restarted` for the end of a life after which a new process of
    the service began, and `flapped` for each stop of a service that was stopped several times.
    `onset`: the confirmation, `began`: the earliest that it can have taken hold. `renewed`: when
    the life's last renewal that was answered before had been sent; NaN where nobody says.
    `healed` and `recovered`: as of `impairments`, infinite after a death. `until`: it counts as
    noticed up to then; the end of what is watched, at the latest.
    """
    known = lives(record)
    rows = attributed(faults(record, *ENDS, *HEALINGS), known).reset_index(drop=True)
    rows = rows.rename(columns={"t": "onset", "detail": "direction"}).assign(run=record.index)
    life = known.set_index("life").reindex(rows["life"])
    for column in ("incarnation", "client", "server"):
        rows[column] = rows[column].fillna(life[column].set_axis(rows.index))
    rows["renewed"] = _last_renewals(record, rows, life["start"].set_axis(rows.index))
    spans = impairments(record).rename(columns={"since": "onset", "state": "kind"})
    rows = rows.merge(spans, on=["subject", "onset", "kind"], how="left")
    for column in ("healed", "recovered", "until"):
        rows[column] = rows[column].fillna(np.inf)
    rows["fault"] = _named(record, rows)
    return rows[COLUMNS]


def _named(record: Record, rows: pd.DataFrame) -> pd.Series[str]:
    ended = rows["kind"].isin(ENDS)
    begun = rows.assign(t=rows["onset"])[["subject", "t"]]
    again = nearest(begun, truth(record, Kind.RESTARTED), "t", "forward").notna()
    several = rows["subject"].where(rows["kind"] == Kind.FROZEN).duplicated(keep=False)
    flapped = (rows["kind"] == Kind.FROZEN) & several
    return rows["kind"].mask(ended & again, RESTARTED).mask(flapped, FLAPPED)


def _last_renewals(
    record: Record, rows: pd.DataFrame, starts: pd.Series[float]
) -> pd.Series[float]:
    """Of each onset's life; a renewal of an earlier life says nothing about this one.

    Only what is done to a service itself makes it tell of its last renewal.
    """
    last = nearest(rows.assign(t=rows["onset"]), truth(record, Kind.RENEWED), "t")
    return last.where((last >= starts) & rows["kind"].isin((*ENDS, Kind.FROZEN)))
