"""The committed noise floors: what the gate says of identical runs that were recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench.gate import Judgement, Measured, Tolerances, judge
from bench.gate.measured import differences
from bench.gate.noise import Noise, read, text
from bench.scenario import dump, find, load

ROOT = Path(__file__).parents[2]
FLOORS = sorted((ROOT / "results" / "baselines" / "noise").glob("*.json"))
CPU = "load.server_cpu_cores"
TWENTY = 20

pytestmark = pytest.mark.parametrize("path", FLOORS, ids=[path.stem for path in FLOORS])


def test_it_is_of_the_scenario_of_its_name(path: Path) -> None:
    shipped = yaml.safe_load(dump(load(find(path.stem))))
    del shipped["seed"]
    assert list(differences(read(path).scenario, shipped)) == []


def test_the_documents_say_what_it_says(path: Path) -> None:
    assert f"```\n{text(read(path))}\n```" in (ROOT / "docs" / "how-to" / "ci.md").read_text()


def test_identical_runs_pass_twenty_times_of_twenty(path: Path) -> None:
    """Six pairs at a time: as they came, none in two comparisons; and drawn from all of them, as
    they might have come."""
    floor = read(path)
    assert floor.comparisons
    assert {each.judgement for each in floor.comparisons} == {Judgement.PASS}
    assert _judgements(floor, TWENTY, growth=1.0) == {Judgement.PASS: TWENTY}


def test_a_pair_alone_passes_by_its_counts_and_decides_nothing_about_times(path: Path) -> None:
    for one, other in read(path).pairs:
        assert judge(other, one, Tolerances().counts_only()).judgement is Judgement.PASS
        assert judge(other, one, Tolerances()).judgement is Judgement.INCONCLUSIVE


def test_thirty_per_cent_more_cpu_would_have_been_seen_four_times_of_five(path: Path) -> None:
    """Of the servers, by six pairs alone, beside whatever the recorded runs vary by."""
    assert _judgements(read(path), 2 * TWENTY, growth=1.3)[Judgement.FAIL] >= 1.6 * TWENTY


def _judgements(floor: Noise, number: int, growth: float) -> Counter[Judgement]:
    """Of so many comparisons of six pairs, whose second runs took so many times the CPU."""
    random = np.random.default_rng(7)
    drawn = (random.choice(len(floor.pairs), 6, replace=False) for _ in range(number))
    return Counter(
        outcome.judgement
        for numbers in drawn
        for outcome in replace(
            floor,
            pairs=tuple(
                (floor.pairs[each][0], _grown(floor.pairs[each][1], growth)) for each in numbers
            ),
        ).comparisons
    )


def _grown(side: Measured, growth: float) -> Measured:
    return replace(
        side,
        runs=tuple(
            replace(run, figures={**run.figures, CPU: growth * run.figures[CPU]})
            for run in side.runs
        ),
    )
