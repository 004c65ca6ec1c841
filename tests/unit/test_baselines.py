"""The committed baselines: whole, valid, and of the scenarios as they are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.gate import Judgement, Tolerances, judge, measured
from bench.gate.measured import differences
from bench.scenario import dump, find, load

BASELINES = sorted((Path(__file__).parents[2] / "results" / "baselines").glob("*.json"))


def test_there_is_one_for_every_change() -> None:
    assert "ci" in [path.stem for path in BASELINES]


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_a_baseline_is_of_the_scenario_of_its_name(path: Path) -> None:
    """Who changes the scenario saves the baseline again."""
    baseline = measured(path)
    assert baseline.verdict == "valid"
    shipped = yaml.safe_load(dump(load(find(path.stem))))
    assert list(differences(baseline.scenario, shipped)) == []


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_a_baselines_counts_are_all_measured_and_pass_themselves(path: Path) -> None:
    baseline = measured(path)
    outcome = judge(baseline, baseline, Tolerances().counts_only())
    assert outcome.judgement is Judgement.PASS
    assert {row.figure for row in outcome.rows} == set(Tolerances().counts)
