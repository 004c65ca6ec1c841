"""How far simulations lie from the live runs that they were to predict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.frames import runs_of
from bench.measure.detection import first_and_every, victims
from bench.measure.exposure import IMPAIRED, OUTAGE, UP, exposure
from bench.measure.figures import poisson_bounds95
from bench.measure.lives import DEATHS
from bench.measure.load import load
from bench.measure.mistakes import mistakes, quality
from bench.randomness import stream
from bench.report.quantity import NONE, plain
from bench.result import Record
from bench.store import Loaded, ResultError

QUANTILES = (0.5, 0.9, 0.99)
SHOWN = (
    "server_cpu_cores",
    "server_rss_max_bytes",
    "statements_per_service_second",
    "packets_per_service_second",
    "network_bytes_per_service_second",
)
"""The figures of load that are told to people; the JSON has all."""

HELD_TO = ("mean", "p50", "p99")
"""The figures of detection that the model is held to."""
KS, RELATIVE, ABSOLUTE, CPU = 0.06, 0.02, 0.1, 0.2
"""What it is held to: the KS distance; each figure of detection, by its share or in s, whichever is
more; the servers' CPU."""

NULL = 0.95
"""The quantile of what chance alone gives: so many of all samples of the live runs' size, drawn
from the model itself, lie nearer to it."""
DRAWS = 400
AT_LEAST = 20
"""As many simulated runs for each live one are needed to draw such samples run by run."""

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


@dataclass(frozen=True)
class Error:
    """One figure, predicted and measured."""

    figure: str
    live: float
    sim: float
    absolute: float
    """sim - live."""
    relative: float | None
    """Of the live one; None where that is zero."""
    chance: float | None = None
    """How large, without its sign, `absolute` gets by chance alone; see `NULL`. None: unknown."""


@dataclass(frozen=True)
class Detection:
    """The detection times of one kind of fault on one backend, all runs pooled. Seconds."""

    backend: str
    fault: str
    live: int
    """How many were noticed."""
    sim: int
    missed_live: float
    """The share that was never noticed."""
    missed_sim: float
    ks: float | None
    """The largest distance between the two distributions; None where one side has none."""
    ks_null: float | None
    """What chance alone gives, where that is known run by run; else as if all were independent."""
    errors: tuple[Error, ...]
    """Of the mean and the quantiles."""

    @property
    def ok(self) -> bool | None:
        """Whether the model is as near as it is held to be; None where it isn't, but no farther
        off than so few detections are by chance."""
        if self.ks is None or self.ks_null is None:
            return None
        verdicts = [_held(self.ks, KS, self.ks_null)]
        for error in self.errors:
            if error.figure in HELD_TO:
                bound = max(ABSOLUTE, RELATIVE * abs(error.live))
                verdicts.append(_held(abs(error.absolute), bound, error.chance))
        return _all(verdicts)


@dataclass(frozen=True)
class Mistakes:
    """Live services called dead in one state of theirs, and the rate per service-second."""

    backend: str
    state: str
    live: int
    sim: float
    """Expected in as many service-seconds."""
    live_rate: float
    sim_rate: float
    ok: bool
    """Whether the two 95% intervals of the rates meet."""


@dataclass(frozen=True)
class Prediction:
    """All of it; backends that only one side has are left out, and named."""

    detections: tuple[Detection, ...]
    mistakes: tuple[Mistakes, ...]
    loads: Mapping[str, tuple[Error, ...]]
    """By backend, the means of all runs."""
    detection_error: float | None
    """The number: the largest relative error of any mean, median or p99 of deaths."""
    cpu_error: float | None
    """The largest relative error of the servers' CPU."""
    unmatched: tuple[str, ...]
    extrapolated: tuple[str, ...]
    """What the simulation marked as outside its calibration."""

    @property
    def ok(self) -> bool | None:
        """Whether the model is as near as it is held to be in all; None where chance blurs it."""
        verdicts = [each.ok for each in self.detections]
        verdicts += [each.ok for each in self.mistakes]
        if self.cpu_error is not None:
            verdicts.append(self.cpu_error <= CPU)
        return _all(verdicts)


def predict(live: Loaded, sim: Loaded) -> Prediction:
    """Compare the backends that both have, by name.

    Raises: ResultError where they have none in common.
    """
    ours, theirs = sides(live.records()), sides(sim.records())
    if not ours.keys() & theirs.keys():
        raise ResultError(
            f"{sim.path}: none of its backends ({', '.join(theirs)}) is in {live.path} "
            f"({', '.join(ours)}); simulate the scenario that was run"
        )
    return compare(ours, theirs, extrapolated(sim.records()))


