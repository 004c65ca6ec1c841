"""How far a simulation lies from the live runs that it was to predict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.frames import runs_of
from bench.measure.detection import first_and_every
from bench.measure.lives import DEATHS
from bench.report.quantity import NONE, plain
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

NULL = 0.95
"""The quantile of the KS distance that is stated beside it: two samples of these sizes of one and
the same distribution lie nearer to each other in so many of all cases."""

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Error:
    """One figure, predicted and measured."""

    figure: str
    live: float | None
    sim: float | None
    absolute: float | None
    """sim - live."""
    relative: float | None
    """Of the live one; None where that is zero."""


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
    """What chance alone gives; see `NULL`."""
    errors: tuple[Error, ...]
    """Of the mean and the quantiles."""


@dataclass(frozen=True)
class Mistakes:
    """Live services called dead, and the rate per service-second."""

    backend: str
    live: int
    sim: int
    live_rate: float | None
    sim_rate: float | None
    agree: bool | None
    """Whether the two 95% intervals of the rates meet."""


@dataclass(frozen=True)
class Prediction:
    """All of it; backends that only one side has are left out, and named."""

    detections: tuple[Detection, ...]
    mistakes: tuple[Mistakes, ...]
    loads: Mapping[str, tuple[Error, ...]]
    """By backend."""
    detection_error: float | None
    """The number: the largest relative error of any mean, median or p99 of deaths."""
    cpu_error: float | None
    """The largest relative error of the servers' CPU."""
    unmatched: tuple[str, ...]
    extrapolated: tuple[str, ...]
    """What the simulation marked as outside its calibration."""


def predict(live: Loaded, sim: Loaded) -> Prediction:
    """Compare the backends that both have, by name.

    Raises: ResultError where they have none in common.
    """
    ours, theirs = live.summary["backends"], sim.summary["backends"]
    common = [name for name in ours if name in theirs]
    if not common:
        raise ResultError(
            f"{sim.path}: none of its backends ({', '.join(theirs)}) is in {live.path} "
            f"({', '.join(ours)}); simulate the scenario that was run"
        )
    detections = tuple(_detections(live, sim, common))
    loads = {name: tuple(_loads(ours[name], theirs[name])) for name in common}
    return Prediction(
        detections=detections,
        mistakes=tuple(_mistakes(name, ours[name], theirs[name]) for name in common),
        loads=loads,
        detection_error=_worst(
            error
            for each in detections
            if each.fault in DEATHS
            for error in each.errors
            if error.figure in ("mean", "p50", "p99")
        ),
        cpu_error=_worst(
            error
            for errors in loads.values()
            for error in errors
            if error.figure == "server_cpu_cores"
        ),
        unmatched=tuple(name for name in {**ours, **theirs} if name not in common),
        extrapolated=tuple(
            dict.fromkeys(
                f"{run['backend']}: {what}"
                for run in sim.manifest["runs"]
                for what in run["environment"].get("extrapolated", ())
            )
        ),
    )


