"""Simulated runs, and what their events say; without the measures, which are tested elsewhere."""

from __future__ import annotations

import pandas as pd

from bench.calibration import STATED
from bench.engines.sim import simulated
from bench.plan import Run, plan
from bench.result import Kind, Record
from bench.scenario import loads


def planned(text: str) -> tuple[Run, ...]:
    """The runs of a scenario; what every scenario says alike may be left out."""
    return plan(loads("version: 1\nname: test\nquestion: Does it hold?\n" + text, "test"))


def record(run: Run, *, plain: bool = False) -> Record:
    return simulated(run, STATED, plain=plain)


def told(record: Record, kind: Kind, observer: str | None = None) -> pd.DataFrame:
    """The events of a kind: the ground truth, or what an observer was told."""
    events = record.events
    by = events["observer"].isna() if observer is None else events["observer"] == observer
    return events[by & (events["kind"] == str(kind))]


def detections(
    record: Record, onset: Kind = Kind.CRASHED, observer: str = "observer-0"
) -> pd.Series[float]:
    """Seconds from each onset to the observer's event, by service; NaN: never."""
    began = told(record, onset).drop_duplicates("subject").set_index("subject")["t"]
    left = told(record, Kind.LEFT, observer)
    left = left[left["t"] >= left["subject"].map(began).fillna(float("inf"))]
    noticed = left.drop_duplicates("subject").set_index("subject")["t"]
    return (noticed.reindex(began.index) - began).astype(float)


def server_of(record: Record, onset: Kind = Kind.CRASHED) -> pd.Series[str]:
    """Which server each victim was connected to, by service."""
    return told(record, onset).set_index("subject")["server"]
