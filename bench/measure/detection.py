"""How late each observer learnt of each fault (detection time, T_D of Chen, Toueg and Aguilera)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.measure.closed_form import EARLY, SILENCES, Expiry, due, expiry, roles
from bench.measure.figures import Figure, mean, quantile, spread
from bench.measure.lives import ENDS, attributed, lives, nearest, observations
from bench.measure.onsets import VICTIM, onsets
from bench.measure.outages import outages
from bench.measure.spans import Instants, touched
from bench.measure.window import observed
from bench.result import Kind, Record

PARTS = ("phase", "timeout", "rounding", "delivery")
COLUMNS = [*VICTIM, "onset", "renewed", "due", "watched", "observer", "detected", "detection"]
COLUMNS += PARTS
ONSET = ["run", "subject", "onset"]


def victims(record: Record) -> pd.DataFrame:
    """One row per onset and observer, with `COLUMNS`; a service that flaps has several onsets.

    `fault`: as of `onsets`; `onset`: its confirmation; `renewed`: when the life's last answered
    renewal before it was sent (NaN: none told). `due`: whether it had to be noticed, as of
    `closed_form.due`; null, too, where the observer held the service for gone by then.
    `detected`: when the observer was first told that this life is over; NaN is missed, or rightly
    not noticed: a time censored after `watched` s. `detection` = detected - onset, in s.

    What an observer said before the fault can have begun is a mistake, never a detection. Between
    order and confirmation it is one, of zero seconds. A stop or a bad link counts as noticed only
    until the service has recovered.

    `phase`, `timeout`, `rounding` and `delivery` (s) add up to detected - onset: from the onset
    back to the last renewal (negative), the timeout, from there to the instant at which the
    server's grid or the observer's poll lets it show, and what is left, which the closed form
    doesn't know of. Where that doesn't apply they are NaN: for leaves, restarts and links,
    without a known renewal, and near an outage of servers.
    """
    known = lives(record)
    window = observed(record)
    end = window.end if window else 0.0
    hit = onsets(record)
    hit["victim"] = np.arange(len(hit))
    hit["watched"] = (hit["until"].clip(upper=end) - hit["onset"]).clip(lower=0.0)
    hit["due"] = due(hit, record.parameters, roles(record), end)

    told = attributed(observations(record, Kind.LEFT), known)
    pairs = hit[["victim", "life", "began", "until"]].merge(
        told[["life", "observer", "t", "clock_error"]], on="life"
    )
    in_time = (pairs["t"] >= pairs["began"] - pairs["clock_error"].fillna(0)) & (
        pairs["t"] < pairs["until"]
    )
    first = pairs[in_time].groupby(["victim", "observer"])["t"].min().rename("detected")

    observers = pd.DataFrame({"observer": pd.array(record.observers, dtype="string")})
    rows = hit.merge(observers, how="cross").merge(
        first.reset_index(), on=["victim", "observer"], how="left"
    )
    # Nobody notices once more that one is gone who hasn't been back since.
    rows["due"] = rows["due"].mask(~rows["fault"].isin(ENDS) & _absent(record, rows))
    rows["detection"] = (rows["detected"] - rows["onset"]).clip(lower=0.0)
    return _split(record, rows)[COLUMNS]


def first_and_every(victims: pd.DataFrame) -> pd.DataFrame:
    """One row an onset: the victim's columns, `due`, `first` and `every` (s), and the parts.

    `first` is the first observer's detection time, NaN if none noticed, and the parts are those
    of it; `every` is the last one's, NaN if one didn't notice.
    """
    groups = victims.groupby(ONSET, sort=False)
    detection = groups["detection"]
    rows = victims.sort_values("detection", kind="stable").drop_duplicates(ONSET).set_index(ONSET)
    rows["due"] = groups["due"].max()
    rows["first"] = detection.min()
    rows["every"] = detection.max().where(detection.count() == groups.size())
    ordered = rows.reindex(detection.min().index).reset_index()
    return ordered[[*VICTIM, "onset", "renewed", "due", "first", "every", *PARTS]]


def quantiles(victims: pd.DataFrame) -> dict[str, object]:
    """The summary's detection figures: of the first observer, and of the last one in `every`.

    `count` counts onsets and `noticed` those of them that were; `missed`: those never noticed
    although they had to be, `unexpected`: those noticed although they must not be. The others
    are of what was noticed, in seconds, None where there is nothing; `parts` are means.
    """
    each = first_and_every(victims)
    parts: dict[str, Figure] = {name: mean(each[name].tolist()) for name in PARTS}
    return {
        **_figures(each, "first"),
        "unexpected": int((each["first"].notna() & ~each["due"].fillna(True)).sum()),
        "parts": parts,
        "every": _figures(each, "every"),
    }


def model_error(victims: pd.DataFrame) -> dict[str, Figure]:
    """The audit's figures of deaths: how far, early or late, the first observer's event lay from
    the closed form (its `delivery`)."""
    dead = victims[victims["fault"].isin([Kind.CRASHED, Kind.POWER_LOST])]
    off = first_and_every(dead)["delivery"].dropna().abs()
    return {"model_error_p50": quantile(off, 0.50), "model_error_p99": quantile(off, 0.99)}


def _figures(each: pd.DataFrame, name: str) -> dict[str, object]:
    times = each[name]
    return {
        "count": len(times),
        "noticed": int(times.notna().sum()),
        "missed": int((times.isna() & each["due"].fillna(False)).sum()),
        **spread(times.dropna()),
    }


def _absent(record: Record, rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether the last thing that each row's observer was told before the onset was `left`."""
    told = observations(record, Kind.JOINED, Kind.LEFT)
    told = told.assign(gone=(told["kind"] == Kind.LEFT).astype(float))
    last = pd.Series(0.0, index=rows.index)
    for observer, mine in rows.groupby("observer"):
        asked = mine[["subject"]].assign(t=mine["onset"])
        last[mine.index] = nearest(asked, told[told["observer"] == observer], "gone")
    return last == 1.0