def extrapolated(records: Iterable[Record]) -> tuple[str, ...]:
    """What these simulated runs mark as outside their calibration, each once."""
    return tuple(
        dict.fromkeys(
            f"{record.backend}: {what}"
            for record in records
            for what in record.environment.get("extrapolated", ())
        )
    )


def compare(live: Sides, sim: Sides, extrapolated: tuple[str, ...] = ()) -> Prediction:
    """Compare the backends that both have."""
    common = [name for name in live if name in sim]
    detections = tuple(
        detection for name in common for detection in _detections(name, live[name], sim[name])
    )
    loads = {name: tuple(_loads(live[name], sim[name])) for name in common}
    return Prediction(
        detections=detections,
        mistakes=tuple(
            mistake for name in common for mistake in _mistakes(name, live[name], sim[name])
        ),
        loads=loads,
        detection_error=_worst(
            error
            for each in detections
            if each.fault in DEATHS
            for error in each.errors
            if error.figure in HELD_TO
        ),
        cpu_error=_worst(
            error
            for errors in loads.values()
            for error in errors
            if error.figure == "server_cpu_cores"
        ),
        unmatched=tuple(name for name in {**live, **sim} if name not in common),
        extrapolated=extrapolated,
    )


def text(prediction: Prediction) -> list[str]:
    """Lines for people."""
    lines = []
    for each in prediction.detections:
        distance = NONE if each.ks is None else f"{each.ks:.3f} (chance alone: {each.ks_null:.3f})"
        lines.append(
            f"{each.backend}, {each.fault}: {each.live:,} live and {each.sim:,} simulated, "
            f"KS distance {distance}: {_WORDS[each.ok]}"
        )
        lines += [f"  {_told(error)}" for error in each.errors]
        if each.missed_live or each.missed_sim:
            lines.append(f"  missed: {each.missed_live:.1%} live, {each.missed_sim:.1%} simulated")
    for mistake in prediction.mistakes:
        lines.append(
            f"{mistake.backend}: {mistake.live:,} live services called dead while {mistake.state}, "
            f"{mistake.sim:,.1f} predicted; the rates {'agree' if mistake.ok else 'disagree'}"
        )
    for backend, errors in prediction.loads.items():
        lines += [f"{backend}: {_told(error)}" for error in errors if error.figure in SHOWN]
    for name, worst in (
        ("detection", prediction.detection_error),
        ("server CPU", prediction.cpu_error),
    ):
        lines.append(f"prediction error of {name}: {NONE if worst is None else f'{worst:.1%}'}")
    lines += [f"only in one of them: {name}" for name in prediction.unmatched]
    lines += [f"extrapolated: {name}" for name in prediction.extrapolated]
    return lines


_WORDS = {True: "near enough", False: "too far off", None: "too few to tell"}


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


# --- detection


def _detections(backend: str, live: Sequence[Seen], sim: Sequence[Seen]) -> Iterator[Detection]:
    for fault in dict.fromkeys(fault for seen in live for fault in seen.detections):
        ours, theirs = (
            [seen.detections[fault] for seen in side if fault in seen.detections]
            for side in (live, sim)
        )
        if theirs:
            yield _detection(backend, fault, ours, theirs)


def _detection(backend: str, fault: str, live: Sequence[Times], sim: Sequence[Times]) -> Detection:
    seen, predicted = _pooled(live), _pooled(sim)
    noticed, foreseen = (each[np.isfinite(each)] for each in (seen, predicted))
    both = len(noticed) > 0 and len(foreseen) > 0
    chance = _chance(len(live), sim, foreseen, stream(0, "chance", backend, fault)) if both else {}
    return Detection(
        backend=backend,
        fault=fault,
        live=len(noticed),
        sim=len(foreseen),
        missed_live=1 - len(noticed) / len(seen),
        missed_sim=1 - len(foreseen) / len(predicted),
        ks=_distance(noticed, foreseen) if both else None,
        ks_null=chance.get("ks", ks_null(len(noticed), len(foreseen))) if both else None,
        errors=tuple(
            _error(name, value, was, chance.get(name))
            for (name, value), was in zip(
                _figures(noticed).items(), _figures(foreseen).values(), strict=True
            )
        )
        if both
        else (),
    )


