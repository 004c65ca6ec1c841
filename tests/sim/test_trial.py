"""The model on trial. The live results here were simulated too: where they are the model's own it
must pass, where timeouts were others it must not, and of little it says that it is too little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bench.calibration import STATED
from bench.cli import main
from bench.engines.sim import simulated
from bench.plan import plan
from bench.prediction import compare
from bench.scenario import dump, loads
from bench.seen import Seen
from bench.store import Store

SCENARIO = """
version: 1
name: on-trial
question: Is the model right about itself?
seed: {seed}
services: {{count: 120, ramp: 300/s}}
observers: 1
phases:
  - settle: 12s
  - fault: {{kind: crash, select: {{count: 60}}, over: 10s}}
  - hold: 20s
backends:
  zk: {{kind: zookeeper, servers: 1, session_timeout: {timeout}, tick: 2s}}
"""
VICTIMS = 60
ENOUGH = 20 * VICTIMS
"""As many simulations as a live result wants for its chance to be known."""


def live(
    root: Path,
    *,
    seed: int = 100,
    timeout: str = "10s",
    was: str = "10s",
    engine: str = "live",
    reasons: Sequence[str] = (),
) -> Path:
    """A result that says it is of sessions of ``timeout``, and ``was`` of others."""
    said, done = (
        loads(SCENARIO.format(seed=seed, timeout=each), "on-trial") for each in (timeout, was)
    )
    recording = Store(root).begin(
        "on-trial", dump(said), {"scenario": "on-trial", "engine": engine, "seed": seed}
    )
    for run in plan(done):
        recording.add(simulated(run, STATED))
    verdict = "invalid" if reasons else "valid"
    return recording.finish({"verdict": verdict, "reasons": reasons, "slo": [], "backends": {}})


def tried(*results: Path, detections: int = ENOUGH) -> Result:
    command = ("compare", *map(str, results), "--against-model", "--json")
    return CliRunner().invoke(main, [*command, "--detections", str(detections)])


def told(ran: Result) -> dict[str, Any]:
    (trial,) = json.loads(ran.stdout[ran.stdout.index("[") :])
    assert isinstance(trial, dict)
    return trial


def test_results_of_one_scenario_are_pooled_and_predicted(tmp_path: Path) -> None:
    results = [live(tmp_path / str(seed), seed=seed) for seed in (100, 101)]
    ran = tried(*results, detections=2 * ENOUGH)
    assert ran.exit_code in (0, 3), ran.output  # these few may happen to be unlike
    trial = told(ran)
    assert len(trial["results"]) == 2
    assert trial["simulations"] == 2 * ENOUGH / VICTIMS
    (detection,) = trial["prediction"]["detections"]
    assert (detection["live"], detection["sim"]) == (2 * VICTIMS, 2 * ENOUGH)
    assert detection["ks"] <= detection["ks_null"]
    assert detection["errors"][0]["chance"] < 0.4


def test_what_is_not_as_predicted_is_found_out(tmp_path: Path) -> None:
    ran = tried(live(tmp_path, was="12s"))
    assert ran.exit_code == 1
    assert told(ran)["ok"] is False


def test_a_simulated_result_is_no_evidence(tmp_path: Path) -> None:
    ran = tried(live(tmp_path, engine="sim"))
    assert ran.exit_code == 2
    assert "the model can't be held to itself" in ran.stderr


def test_evidence_that_may_not_be_believed_is_told(tmp_path: Path) -> None:
    trial = told(tried(live(tmp_path, reasons=["beats went out late"])))
    assert any("invalid: beats went out late" in each for each in trial["warnings"])


def seen(
    late: list[float], *, mistaken: int = 0, cores: float = 0.1, yardstick: float | None = None
) -> Seen:
    times = np.sort(np.array(late))
    load = {"server_cpu_cores": cores}
    if yardstick is not None:
        load["yardstick_seconds"] = yardstick
    return Seen({"crashed": times}, {"up": (mistaken, 1_000.0)}, load)


@pytest.mark.parametrize(("cores", "ok"), [(0.1, True), (0.12, True), (0.15, False)])
def test_servers_cost_what_was_predicted_within_a_fifth(cores: float, ok: bool) -> None:
    model = {"zk": [seen([9.0]) for _ in range(20)]}
    found = compare({"zk": [seen([9.0], cores=cores)]}, model)
    assert found.ok is ok
    assert found.cpu_error == pytest.approx(abs(0.1 - cores) / cores)


def test_a_yardstick_is_told_and_corrects_nothing() -> None:
    """It depends on the load as well as on the machine."""
    model = {"zk": [seen([9.0], yardstick=2e-3) for _ in range(20)]}
    found = compare({"zk": [seen([9.0], yardstick=1.5e-3)]}, model)
    assert found.cpu_error == pytest.approx(0.0)
    assert any(error.figure == "yardstick_seconds" for error in found.loads["zk"])


def test_a_few_detections_are_too_few_to_tell() -> None:
    """Nine seconds on average, one way or the other; five of them may well average eight and a
    half."""
    draws = np.random.default_rng(1).uniform(6.0, 12.0, (200, 5))
    model = {"zk": [seen(row.tolist()) for row in draws]}
    assert compare({"zk": [seen([6.5, 7.5, 8.5, 9.5, 10.5])]}, model).ok is None
    assert compare({"zk": [seen([1.0, 2.0, 3.0, 4.0, 5.0])]}, model).ok is False


@pytest.mark.parametrize(("noticed", "ok"), [([], True), ([9.0], None)])
def test_who_goes_unnoticed_in_both_worlds_was_predicted(
    noticed: list[float], ok: bool | None
) -> None:
    late = [*noticed, *[np.inf] * (5 - len(noticed))]
    (detection,) = compare({"zk": [seen(late)]}, {"zk": [seen([np.inf] * 5)] * 20}).detections
    assert detection.ok is ok


def test_runs_that_share_what_is_random_count_once() -> None:
    """All victims of one election are late together: how many there are tells little."""
    offsets = np.random.default_rng(1).uniform(0.0, 4.0, 200)
    model = {"zk": [seen([10.0 + offset] * 50) for offset in offsets]}
    (together,) = compare({"zk": [seen([13.0] * 50)]}, model).detections
    assert together.ok is None
    assert together.ks_null is not None
    assert together.ks_null > 0.5


@pytest.mark.parametrize(("mistaken", "ok"), [(0, True), (2, True), (30, False)])
def test_mistakes_are_compared_by_the_bounds_of_their_rates(mistaken: int, ok: bool) -> None:
    model = {"zk": [seen([9.0], mistaken=number % 2) for number in range(40)]}
    (mistakes,) = compare({"zk": [seen([9.0], mistaken=mistaken)]}, model).mistakes
    assert mistakes.sim == pytest.approx(0.5)
    assert mistakes.ok is ok


def test_mistakes_of_one_outage_count_once() -> None:
    """All or most of a thousand are called dead at once, or nearly nobody: one draw says little."""
    draws = np.random.default_rng(1).integers(300, 1_000, 200)
    model = {"db": [seen([9.0], mistaken=int(count)) for count in draws]}
    for mistaken, ok in ((900, True), (10, False)):
        (mistakes,) = compare({"db": [seen([9.0], mistaken=mistaken)]}, model).mistakes
        assert mistakes.ok is ok
        assert mistakes.chance is not None
        assert mistakes.chance[0] < mistakes.sim < mistakes.chance[1]
