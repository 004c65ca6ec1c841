"""The model on trial: live results, and their scenarios simulated over and over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.calibration import STATED, Calibration
from bench.engines.sim import on_all_cores, simulated
from bench.plan import plan
from bench.prediction import Prediction, compare, extrapolated
from bench.report.predicted import text as predicted
from bench.scenario import Scenario
from bench.scenario import load as load_scenario
from bench.seen import Seen, sides
from bench.store import Loaded, ResultError, load

ENOUGH = 100_000
"""Simulated detections of each backend and kind of fault."""
RUNS = 100
"""Simulated runs of a scenario in which nothing is to be detected."""

Told = Callable[[str, int, int], None]
"""Called with a scenario's name, how many of its simulations are done, and of how many."""


@dataclass(frozen=True)
class Trial:
    """One scenario, as it was and as it was predicted to be."""

    scenario: str
    results: tuple[str, ...]
    """The live ones, by id."""
    simulations: int
    """How often the scenario was simulated, each time with a seed of its own."""
    calibration: str
    warnings: tuple[str, ...]
    """What makes the comparison doubtful: a live result that isn't valid, costs of another machine
    than this one."""
    prediction: Prediction

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "ok": self.prediction.ok}


def trial(
    paths: Sequence[str | Path],
    calibration: Calibration = STATED,
    detections: int = ENOUGH,
    tell: Told = lambda _name, _done, _of: None,
) -> tuple[Trial, ...]:
    """Hold the model to these live results, those of one scenario pooled (whatever their seeds and
    repeats): each is simulated until so many ``detections`` are there, on all cores.

    Raises: ResultError for what is no live result.
    """
    return tuple(
        _trial(scenario, results, calibration, detections, tell)
        for scenario, results in _by_scenario([load(path) for path in paths])
    )


def text(trials: Iterable[Trial]) -> str:
    """For people."""
    lines = []
    for each in trials:
        lines += [
            f"{each.scenario}: {len(each.results)} live, simulated {each.simulations:,} times",
            f"calibration: {each.calibration}",
            *(f"warning: {warning}" for warning in each.warnings),
            *(f"  {line}" for line in predicted(each.prediction)),
            "",
        ]
    return "\n".join(lines).rstrip()


def exit_code(trials: Iterable[Trial]) -> int:
    """0: the model is as near as it is held to be; 1: it is not; 3: there is too little to say."""
    verdicts = {each.prediction.ok for each in trials}
    return 1 if False in verdicts else 3 if None in verdicts else 0


def _by_scenario(results: Sequence[Loaded]) -> list[tuple[Scenario, list[Loaded]]]:
    groups: list[tuple[Scenario, list[Loaded]]] = []
    for result in results:
        if result.manifest.get("engine") != "live":
            raise ResultError(
                f"{result.path} is not a live result: the model can't be held to itself; name "
                "results of heartbench run --engine live"
            )
        ours = _seeded(load_scenario(result.path / "scenario.yaml"), 0)
        group = next((group for scenario, group in groups if scenario == ours), None)
        if group is None:
            groups.append((ours, group := []))
        group.append(result)
    return groups


def _trial(
    scenario: Scenario,
    results: Sequence[Loaded],
    calibration: Calibration,
    detections: int,
    tell: Told,
) -> Trial:
    live = sides(record for result in results for record in result.records())
    simulate = partial(_simulated, calibration=calibration)
    first = simulate(_seeded(scenario, 1))
    wanted = _wanted(live, first[0], detections)
    sim, beyond = first
    more = [_seeded(scenario, 1 + number) for number in range(1, wanted)]
    tell(scenario.name, 1, wanted)
    for done, (seen, _) in enumerate(on_all_cores(simulate, more), start=2):
        for name, runs in seen.items():
            sim[name] += runs
        tell(scenario.name, done, wanted)
    return Trial(
        scenario=scenario.name,
        results=tuple(str(result.manifest.get("run")) for result in results),
        simulations=wanted,
        calibration=calibration.made,
        warnings=(*_doubts(results), *calibration.warnings()),
        prediction=compare(live, sim, beyond),
    )


def _doubts(results: Sequence[Loaded]) -> Iterator[str]:
    for result in results:
        if (verdict := result.summary["verdict"]) != "valid":
            reasons = result.summary["reasons"] or ["nothing says why"]
            yield f"{result.manifest.get('run')} is {verdict}: {'; '.join(reasons)}"


def _simulated(
    scenario: Scenario, calibration: Calibration
) -> tuple[dict[str, list[Seen]], tuple[str, ...]]:
    records = [simulated(run, calibration) for run in plan(scenario)]
    return sides(records), extrapolated(records)


def _wanted(live: dict[str, list[Seen]], once: dict[str, list[Seen]], detections: int) -> int:
    """How many simulations give so many detections of whatever the live ones have."""
    counts = [
        sum(len(seen.detections.get(fault, ())) for seen in once[name])
        for name, runs in live.items()
        for fault in {fault for seen in runs for fault in seen.detections}
        if name in once
    ]
    scarcest = min((count for count in counts if count), default=0)
    return max(1, math.ceil(detections / scarcest)) if scarcest else RUNS


def _seeded(scenario: Scenario, seed: int) -> Scenario:
    """The same, once, with another seed."""
    return scenario.model_copy(update={"seed": seed, "repeat": 1})