def _split(record: Record, rows: pd.DataFrame) -> pd.DataFrame:
    parameters = record.parameters
    renewed, onset, detected = (
        np.asarray(rows[name], dtype=np.float64) for name in ("renewed", "onset", "detected")
    )
    form = expiry(renewed, rows["server"], parameters, roles(record))
    shown = _read(record, rows, form.expected)
    shown = np.where(np.isnan(shown), form.nearest(detected), shown)
    silent = np.asarray(rows["fault"].isin(SILENCES), dtype=np.bool_)
    known = silent & ~touched(renewed, detected, outages(record)) & (detected >= onset)
    timeout = np.full(len(rows), parameters.timeout, dtype=np.float64)
    parts = {
        "phase": renewed - onset,
        "timeout": timeout,
        "rounding": shown - renewed - timeout,
        "delivery": detected - shown,
    }
    whole = known & ~np.isnan(sum(parts.values()))
    return rows.assign(**{name: np.where(whole, part, np.nan) for name, part in parts.items()})


def _read(record: Record, rows: pd.DataFrame, expected: Instants) -> Instants:
    """When the read or look was sent that was the observer's first to show each expiry, where
    observers kept a journal of them; else NaN.

    A tuned reader counts from when it got the rows that showed it the last beat, which is some
    time between that read's sending and its end: of the two the one that agrees is taken.
    """
    parameters = record.parameters
    shown = np.full(len(rows), np.nan)
    journals = observations(record, Kind.READ, Kind.LOOKED)
    for observer, journal in journals.groupby("observer"):
        sent, _ = _sent_and_answered(journal)
        mine = np.flatnonzero(rows["observer"] == observer)
        if parameters.profile == "tuned":
            timeout = parameters.timeout or 0.0
            detected = np.asarray(rows["detected"], dtype=np.float64)[mine]
            renewed = np.asarray(rows["renewed"], dtype=np.float64)[mine]
            whole = _sent_and_answered(journal[journal["kind"] == Kind.READ])
            first, last = (
                _next(sent, sent, _next(seen, whole[0], renewed) + timeout - EARLY)
                for seen in whole
            )
            shown[mine] = Expiry(first, last, stepwise=True).nearest(detected)
        else:
            shown[mine] = _next(sent, sent, expected[mine] - EARLY)
    return shown


def _sent_and_answered(journal: pd.DataFrame) -> tuple[Instants, Instants]:
    answered = np.asarray(journal["t"], dtype=np.float64)
    sent = np.asarray(journal["t"] - journal["value"].fillna(0), dtype=np.float64)
    return np.sort(sent), np.sort(answered)


def _next(values: Instants, times: Instants, after: Instants) -> Instants:
    """The value of the first of `times` that isn't before each of `after`; NaN where none is."""
    at = np.searchsorted(times, after)
    there = (at < len(times)) & ~np.isnan(after)
    return np.where(there, values[np.minimum(at, len(times) - 1)], np.nan)
