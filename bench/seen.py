"""What is compared of runs, live or simulated: whom they noticed how late, whom they called dead by
mistake, and what their servers did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.frames import runs_of
from bench.measure.detection import first_and_every, victims
from bench.measure.exposure import IMPAIRED, OUTAGE, UP, exposure
from bench.measure.load import load
from bench.measure.mistakes import mistakes, quality
from bench.result import Record
from bench.store import Loaded

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What is compared of one run of one backend."""

    detections: Mapping[str, Times]
    """By kind of fault, how late (s) the first observer noticed each that had to be noticed or was,
    ascending; infinite: never."""
    mistakes: Mapping[str, tuple[int, float]]
    """By the state that the services were in, how many live ones were called dead, and the
    service-seconds in which they could be."""
    load: Mapping[str, float]

    @classmethod
    def of(cls, record: Record) -> Seen:
        exposed = exposure(record)
        figures = quality(mistakes(record), exposed)
        return cls(
            detections=_times(victims(record)),
            mistakes={
                state: (each["count"], each["exposure_service_seconds"])
                for state in (UP, OUTAGE, IMPAIRED)
                if isinstance(each := figures[state], dict) and each["exposure_service_seconds"]
            },
            load={
                name: float(value)
                for name, value in load(record).items()
                if isinstance(value, int | float)
            },
        )


Sides = Mapping[str, Sequence[Seen]]
"""The runs of each backend, at each point of a sweep: `NAME [field=value]`."""


def sides(records: Iterable[Record]) -> dict[str, list[Seen]]:
    """What is compared of these runs."""
    found: dict[str, list[Seen]] = {}
    for record in records:
        point = ", ".join(f"{field}={value}" for field, value in record.point.items())
        name = f"{record.backend} [{point}]" if point else record.backend
        found.setdefault(name, []).append(Seen.of(record))
    return found


def noticed(result: Loaded, backend: str) -> dict[str, Times]:
    """Detection times as of `Seen`, of all runs. `backend` is a name of the summary."""
    rows = result.victims
    return {} if rows.empty else _times(rows[rows["run"].isin(runs_of(result, backend))])


def _times(rows: pd.DataFrame) -> dict[str, Times]:
    if rows.empty:
        return {}
    each = first_and_every(rows)
    each = each[each["first"].notna() | each["due"].fillna(True).astype(bool)]
    return {
        str(fault): np.sort(times.fillna(np.inf).to_numpy(dtype=np.float64))
        for fault, times in each.groupby("fault")["first"]
    }
