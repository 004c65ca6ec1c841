"""When a version counts as worse than its baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import ScenarioError
from bench.gate import Judgement, Measured, Outcome, Tolerances, judge, measured
from bench.gate.measured import RunFigures
from bench.gate.statistics import ratio, visible
from bench.result import METRICS, frame
from bench.store import ResultError
from tests.report.results import run, write

MACHINE = {"cpu": "made up", "cores": 2, "system": "Linux"}
STATEMENTS = "counts.statements_per_service_second"
CPU = "load.server_cpu_cores"
PAIRS = 6


def result(*runs: Mapping[str, float], backend: str = "db", **rest: Any) -> Measured:
    fields: dict[str, Any] = {
        "run": "one",
        "scenario": {"name": "by-hand", "services": {"count": 4}},
        "engine": "live",
        "verdict": "valid",
        "reasons": (),
        "machine": MACHINE,
        "commit": None,
    }
    figures = tuple(RunFigures(backend, repeat, run) for repeat, run in enumerate(runs))
    return Measured(**fields | {"runs": figures} | rest)


def counted(value: float, baseline: float, tolerance: float = 0.05) -> Outcome:
    tolerances = Tolerances({STATEMENTS: tolerance}, {})
    return judge(result({STATEMENTS: value}), result({STATEMENTS: baseline}), tolerances)


def timed(values: Sequence[float], baseline: Sequence[float], **rest: Any) -> Outcome:
    before, after = ([{CPU: value} for value in each] for each in (baseline, values))
    return judge(result(*after, **rest), result(*before), Tolerances({}, {CPU: 0.10}))


@pytest.mark.parametrize(
    ("value", "baseline", "tolerance", "judgement", "exit_code"),
    [
        (1.0, 1.0, 0.0, Judgement.PASS, 0),
        (1.04, 1.0, 0.05, Judgement.PASS, 0),
        (1.06, 1.0, 0.05, Judgement.FAIL, 1),
        (1.0001, 1.0, 0.0, Judgement.FAIL, 1),
        (0.5, 1.0, 0.0, Judgement.PASS, 0),  # less is never a regression
        (0.0, 0.0, 0.0, Judgement.PASS, 0),
        (1.0, 0.0, 0.5, Judgement.FAIL, 1),  # any share of nothing is nothing
    ],
)
def test_counts_are_held_to_their_tolerance(
    value: float, baseline: float, tolerance: float, judgement: Judgement, exit_code: int
) -> None:
    outcome = counted(value, baseline, tolerance)
    assert (outcome.judgement, outcome.exit_code) == (judgement, exit_code)


def test_a_failed_count_names_metric_baseline_value_and_tolerance() -> None:
    (row,) = counted(1.5, 1.0).rows
    assert row.message == (
        "db: counts.statements_per_service_second is 1.5, the baseline 1 (+50.0%); "
        "5% more is tolerated"
    )


def test_counts_of_several_runs_are_their_medians() -> None:
    one = result(*({STATEMENTS: value} for value in (1.0, 1.0, 9.0)))
    assert judge(one, result({STATEMENTS: 1.0}), Tolerances()).judgement is Judgement.PASS


def test_a_count_that_is_no_longer_measured_is_invalid() -> None:
    outcome = judge(result({CPU: 1.0}), result({STATEMENTS: 1.0}), Tolerances().counts_only())
    assert (outcome.judgement, outcome.exit_code) == (Judgement.INVALID, 3)
    assert outcome.rows[0].reason == "was not measured; the baseline has 1"


def test_a_count_that_the_baseline_lacks_is_not_judged() -> None:
    both = {STATEMENTS: 1.0}
    outcome = judge(result({**both, "mistakes.count": 0.0}), result(both), Tolerances())
    assert outcome.judgement is Judgement.PASS
    assert [row.judgement for row in outcome.rows] == [Judgement.PASS, None]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": "invalid", "reasons": ("late",)}, "the result (one) is invalid: late"),
        ({"verdict": "unknown"}, "the result (one) is unknown"),
        (
            {"scenario": {"name": "other", "services": {"count": 5}}},
            "the scenarios differ (baseline, result): services.count: 4, 5",
        ),
        ({"engine": "sim"}, "the baseline is of the live engine, the result of sim"),
        ({"backend": "zk"}, "the result has no run of db, the baseline has"),
    ],
)
def test_what_cannot_be_compared_is_invalid_and_not_failed(
    changes: dict[str, Any], says: str
) -> None:
    outcome = judge(result({STATEMENTS: 9.0}, **changes), result({STATEMENTS: 1.0}), Tolerances())
    assert (outcome.judgement, outcome.exit_code) == (Judgement.INVALID, 3)
    assert says in outcome.reasons


def test_name_question_objectives_and_repeats_make_no_other_scenario() -> None:
    renamed = {"name": "x", "question": "y", "slo": [1], "repeat": 6, "services": {"count": 4}}
    outcome = judge(
        result({STATEMENTS: 1.0}, scenario=renamed), result({STATEMENTS: 1.0}), Tolerances()
    )
    assert outcome.judgement is Judgement.PASS


def test_a_field_that_a_later_version_has_and_that_is_off_makes_no_other_scenario() -> None:
    older = {"name": "by-hand", "services": {"count": 4}}
    for value, judgement in ((0, Judgement.PASS), (2, Judgement.INVALID)):
        newer = {"name": "by-hand", "services": {"count": 4, "warm_up": value}}
        for one, other in ((older, newer), (newer, older)):
            outcome = judge(
                result({STATEMENTS: 1.0}, scenario=one),
                result({STATEMENTS: 1.0}, scenario=other),
                Tolerances(),
            )
            assert outcome.judgement is judgement


def test_times_of_too_few_pairs_are_inconclusive_however_bad() -> None:
    outcome = timed([9.0] * 5, [1.0] * 5)
    assert (outcome.judgement, outcome.exit_code) == (Judgement.INCONCLUSIVE, 3)
    assert "was measured in 5 pairs of runs, at least 6 are needed" in outcome.rows[0].reason


def test_times_of_another_machine_are_not_judged_and_decide_nothing() -> None:
    both = [{CPU: 1.0, STATEMENTS: 1.0}] * PAIRS
    slower = [{CPU: 5.0, STATEMENTS: 1.0}] * PAIRS
    elsewhere = result(*slower, machine={**MACHINE, "cpu": "another"})
    outcome = judge(elsewhere, result(*both), Tolerances())
    assert outcome.judgement is Judgement.PASS
    assert [row.judgement for row in outcome.rows] == [Judgement.PASS, None]
    assert "measured on another machine" in outcome.notes[0]


def test_a_time_fails_only_if_the_lower_end_is_past_the_tolerance() -> None:
    """Means 15% up: with little noise a failure, with much more none."""
    quiet = timed([1.15, 1.16, 1.14, 1.15, 1.16, 1.14], [1.0] * 6)
    assert quiet.judgement is Judgement.FAIL
    noisy = timed([1.02, 1.30, 1.05, 1.28, 1.00, 1.27], [1.0] * 6)
    assert noisy.judgement is Judgement.PASS


def test_a_time_too_noisy_to_decide_is_inconclusive() -> None:
    outcome = timed([0.5, 2.0, 0.4, 2.5, 0.6, 1.9], [1.0] * 6)
    assert outcome.judgement is Judgement.INCONCLUSIVE
    assert "too noisy" in outcome.rows[0].reason


def pairs(random: np.random.Generator, growth: float, noise: float) -> Outcome:
    """Six pairs of runs; each varies by itself, and each pair has its own moment of the machine."""
    moment = random.lognormal(0.0, 0.2, PAIRS)
    before, after = (moment * random.lognormal(0.0, noise, PAIRS) for _ in range(2))
    return timed((growth * after).tolist(), before.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_identical_versions_pass_twenty_times_of_twenty(seed: int) -> None:
    """Runs that vary by 5%, which is what CPU does from run to run on a shared machine."""
    random = np.random.default_rng(seed)
    judgements = [pairs(random, growth=1.0, noise=0.05).judgement for _ in range(20)]
    assert judgements == [Judgement.PASS] * 20


@pytest.mark.parametrize("seed", range(5))
def test_thirty_per_cent_more_fail_twenty_times_of_twenty(seed: int) -> None:
    random = np.random.default_rng(seed)
    judgements = [pairs(random, growth=1.3, noise=0.03).judgement for _ in range(20)]
    assert judgements == [Judgement.FAIL] * 20


def test_the_interval_covers_the_true_ratio() -> None:
    """As often as it says, for a handful of runs as well (plain percentiles: 86% of six)."""
    random = np.random.default_rng(1)
    for runs in (6, 12):
        covered = 0
        for _ in range(300):
            before, after = (random.lognormal(mean, 0.1, runs).tolist() for mean in (0.0, 0.2))
            found = ratio(before, after)
            assert found is not None
            covered += found.low <= np.exp(0.2) <= found.high
        assert 0.92 <= covered / 300 <= 0.98


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.floats(0.01, 100.0), min_size=2, max_size=12),
    st.floats(0.1, 10.0),
)
def test_the_ratio_is_the_factor_and_lies_in_its_interval(
    values: list[float], factor: float
) -> None:
    found = ratio(values, [factor * value for value in values])
    assert found is not None
    assert found.pairs == len(values)
    assert found.value == pytest.approx(factor)
    assert found.low == pytest.approx(factor)
    assert found.high == pytest.approx(factor)


def test_the_same_runs_give_the_same_interval() -> None:
    one, other = [1.0, 1.2, 0.9, 1.1], [1.1, 1.0, 1.3, 1.2]
    assert ratio(one, other) == ratio(one, other)


def test_pairs_without_a_value_above_zero_are_left_out() -> None:
    found = ratio([1.0, 0.0, None, 2.0], [2.0, 1.0, 1.0, 4.0])
    assert found is not None
    assert found.pairs == 2
    assert found.value == pytest.approx(2.0)
    assert ratio([0.0], [1.0]) is None


def test_what_is_said_to_be_visible_is_seen_in_nine_of_ten() -> None:
    random = np.random.default_rng(3)
    spread = 0.05 * np.sqrt(2)
    growth = 1 + visible(spread, PAIRS, 0.10)
    seen = [pairs(random, growth, 0.05).judgement is Judgement.FAIL for _ in range(200)]
    assert 0.82 <= np.mean(seen) <= 0.98


def test_a_baseline_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = result({STATEMENTS: 1.25, CPU: 0.5}, {STATEMENTS: 1.5})
    saved.save(tmp_path / "ci.json")
    assert measured(tmp_path / "ci.json") == saved


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "damaged or cut off .*; make it again"),
        ("[]", "no baseline; name one, or a result's directory"),
        ('{"kind": "heartbench baseline", "schema": 0}', "schema 0, this heartbench reads 1"),
        ('{"kind": "heartbench baseline", "schema": 1}', "not a baseline's content"),
    ],
)
def test_a_damaged_baseline_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "ci.json").write_text(content)
    with pytest.raises(ResultError, match=says) as refused:
        measured(tmp_path / "ci.json")
    assert "ci.json" in str(refused.value)


def test_a_baseline_with_a_verdict_of_its_own_is_refused(tmp_path: Path) -> None:
    replace(result({CPU: 1.0}), verdict="splendid").save(tmp_path / "ci.json")
    with pytest.raises(ResultError, match="splendid"):
        measured(tmp_path / "ci.json")


def test_tolerances_can_be_changed_one_by_one() -> None:
    changed = Tolerances().changed(
        ["counts.packets_per_service_second=2%", "detection.mean=0.5", "x=0"]
    )
    assert changed.counts["counts.packets_per_service_second"] == 0.02
    assert changed.counts["x"] == 0.0
    assert changed.times["detection.mean"] == 0.5
    assert changed.counts["mistakes.count"] == Tolerances().counts["mistakes.count"]


def test_all_wrong_tolerances_are_named() -> None:
    with pytest.raises(ScenarioError) as refused:
        Tolerances().changed(["x", "y=many", "z=-5%", "good=5%"])
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "tolerance x", "tolerance y=many", "tolerance z=-5%",
    ]  # fmt: skip


def test_an_outcome_can_be_written_as_json() -> None:
    told = json.loads(json.dumps(timed([1.0], [1.0]).to_json(), allow_nan=False))
    assert (told["verdict"], told["exit_code"]) == ("inconclusive", 3)
    assert (told["rows"][0]["ratio"]["low"], told["rows"][0]["ratio"]["high"]) == (0.0, None)


@pytest.mark.parametrize(
    ("readings", "rate"),
    [
        ([(20.0, "a", 100.0), (90.0, "a", 800.0)], 10.0 / 4),
        ([(20.0, "a", 100.0), (90.0, "a", 800.0), (90.0, "b", 5.0)], None),  # b: but once
        ([(40.0, "a", 100.0), (41.0, "a", 100.0)], None),  # both of one moment
    ],
)
def test_what_was_hardly_read_is_not_counted(
    tmp_path: Path, readings: list[tuple[float, str, float]], rate: float | None
) -> None:
    """Of a window of 90 s and four services; it would be taken for an improvement."""
    record = run()
    others = record.metrics[record.metrics["metric"] != "statements"]
    rows = [
        {**others.iloc[0], "t": t, "source": source, "metric": "statements", "value": value}
        for t, source, value in readings
    ]
    metrics = frame(METRICS, pd.concat([others, pd.DataFrame(rows)], ignore_index=True))
    found = measured(write(tmp_path, replace(record, metrics=metrics)))
    (value,) = found.values("db", STATEMENTS)
    assert value == (None if rate is None else pytest.approx(rate))
