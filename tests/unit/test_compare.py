"""Two results side by side: judged if of one experiment, a prediction if one is simulated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.compare import compare, text
from bench.gate import Judgement, Tolerances, gate, measured
from bench.prediction import ks_null
from bench.store import ResultError
from tests.report.results import large, run, write


def test_results_of_one_scenario_are_judged(tmp_path: Path) -> None:
    before = write(tmp_path / "a", run())
    after = write(tmp_path / "b", run(cpu=0.2, statements=60.0))
    found = compare(before, after)
    assert (found.judgement, found.exit_code) == (Judgement.FAIL, 1)
    rows = {row.figure: row for row in found.rows}
    assert rows["counts.statements_per_service_second"].judgement is Judgement.FAIL
    assert rows["load.server_cpu_cores"].judgement is Judgement.INCONCLUSIVE  # one pair
    assert rows["mistakes.count"].judgement is Judgement.PASS
    assert rows["detection.p50"].judgement is None  # shown, not judged
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["verdict"] == "fail"
    assert text(found).endswith("verdict: fail")


def test_the_gate_takes_a_saved_baseline(tmp_path: Path) -> None:
    before = write(tmp_path / "a", run())
    measured(before).save(tmp_path / "ci.json")
    assert measured(tmp_path / "ci.json") == measured(before)
    assert gate(before, tmp_path / "ci.json").exit_code == 3  # one pair: no word about times
    assert gate(before, tmp_path / "ci.json", Tolerances().counts_only()).exit_code == 0


def test_different_scenarios_are_shown_and_not_judged(tmp_path: Path) -> None:
    before = write(tmp_path / "a", run())
    after = write(tmp_path / "b", run(late=9.0), scenario={"services": {"count": 5}})
    found = compare(before, after)
    assert found.differences == ("services.count: 4, 5",)
    assert (found.judgement, found.exit_code) == (None, 0)
    assert found.to_json()["verdict"] is None
    assert {row.judgement for row in found.rows} == {None}
    assert "the scenarios differ, so nothing is judged:\n  services.count: 4, 5" in text(found)


def test_what_may_not_be_believed_is_said_where_nothing_is_judged_too(tmp_path: Path) -> None:
    before = write(tmp_path / "a", run())
    late = run()
    late.metrics.loc[late.metrics["metric"] == "lateness", "value"] = 3.0
    after = write(tmp_path / "b", late, scenario={"services": {"count": 5}})
    found = compare(before, after)
    assert (
        text(found).splitlines()[-1].endswith("give it fewer services or more cores (bound 0.05s)")
    )
    assert " is invalid: db: beats went out 3s late" in text(found)
    assert found.to_json()["reasons"] == list(found.doubts)


def test_a_simulation_is_a_prediction_whatever_the_order(tmp_path: Path) -> None:
    live = write(tmp_path / "live", run(late=50.0, cpu=0.1))
    sim = write(tmp_path / "sim", run(late=55.0, cpu=0.12), engine="sim")
    for found in (compare(live, sim), compare(sim, live)):
        assert found.judgement is None
        assert found.prediction is not None
        assert found.prediction.detection_error == pytest.approx(0.1)
        assert found.prediction.cpu_error == pytest.approx(0.2)
        (detection,) = found.prediction.detections
        assert (detection.fault, detection.live, detection.sim) == ("crashed", 2, 2)
        assert detection.ks == 1.0
        assert [error.figure for error in detection.errors] == ["mean", "p50", "p90", "p99"]
        (mistakes,) = found.prediction.mistakes
        assert (mistakes.live, mistakes.sim, mistakes.ok) == (0, 0, True)
    assert "prediction error of detection: 10.0%" in text(found)


def test_what_was_missed_is_no_detection_time(tmp_path: Path) -> None:
    live = write(tmp_path / "live", run(late=50.0))
    sim = write(tmp_path / "sim", run(late=50.0, missed=True), engine="sim")
    prediction = compare(live, sim).prediction
    assert prediction is not None
    (detection,) = prediction.detections
    assert (detection.live, detection.sim) == (2, 1)
    assert (detection.missed_live, detection.missed_sim) == (0.0, 0.5)


def test_the_ks_distance_is_that_of_the_first_observers(tmp_path: Path) -> None:
    """Two samples of one distribution: these two lie closer than what chance alone gives."""
    one, other = (large("zk", 400, 200, 2, seed=seed) for seed in (1, 3))
    live = write(tmp_path / "live", one)
    sim = write(tmp_path / "sim", other, engine="sim")
    prediction = compare(live, sim).prediction
    assert prediction is not None
    (detection,) = prediction.detections
    assert detection.ks is not None
    assert detection.ks_null is not None
    assert detection.ks_null == pytest.approx(1.358 * np.sqrt(2 / 200), rel=0.02)
    assert detection.ks < detection.ks_null


def test_the_null_quantile_is_passed_by_one_pair_in_twenty() -> None:
    random = np.random.default_rng(1)
    limit = ks_null(300, 300)
    passed = [
        stats.ks_2samp(random.random(300), random.random(300)).statistic > limit for _ in range(400)
    ]
    assert 0.02 <= np.mean(passed) <= 0.08


def test_results_without_a_backend_in_common_are_refused(tmp_path: Path) -> None:
    live, sim = write(tmp_path / "a", run("db")), write(tmp_path / "b", run("zk"), engine="sim")
    with pytest.raises(ResultError, match=r"none of its backends .zk. is in"):
        compare(live, sim)
