"""The noise floor: what identical runs say about the gate, kept pair by pair."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.gate import Judgement, Measured, Tolerances, judge
from bench.gate.noise import Noise, begun, read, text, together
from bench.store import ResultError
from tests.unit.test_gate_judgement import CPU, PAIRS, STATEMENTS, result

Figures = Mapping[str, float]


def side(figures: Figures, seed: int = 1, count: int = 4) -> Measured:
    return result(figures, scenario={"name": "by-hand", "seed": seed, "services": {"count": count}})


def floor(number: int, noise: float = 0.05, seed: int = 4) -> Noise:
    """Of so many pairs of runs, whose CPU varies by so much from one to the next."""
    random = np.random.default_rng(seed)
    pairs = [
        (side({CPU: one, STATEMENTS: 1.0}, pair), side({CPU: other, STATEMENTS: 1.0}, pair))
        for pair, (one, other) in enumerate(random.lognormal(0.0, noise, (number, 2)))
    ]
    made = begun(pairs[0])
    for pair in pairs[1:]:
        made = made.joined(pair)
    return made


def test_it_is_read_as_it_was_saved(tmp_path: Path) -> None:
    floor(PAIRS).save(tmp_path / "noise.json")
    again = read(tmp_path / "noise.json")
    assert again.spread["db"][CPU] == pytest.approx(floor(PAIRS).spread["db"][CPU], rel=1e-4)
    assert [each.judgement for each in again.comparisons] == [Judgement.PASS]
    assert 0.02 < again.spread["db"][CPU] < 0.15
    again.save(tmp_path / "twice.json")
    assert read(tmp_path / "twice.json") == again


def test_its_spread_is_told_beside_each_time() -> None:
    made = floor(PAIRS)
    one, other = (together(each) for each in zip(*made.pairs, strict=True))
    (row,) = judge(other, one, Tolerances({}, {CPU: 0.1}), noise=made.spread).rows
    assert row.judgement is Judgement.PASS
    assert "varies so much between identical runs that only growth from" in row.reason


def test_each_six_pairs_are_a_comparison_and_no_pair_is_in_two() -> None:
    made = floor(2 * PAIRS + 5)
    assert len(made.comparisons) == 2
    assert all(row.ratio.pairs == PAIRS for each in made.comparisons for row in each.rows
               if row.ratio)  # fmt: skip
    assert floor(PAIRS - 1).comparisons == ()


def test_it_grows_by_a_pair_of_the_same_scenario_and_machine_alone() -> None:
    made = floor(2)
    assert len(made.joined((side({CPU: 1.0}, 9), side({CPU: 1.0}, 9))).pairs) == 3
    other = side({CPU: 1.0}, count=5)
    with pytest.raises(ResultError, match=r"another scenario \(services.count: 4, 5\)"):
        made.joined((other, other))
    elsewhere = replace(side({CPU: 1.0}), machine={"cpu": "another"})
    with pytest.raises(ResultError, match="another machine"):
        made.joined((elsewhere, elsewhere))


def test_it_tells_the_spread_what_can_be_seen_and_each_false_alarm() -> None:
    """The sixth of these identical runs each happens to ask for a statement more."""
    made = floor(PAIRS)
    quiet = text(made)
    assert "identical runs, six pairs at a time: 1 of 1 pass" in quiet
    [row] = [line.split() for line in quiet.splitlines() if line.startswith("db")]
    assert row[1] == CPU
    assert 0.02 < float(row[2].rstrip("%")) / 100 < 0.15
    alarmed = replace(
        made, pairs=tuple((one, side({CPU: 1.0, STATEMENTS: 2.0})) for one, _ in made.pairs)
    )
    assert "0 of 1 pass\n  fail: db: counts.statements_per_service_second is 2" in text(alarmed)
    assert alarmed.to_json()["comparisons"] == {"fail": 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no noise floor can be read"),
        ('{"kind": "heartbench noise floor", "schema": 1}', "no noise floor of schema 2"),
        ('{"kind": "heartbench noise floor", "schema": 2}', "not a noise floor's content"),
        (
            json.dumps(
                {"kind": "heartbench noise floor", "schema": 2, "scenario": {}, "machine": {},
                 "runs": [[{"db": {CPU: "much"}}, {"db": {}}]]}
            ),
            "not a noise floor's content",
        ),
    ],
)  # fmt: skip
def test_a_damaged_one_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "noise.json").write_text(content)
    with pytest.raises(ResultError, match=says) as refused:
        read(tmp_path / "noise.json")
    assert "noise.json" in str(refused.value)
    assert "make it again with `heartbench gate --calibrate`" in str(refused.value)
