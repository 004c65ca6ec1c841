"""A calibration is read whole, or refused with all that is wrong with it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.calibration import STATED, CalibrationError, Machine, load
from tests.sim.runs import planned, record

STATED_FILE = Path(__file__).parents[2] / "results" / "calibrations" / "stated.json"


def written(path: Path, change: dict[str, Any]) -> Path:
    """The stated calibration in a file, with some values changed, by dotted path."""
    data = json.loads(STATED.dump())
    for where, value in change.items():
        *parents, name = where.split(".")
        part = data
        for parent in parents:
            part = part[parent]
        if value is None:
            del part[name]
        else:
            part[name] = value
    path.write_text(json.dumps(data))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(STATED.dump())
    assert load(path) == STATED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 99}, "schema 99"),
        ({"sql.commit": None}, "sql.commit: missing"),
        ({"sql.commits": 1.0}, "sql.commits: unknown"),
        ({"sql.nova.client_cpu": "fast"}, "sql.nova.client_cpu: 'fast' is not a number"),
        ({"zookeeper.ping_cpu": -1.0}, "zookeeper.ping_cpu: -1.0 is not a number, 0 or more"),
        ({"zookeeper.ping_cpu": float("nan")}, "zookeeper.ping_cpu: nan"),
        ({"zookeeper.youth_transactions": 0.0}, "youth_transactions: 0.0 is not above 0"),
        ({"valid.sessions": 1.5}, "valid.sessions: 1.5 is not a whole number"),
        ({"machine": "mine"}, "machine.: an object is expected"),
    ],
)
def test_a_wrong_one_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path / "calibration.json", change)
    with pytest.raises(CalibrationError) as refused:
        load(path)
    assert said in str(refused.value)
    assert "heartbench calibrate" in str(refused.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "it.json", {"sql.commit": None, "zookeeper.join": "soon"})
    with pytest.raises(CalibrationError, match=r"(?s)sql\.commit.*zookeeper\.join"):
        load(path)


def test_what_is_no_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    with pytest.raises(CalibrationError, match="can't be read"):
        load(path)
    path.write_text("{")
    with pytest.raises(CalibrationError, match="no JSON"):
        load(path)
    path.write_text("[]")
    with pytest.raises(CalibrationError, match="holds no calibration"):
        load(path)


def test_another_machine_is_a_warning_for_each_difference() -> None:
    ours = Machine.here()
    assert replace(STATED, machine=ours).warnings() == ()
    theirs = replace(ours, cpu="another", cores=ours.cores + 1)
    warnings = replace(STATED, machine=theirs).warnings()
    assert len(warnings) == 2
    assert "another" in warnings[0]
    assert str(ours.cores + 1) in warnings[1]


SIZE = """
seed: 1
services: {{count: {count}, ramp: 1000/s}}
observers: 1
phases: [{{settle: 5s}}, {{hold: 5s}}]
backends:
  db: {{kind: sql, profile: tuned, interval: 10s, timeout: 30s, poll: 5s}}
  zk: {{kind: zookeeper, session_timeout: 10s}}
"""


@pytest.mark.parametrize("place", [0, 1])
def test_a_record_says_what_it_extrapolates(place: int) -> None:
    within = record(planned(SIZE.format(count=1_000))[place])
    beyond = record(planned(SIZE.format(count=20_000))[place])
    assert within.environment["extrapolated"] == []
    assert any("20,000" in words for words in beyond.environment["extrapolated"])
    assert within.environment["calibration"]["made"] == STATED.made


def test_every_cost_is_stated() -> None:
    """But no yardstick: that is measured, with the costs that hold by it."""
    for costs in (asdict(STATED.sql), asdict(STATED.zookeeper)):
        assert costs.pop("yardstick") is None
        assert all(costs.values())


def test_the_stated_calibration_is_committed_as_it_is_used() -> None:
    assert load(STATED_FILE) == STATED


def test_what_only_real_servers_have_is_told() -> None:
    (run,) = planned(
        """
seed: 1
services: {count: 10, library: 2}
observers: 1
phases: [{settle: 1s}]
audit: {harness_cpu: 1}
backends:
  zk: {kind: zookeeper, session_timeout: 10s, image: zookeeper}
"""
    )
    told = record(run).environment["only_live"]
    assert [words.partition(":")[0] for words in told] == [
        "backends.zk.image",
        "services.library",
        "audit.harness_cpu",
    ]


def test_an_ensemble_past_its_processors_answers_later_and_later() -> None:
    """So its run isn't valid, whatever else it looks like."""
    text = SIZE.replace("ramp: 1000/s", "ramp: 50000/s")
    for count, late in ((10_000, False), (200_000, True)):
        metrics = record(planned(text.format(count=count))[1]).metrics
        lateness = metrics.loc[metrics["metric"] == "lateness", "value"]
        assert bool(lateness.iloc[-1] > 0.05) is late