def text(prediction: Prediction) -> list[str]:
    """Lines for people."""
    lines = []
    for each in prediction.detections:
        distance = NONE if each.ks is None else f"{each.ks:.3f} (chance alone: {each.ks_null:.3f})"
        lines.append(
            f"{each.backend}, {each.fault}: {each.live:,} live and {each.sim:,} simulated, "
            f"KS distance {distance}"
        )
        lines += [f"  {_told(error)}" for error in each.errors]
    for mistake in prediction.mistakes:
        meet = {True: "agree", False: "disagree", None: "can't be compared"}[mistake.agree]
        lines.append(
            f"{mistake.backend}: {mistake.live} live services called dead, "
            f"{mistake.sim} predicted; the rates {meet}"
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


def noticed(result: Loaded, backend: str) -> dict[str, Times]:
    """By kind of fault, how late (s) the first observer noticed each that had to be noticed or
    was, ascending; infinite: never. `backend` is a name of the summary."""
    victims = result.victims
    if victims.empty:
        return {}
    rows = first_and_every(victims[victims["run"].isin(runs_of(result, backend))])
    if "due" in rows:
        rows = rows[rows["first"].notna() | rows["due"].fillna(True).astype(bool)]
    return {
        str(fault): np.sort(times.fillna(np.inf).to_numpy(dtype=np.float64))
        for fault, times in rows.groupby("fault")["first"]
    }


def ks_null(live: int, sim: int, quantile: float = NULL) -> float:
    """The quantile of the two-sample KS distance under one common distribution (asymptotic, at
    the effective size)."""
    return float(stats.kstwo.ppf(quantile, max(1, round(live * sim / (live + sim)))))


def _detections(live: Loaded, sim: Loaded, names: list[str]) -> Iterator[Detection]:
    for name in names:
        ours, theirs = noticed(live, name), noticed(sim, name)
        for fault in ours:
            if fault in theirs:
                yield _detection(name, fault, ours[fault], theirs[fault])


def _detection(backend: str, fault: str, live: Times, sim: Times) -> Detection:
    seen, predicted = live[np.isfinite(live)], sim[np.isfinite(sim)]
    both = len(seen) > 0 and len(predicted) > 0
    return Detection(
        backend=backend,
        fault=fault,
        live=len(seen),
        sim=len(predicted),
        missed_live=1 - len(seen) / len(live),
        missed_sim=1 - len(predicted) / len(sim),
        ks=float(stats.ks_2samp(seen, predicted, method="asymp").statistic) if both else None,
        ks_null=ks_null(len(seen), len(predicted)) if both else None,
        errors=tuple(_errors(seen, predicted)) if both else (),
    )


def _errors(live: Times, sim: Times) -> Iterator[Error]:
    yield error("mean", float(live.mean()), float(sim.mean()))
    for q in QUANTILES:
        yield error(f"p{q:.0%}".rstrip("%"), *(float(np.quantile(each, q)) for each in (live, sim)))


def _mistakes(backend: str, live: Mapping[str, Any], sim: Mapping[str, Any]) -> Mistakes:
    ours, theirs = live["mistakes"], sim["mistakes"]
    bounds = [_bounds(each) for each in (ours, theirs)]
    agree = None
    if None not in bounds:
        (low, high), (sim_low, sim_high) = [each for each in bounds if each]
        agree = low <= sim_high and sim_low <= high
    return Mistakes(
        backend=backend,
        live=ours["count"],
        sim=theirs["count"],
        live_rate=ours["rate"],
        sim_rate=theirs["rate"],
        agree=agree,
    )


def _bounds(mistakes: Mapping[str, Any]) -> tuple[float, float] | None:
    """The exact two-sided 95% interval of a rate (Garwood)."""
    count, exposure = mistakes["count"], mistakes.get("exposure_service_seconds")
    if not exposure:
        return None
    low = float(stats.chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low / exposure, float(stats.chi2.ppf(0.975, 2 * (count + 1))) / 2 / exposure


def _loads(live: Mapping[str, Any], sim: Mapping[str, Any]) -> Iterator[Error]:
    for name, value in live["load"].items():
        predicted = sim["load"].get(name)
        if isinstance(value, int | float) and isinstance(predicted, int | float):
            yield error(name, float(value), float(predicted))


def error(figure: str, live: float, sim: float) -> Error:
    return Error(
        figure=figure,
        live=live,
        sim=sim,
        absolute=sim - live,
        relative=(sim - live) / abs(live) if live else None,
    )


def _told(error: Error) -> str:
    relative = "" if error.relative is None else f" ({error.relative:+.1%})"
    return f"{error.figure}: {plain(error.live)} live, {plain(error.sim)} simulated{relative}"


def _worst(errors: Iterator[Error]) -> float | None:
    sizes = [abs(each.relative) for each in errors if each.relative is not None]
    return max((size for size in sizes if math.isfinite(size)), default=None)
