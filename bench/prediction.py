"""How far simulations lie from the live runs that they were to predict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from bench.measure.figures import poisson_bounds95
from bench.measure.lives import DEATHS
from bench.randomness import stream
from bench.result import Record
from bench.seen import Seen, Sides, Times, sides
from bench.store import Loaded, ResultError

QUANTILES = (0.5, 0.9, 0.99)
HELD_TO = ("mean", "p50", "p99")
"""The figures of detection that the model is held to."""
KS, RELATIVE, ABSOLUTE, CPU = 0.06, 0.02, 0.1, 0.2
"""What it is held to: the KS distance; each figure of detection, by its share or in s, whichever is
more; the servers' CPU."""

YARDSTICK = "yardstick_seconds"
"""How slow the machine was, for whoever reads the figures; nothing is corrected by it, since it
depends on the load as well."""

NULL = 0.95
"""The quantile of what chance alone gives: so many of all samples of the live runs' size, drawn
from the model itself, lie nearer to it."""
DRAWS = 400
AT_LEAST = 20
"""As many simulated runs for each live one are needed to draw such samples run by run."""


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
        """Whether the model is as near as it is held to be, also where nobody was noticed nor
        foreseen to be; None where it isn't, but no farther off than so few detections are by
        chance."""
        if self.live == self.sim == 0:
            return True
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
    chance: tuple[float, float] | None
    """Between which counts so many runs as were live come out by chance: those of one outage are
    called dead together, which counts once. None: unknown."""
    ok: bool
    """Whether the two 95% intervals of the rates meet, or the live count lies in `chance`."""


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


def _drawn(
    runs: int, sim: Sequence[Seen], state: str, random: np.random.Generator
) -> tuple[float, float] | None:
    """Between which counts of mistakes `NULL` of all draws of so many runs lie."""
    if len(sim) < AT_LEAST * runs:
        return None
    counts = np.array([seen.mistakes.get(state, (0, 0.0))[0] for seen in sim])
    drawn = counts[random.integers(len(sim), size=(DRAWS, runs))].sum(axis=1)
    low, high = np.quantile(drawn, [(1 - NULL) / 2, (1 + NULL) / 2])
    return float(low), float(high)


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
            chance = _drawn(len(live), sim, state, stream(0, "mistakes", backend, state))
            by_chance = chance is not None and chance[0] <= count <= chance[1]
            yield Mistakes(
                backend=backend,
                state=state,
                live=count,
                sim=predicted * seconds / exposed,
                live_rate=count / seconds,
                sim_rate=predicted / exposed,
                chance=chance,
                ok=by_chance or (low <= sim_high and sim_low <= high),
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
    names = [name for name in live[0].load if all(_loaded(side, name) for side in (live, sim))]
    for name in names:
        measured, predicted = (float(np.mean(_loaded(side, name))) for side in (live, sim))
        yield _error(name, measured, predicted)


def _loaded(side: Sequence[Seen], name: str) -> list[float]:
    return [seen.load[name] for seen in side if name in seen.load]


def _error(figure: str, live: float, sim: float, chance: float | None = None) -> Error:
    return Error(
        figure=figure,
        live=live,
        sim=sim,
        absolute=sim - live,
        relative=(sim - live) / abs(live) if live else None,
        chance=chance,
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
