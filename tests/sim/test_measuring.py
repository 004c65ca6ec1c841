"""Calibrated by runs in the model, costs come out as those that the model was given."""

from __future__ import annotations

from dataclasses import asdict, replace

import pandas as pd
import pytest

from bench.calibration import STATED
from bench.costs import SqlCosts, ZooKeeperCosts
from bench.engines.live.calibrate import sql, zookeeper
from bench.engines.sim import simulated
from bench.plan import plan
from bench.result import Record
from bench.scenario import loads

ALIKE = 0.15
"""The share by which a cost may be off: some are slopes between two averages of random numbers."""
BLURRED = {
    "join_latency": 0.6,
    "write": 0.6,
    "expiry": 0.5,
    "close": 0.4,
    "event": 0.9,
    "election_low": 0.4,
    "election_high": 0.4,
}
"""Of those that are drawn by chance, and seen a few times only; and of the quicker of two steps."""


GIVEN = replace(
    STATED,
    sql=replace(STATED.sql, nova=replace(STATED.sql.nova, waking_cpu=400e-6), yardstick=2.0e-3),
    zookeeper=replace(STATED.zookeeper, yardstick=2.1e-3),
)


def recorded(text: str) -> Record:
    (run,) = plan(loads(text, "calibration"))
    return simulated(run, GIVEN)


def same(found: SqlCosts | ZooKeeperCosts, given: SqlCosts | ZooKeeperCosts) -> None:
    off = {
        name: (value, right)
        for (name, value), right in zip(flat(found), dict(flat(given)).values(), strict=True)
        if value != pytest.approx(right, rel=BLURRED.get(name, ALIKE))
    }
    assert not off, "found, and given"


def flat(costs: object) -> list[tuple[str, float]]:
    """All numbers, by path."""
    table = pd.json_normalize(asdict(costs)).iloc[0]  # type: ignore[call-overload]
    return [(str(name), float(value)) for name, value in table.items()]


def test_a_databases_costs_are_found() -> None:
    runs = {load: recorded(load.scenario()) for load in sql.LOADS}
    given = GIVEN.sql
    probes = sql.Probes(
        round_trip=given.round_trip,
        commit=given.commit,
        flush_cpu=given.flush_cpu,
        read=given.read,
        read_row=given.read_row,
        read_cpu=given.read_cpu,
        read_row_cpu=given.read_row_cpu,
    )
    found = replace(sql.costs([runs], probes), cores=given.cores)
    same(found, given)


def test_an_ensembles_costs_are_found() -> None:
    given = GIVEN.zookeeper
    rounds = []
    for warm_up in (0, zookeeper.WARM_UP):
        few, many = zookeeper.scenarios(warm_up)
        rounds.append((recorded(few), recorded(many)))
    cold, warm = rounds
    same(zookeeper.costs(cold, warm, given.round_trip), given)
