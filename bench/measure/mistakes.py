"""How often and for how long a live service was called dead.

Terms of Chen, Toueg and Aguilera: an S-transition is an observer's turn from trust to suspicion,
a T-transition the turn back. While an observer suspects a live service it makes a mistake.

A service that lives is in one state at each instant: `up`; `outage`, up while servers were
failing (`outages`); or impaired, by the kind of it: `frozen`, `cut`, `lossy`, `delayed`, `skewed`
(`impairments`, what its observers may be behind included). A mistake is of the state in which it
starts: what an outage or an impairment costs is seen as that.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.measure.delays import lag
from bench.measure.exposure import IMPAIRED, OUTAGE, RUN, UP, Exposure
from bench.measure.figures import Figure, mean, poisson_bounds95, poisson_upper95, ratio
from bench.measure.impairments import impairments, overlap, states
from bench.measure.lives import ENDS, attributed, lives, nearest, observations, truth
from bench.measure.once import once
from bench.measure.outages import outages
from bench.measure.spans import position
from bench.measure.window import observed
from bench.result import Kind, Record

COLUMNS = ["run", "backend", "repeat", "subject", "incarnation", "life", "observer"]
COLUMNS += ["start", "end", "censored", "state", "episode", "wrong"]


@once
def mistakes(record: Record) -> pd.DataFrame:
    """One row per mistake of an observer, with `COLUMNS`, from the run's first phase on.

    It starts when the observer is told that a life is over that is not, and ends with its next
    `joined` of the service. Where that doesn't come it is `censored`: it ends when the view
    becomes right by the service's death, or with the run. `state` is the service's when it
    starts; `wrong` is for how long (s) of it the service was not impaired.

    `episode` numbers the clusters that have one cause: mistakes that start within one outage, or
    that follow each other no further apart than an observer may be behind (`delays.lag`).

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
    impaired = impairments(record)
    outage = pd.Series(position(rows["t"].to_numpy(np.float64), outages(record)), rows.index)
    rows["state"] = states(rows, impaired).fillna(outage.map(lambda at: UP if at < 0 else OUTAGE))
    rows["episode"] = _episodes(rows["t"], outage, lag(record.parameters))
    rows["censored"] = ~(rows["back"] <= until)
    rows = rows.assign(start=rows["t"], end=rows["back"].where(~rows["censored"], until))
    rows["wrong"] = rows["end"] - rows["start"] - overlap(rows, impaired)
    rows["incarnation"] = rows["incarnation"].fillna(
        known["incarnation"].reindex(rows["life"]).set_axis(rows.index)
    )
    rows["run"] = record.index
    return rows[COLUMNS]


def quality(mistakes: pd.DataFrame, exposure: Exposure) -> dict[str, object]:
    """The summary's figures; None where there was no time to make a mistake in.

    At the top they are of services that were up, in outages of servers too; then once more for
    `up` without these, for `outage`, for `impaired` and for each kind of it that there was.

    `count` counts lives that were called dead by one observer or more, `episodes` their clusters.
    `rate` is per service-second; mistakes come together, so both counts are given by the hour of
    the clock too. `…_upper95` is the exact one-sided Poisson bound, `…_bounds95` are the exact
    two-sided ones. `duration_mean` (s) counts a mistake that was never corrected with the time
    that was seen of it; `censored` counts those. `query_accuracy` is the share of the time up in
    which an observer's view of a service was right.
    """
    kinds = [state for state in exposure.seconds if state not in (UP, OUTAGE)]
    wrong = ratio(float(mistakes["wrong"].sum()), exposure.views)

    def figures(clock: float, *states: str) -> dict[str, object]:
        return _figures(mistakes[mistakes["state"].isin(states)], exposure.of(*states), clock)

    return {
        **figures(exposure.clock.get(RUN, 0.0), UP, OUTAGE),
        "query_accuracy": None if wrong is None else 1.0 - wrong,
        UP: figures(exposure.clock.get(UP, 0.0), UP),
        OUTAGE: figures(exposure.clock.get(OUTAGE, 0.0), OUTAGE),
        IMPAIRED: figures(exposure.clock.get(IMPAIRED, 0.0), *kinds),
        **{kind: figures(exposure.clock[kind], kind) for kind in kinds},
    }


def _figures(mistakes: pd.DataFrame, seconds: float, clock: float) -> dict[str, object]:
    lives = len(mistakes.drop_duplicates(["run", "life"]))
    episodes = len(mistakes.drop_duplicates(["run", "episode"]))
    return {
        "count": lives,
        "episodes": episodes,
        "censored": int(mistakes["censored"].sum()),
        "duration_mean": mean((mistakes["end"] - mistakes["start"]).tolist()),
        "exposure_service_seconds": seconds,
        **_rate("rate", lives, seconds),
        **_rate("per_hour", lives, clock / 3600),
        **_rate("episodes_per_hour", episodes, clock / 3600),
    }


def _rate(name: str, count: int, per: float) -> dict[str, object]:
    bounds: list[Figure] = [ratio(bound, per) for bound in poisson_bounds95(count)]
    return {
        name: ratio(count, per),
        f"{name}_upper95": ratio(poisson_upper95(count), per),
        f"{name}_bounds95": None if None in bounds else bounds,
    }


def _episodes(starts: pd.Series[float], outage: pd.Series[int], apart: float) -> pd.Series[int]:
    order = starts.sort_values(kind="stable").index
    pause = starts.loc[order].diff()
    where = outage.loc[order]
    same = (pause <= apart) | ((where == where.shift()) & (where >= 0))
    return (~same).astype(int).cumsum().reindex(starts.index)
