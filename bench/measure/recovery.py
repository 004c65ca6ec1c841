"""How long it took until everybody was back: every live service a member, for every observer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.measure.delays import patience
from bench.measure.exposure import OUTAGE, UP
from bench.measure.figures import spread
from bench.measure.impairments import impairments, states
from bench.measure.lives import ENDS, nearest, observations, truth
from bench.measure.mistakes import mistakes
from bench.measure.outages import HITS
from bench.measure.window import observed
from bench.result import Kind, Record

MISTAKES, SERVERS = "mistakes", "servers"
COLUMNS = ["run", "after", "subject", "t", "recovered", "seconds"]


def absences(record: Record) -> pd.DataFrame:
    """One row for each time that a live service was missing in an observer's view.

    observer, subject, since, until: from when the observer was told that it is gone, or from when
    a new process of it began, to when the observer was told that it joined, or to the service's
    death if that is sooner; NaN where neither came.
    """
    told = observations(record, Kind.JOINED, Kind.LEFT)
    turns = told.groupby(["observer", "subject"], sort=False)["kind"]
    gone = told[(told["kind"] == Kind.LEFT) & (turns.shift() != Kind.LEFT).fillna(True)]
    ends = truth(record, *ENDS)
    ended = nearest(gone, ends, "t")
    begun = nearest(gone, truth(record, Kind.JOINED, Kind.RESTARTED), "t")
    observers = pd.DataFrame({"observer": pd.array(record.observers, dtype="string")})
    again = truth(record, Kind.RESTARTED)[["subject", "t"]].merge(observers, how="cross")
    rows = pd.concat([gone[begun.notna() & ~(ended >= begun)], again], ignore_index=True)

    joined = told[told["kind"] == Kind.JOINED]
    back = pd.Series(np.nan, index=rows.index)
    for observer, mine in rows.groupby("observer"):
        back[mine.index] = nearest(mine, joined[joined["observer"] == observer], "t", "forward")
    until = np.fmin(back, nearest(rows, ends, "t", "forward"))
    return rows[["observer", "subject"]].assign(since=rows["t"], until=until)


def recoveries(record: Record) -> pd.DataFrame:
    """One row per disturbance, with `COLUMNS`: how long after it (`t`) all were back.

    `after`: `mistakes`, an episode of them about services that were up, from its start to the end
    of its last; `servers`, the return of a server, or the blow to one that didn't return;
    `restarted`, the start of a service's new process; or the kind of an impairment, from its
    healing. The latter two look at the absences of that service (`subject`), `servers` at those
    of all that weren't impaired. Absences count that begin within a whole detection
    (`delays.patience`) of the instant; none gives 0 s. `recovered` is NaN where somebody never
    came back.
    """
    window = observed(record)
    if window is None:
        return _rows(record, [])
    missing = absences(record)
    reach = patience(record.parameters)
    impaired = impairments(record)
    healed = impaired.rename(columns={"state": "after", "healed": "t"})
    begun = truth(record, Kind.RESTARTED).assign(after=str(Kind.RESTARTED))
    own = pd.concat([healed[["after", "subject", "t"]], begun[["after", "subject", "t"]]])
    own = own[own["t"].between(window.start, window.end)].reset_index(drop=True)
    unimpaired = missing[states(missing.rename(columns={"since": "t"}), impaired).isna()]
    servers = [(SERVERS, None, t, _last(t, unimpaired, reach)) for t in _blows(record, window.end)]
    return pd.concat(
        [
            _rows(record, _episodes(record, window.end)),
            _rows(record, [row for row in servers if row[2] < window.end]),
            _rows(record, own.assign(recovered=_own(own, missing, reach))),
        ],
        ignore_index=True,
    )


def recovery(rows: pd.DataFrame) -> dict[str, dict[str, object]]:
    """The summary's figures by what it was a recovery from: `mistakes` and `servers` always, the
    others where there were such.

    `count`; `never`: after so many somebody never came back; the spread of the others (s).
    """
    after = rows["after"].tolist()
    return {
        cause: _figures(rows.loc[rows["after"] == cause, "seconds"])
        for cause in dict.fromkeys((MISTAKES, SERVERS, *after))
    }


def _figures(seconds: pd.Series[float]) -> dict[str, object]:
    return {
        "count": len(seconds),
        "never": int(seconds.isna().sum()),
        **spread(seconds.dropna()),
    }


def _rows(
    record: Record, found: pd.DataFrame | list[tuple[str, None, float, float]]
) -> pd.DataFrame:
    columns = ["after", "subject", "t", "recovered"]
    types = {"after": "string", "subject": "string", "t": "float64", "recovered": "float64"}
    rows = pd.DataFrame(found, columns=columns).astype(types)
    return rows.assign(run=record.index, seconds=rows["recovered"] - rows["t"])[COLUMNS]


def _episodes(record: Record, end: float) -> list[tuple[str, None, float, float]]:
    made = mistakes(record)
    made = made[made["state"].isin((UP, OUTAGE))]
    return [
        (
            MISTAKES,
            None,
            float(episode["start"].min()),
            np.nan
            if (episode["censored"] & (episode["end"] >= end)).any()
            else episode["end"].max(),
        )
        for _, episode in made.groupby("episode")
    ]


def _blows(record: Record, end: float) -> list[float]:
    """The returns of servers, and the blows to those that didn't return in time."""
    returns = truth(record, Kind.SERVER_BACK)
    returns = returns[returns["t"] < end]
    hits = truth(record, *HITS)
    lasting = hits[nearest(hits, returns, "t", "forward").isna()]
    return sorted([*returns["t"], *lasting["t"]])


def _last(t: float, missing: pd.DataFrame, reach: float) -> float:
    """When the last one was back that was missing at `t` or within reach of it."""
    until = missing.loc[(missing["since"] < t + reach) & ~(missing["until"] <= t), "until"]
    return t if until.empty else float(until.max(skipna=False))


def _own(own: pd.DataFrame, missing: pd.DataFrame, reach: float) -> pd.Series[float]:
    """`_last` of each row's own service."""
    pairs = own.reset_index().merge(missing, on="subject")
    near = pairs[(pairs["since"] < pairs["t"] + reach) & ~(pairs["until"] <= pairs["t"])]
    last = near["until"].fillna(np.inf).groupby(near["index"]).max().reindex(own.index)
    return last.fillna(own["t"]).replace(np.inf, np.nan)
