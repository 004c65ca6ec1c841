"""How often and for how long a live service was called dead.

Terms of Chen, Toueg and Aguilera: an S-transition is an observer's turn from trust to suspicion,
a T-transition the turn back. While an observer suspects a live service it makes a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.measure.figures import Figure, poisson_upper95, ratio
from bench.measure.lives import (
    ENDS,
    attributed,
    impaired,
    is_impaired,
    lives,
    nearest,
    observations,
    overlap,
    truth,
)
from bench.measure.window import observed
from bench.result import Kind, Record

COLUMNS = ["run", "backend", "repeat", "subject", "incarnation", "life", "observer"]
COLUMNS += ["start", "end", "censored", "state", "wrong"]

EPISODE = 1.0
"""Seconds: mistakes that follow each other no further apart have one cause, and are one episode."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The time in which mistakes could be made, from the first phase on."""

    up: float = 0.0
    """Service-seconds: services that were alive and not impaired."""
    views: float = 0.0
    """Service-seconds up, counted once for each observer."""
    clock: float = 0.0
    """Seconds of the run."""

    def __add__(self, other: Exposure) -> Exposure:
        return Exposure(self.up + other.up, self.views + other.views, self.clock + other.clock)


def mistakes(record: Record) -> pd.DataFrame:
    """One row per mistake of an observer, with `COLUMNS`, from the run's first phase on.

    It starts when the observer is told that a life is over that is not, and ends with its next
    `joined` of the service. Where that doesn't come it is `censored`: it ends when the view
    becomes right by the service's death, or with the run. `state` (up | impaired) is the
    service's when it starts; `wrong` is for how long (s) of it the service was up.

    A second `left` without a `joined` between is no transition, and no further mistake.
    """
    window = observed(record)
    told = observations(record, Kind.JOINED, Kind.LEFT)
    views = told.groupby(["observer", "subject"], sort=False)
    returns = told["t"].where(told["kind"] == Kind.JOINED)
    told["back"] = returns.groupby([told["observer"], told["subject"]], sort=False).bfill()
    turned = (told["kind"] == Kind.LEFT) & (views["kind"].shift() != Kind.LEFT).fillna(True)

    known = lives(record)
    rows: pd.DataFrame = attributed(told[turned], known)
    doomed = known["doomed"].reindex(rows["life"]).to_numpy()
    alive = rows["t"] < doomed - rows["clock_error"].fillna(0)
    start, stop = (window.start, window.end) if window else (np.inf, np.inf)
    rows = rows[alive & rows["t"].between(start, stop)].reset_index(drop=True)

    died = nearest(rows, truth(record, *ENDS), "t", "forward")
    until = died.fillna(np.inf).clip(upper=stop)
    impairments = impaired(record)
    rows["state"] = np.where(is_impaired(rows, impairments), "impaired", "up")
    rows["censored"] = ~(rows["back"] <= until)
    rows = rows.assign(start=rows["t"], end=rows["back"].where(~rows["censored"], until))
    rows["wrong"] = rows["end"] - rows["start"] - overlap(rows, impairments)
    rows["incarnation"] = rows["incarnation"].fillna(
        known["incarnation"].reindex(rows["life"]).set_axis(rows.index)
    )
    rows["run"] = record.index
    return rows[COLUMNS]


def exposure(record: Record) -> Exposure:
    """The time in which mistakes could be made; none where the run never came to a phase."""
    window = observed(record)
    if window is None:
        return Exposure()
    spans = lives(record).sort_values("start")
    # A service that joined again is one service still: its earlier life counts up to there.
    later = spans.groupby("subject")["start"].shift(-1).fillna(np.inf)
    spans["end"] = np.minimum(spans["end"], later).clip(window.start, window.end)
    spans["start"] = spans["start"].clip(window.start, window.end)
    lived = spans["end"] - spans["start"]
    up = float((lived - overlap(spans, impaired(record))).sum())
    return Exposure(up, up * len(record.observers), window.seconds)


def quality(mistakes: pd.DataFrame, exposure: Exposure) -> dict[str, Figure]:
    """The summary's figures; None where there was no time to make a mistake in.

    `count` counts lives that were up and called dead by one observer or more, `impaired` those
    that were impaired then; all others are of services that were up. `rate` is per
    service-second, `rate_upper95` its exact one-sided Poisson bound. Mistakes come together, so
    both are given by the hour of the clock too, for lives and for episodes. `duration_mean` (s)
    counts a mistake that was never corrected with the time that was seen of it. `query_accuracy`
    is the share of the time up in which an observer's view of a service was right.
    """
    up = mistakes[mistakes["state"] == "up"]
    count, episodes, hours = _lives(up), _episodes(up), exposure.clock / 3600
    wrong = ratio(float(mistakes["wrong"].sum()), exposure.views)
    return {
        "count": count,
        "impaired": _lives(mistakes[mistakes["state"] == "impaired"]),
        "censored": int(up["censored"].sum()),
        "exposure_service_seconds": exposure.up,
        "rate": ratio(count, exposure.up),
        "rate_upper95": ratio(poisson_upper95(count), exposure.up),
        "per_hour": ratio(count, hours),
        "per_hour_upper95": ratio(poisson_upper95(count), hours),
        "episodes": episodes,
        "episodes_per_hour": ratio(episodes, hours),
        "episodes_per_hour_upper95": ratio(poisson_upper95(episodes), hours),
        "duration_mean": float((up["end"] - up["start"]).mean()) if len(up) else None,
        "query_accuracy": None if wrong is None else 1.0 - wrong,
    }


def _lives(mistakes: pd.DataFrame) -> int:
    return len(mistakes.drop_duplicates(["run", "life"]))


def _episodes(mistakes: pd.DataFrame) -> int:
    starts = mistakes.sort_values(["run", "start"])
    pause = starts.groupby("run")["start"].diff()
    return int((pause.isna() | (pause > EPISODE)).sum())