def _figures(times: Times) -> dict[str, float]:
    quantiles = {f"p{q:.0%}".rstrip("%"): float(np.quantile(times, q)) for q in QUANTILES}
    return {"mean": float(times.mean()), **quantiles}


def _pooled(runs: Sequence[Times]) -> Times:
    return np.sort(np.concatenate(runs))


def _distance(one: Times, other: Times) -> float:
    """Kolmogorov's and Smirnov's, of two ascending samples."""
    all_of_them = np.concatenate([one, other])
    shares = [np.searchsorted(each, all_of_them, side="right") / len(each) for each in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def ks_null(live: int, sim: int, quantile: float = NULL) -> float:
    """The quantile of the two-sample KS distance under one common distribution (asymptotic, at
    the effective size)."""
    from scipy.stats import kstwo  # not at import: it takes a second

    return float(kstwo.ppf(quantile, max(1, round(live * sim / (live + sim)))))


def _chance(
    runs: int, sim: Sequence[Times], pool: Times, random: np.random.Generator
) -> dict[str, float]:
    """How far so many runs of the model itself lie from all of them: what the runs of one election
    have in common counts once. Empty where there are too few to say."""
    if len(sim) < AT_LEAST * runs:
        return {}
    whole = _figures(pool)
    off: dict[str, list[float]] = {name: [] for name in ("ks", *whole)}
    for _ in range(DRAWS):
        chosen = _pooled([sim[int(place * len(sim))] for place in random.random(runs)])
        chosen = chosen[np.isfinite(chosen)]
        if not len(chosen):
            continue
        off["ks"].append(_distance(chosen, pool))
        for name, value in _figures(chosen).items():
            off[name].append(abs(value - whole[name]))
    return {name: float(np.quantile(each, NULL)) for name, each in off.items() if each}


# --- mistakes and load


def _mistakes(backend: str, live: Sequence[Seen], sim: Sequence[Seen]) -> Iterator[Mistakes]:
    ours, theirs = (reduce(_sum, (seen.mistakes for seen in side)) for side in (live, sim))
    for state in ours:
        if state in theirs:
            (count, seconds), (predicted, exposed) = ours[state], theirs[state]
            low, high = (bound / seconds for bound in poisson_bounds95(count))
            sim_low, sim_high = (bound / exposed for bound in poisson_bounds95(predicted))
            yield Mistakes(
                backend=backend,
                state=state,
                live=count,
                sim=predicted * seconds / exposed,
                live_rate=count / seconds,
                sim_rate=predicted / exposed,
                ok=low <= sim_high and sim_low <= high,
            )


def _sum(
    one: Mapping[str, tuple[int, float]], other: Mapping[str, tuple[int, float]]
) -> Mapping[str, tuple[int, float]]:
    none = (0, 0.0)
    return {
        state: (
            one.get(state, none)[0] + other.get(state, none)[0],
            one.get(state, none)[1] + other.get(state, none)[1],
        )
        for state in {**one, **other}
    }


def _loads(live: Sequence[Seen], sim: Sequence[Seen]) -> Iterator[Error]:
    for name in live[0].load:
        both = [[seen.load[name] for seen in side if name in seen.load] for side in (live, sim)]
        if all(both):
            yield _error(name, *(float(np.mean(values)) for values in both))


def _error(figure: str, live: float, sim: float, chance: float | None = None) -> Error:
    return Error(
        figure=figure,
        live=live,
        sim=sim,
        absolute=sim - live,
        relative=(sim - live) / abs(live) if live else None,
        chance=chance,
    )


def _told(error: Error) -> str:
    relative = "" if error.relative is None else f" ({error.relative:+.1%})"
    chance = "" if error.chance is None else f"; chance alone: {plain(error.chance)}"
    return (
        f"{error.figure}: {plain(error.live)} live, {plain(error.sim)} simulated{relative}{chance}"
    )


def _worst(errors: Iterable[Error]) -> float | None:
    sizes = [abs(each.relative) for each in errors if each.relative is not None]
    return max((size for size in sizes if math.isfinite(size)), default=None)


def _held(value: float, bound: float, chance: float | None) -> bool | None:
    if value <= bound:
        return True
    return None if chance is not None and value <= chance else False


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False where one is; else None where one is; else True."""
    found = set(verdicts)
    return False if False in found else None if None in found else True
