"""One process a service, or all in arrays: the same events, for the same seed."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.calibration import STATED
from bench.engines.sim import execute_all
from bench.progress import silent
from bench.result import Record
from tests.sim.runs import planned, record

EXACT = 1e-9

EVERYTHING = """
seed: {seed}
services: {{count: 1_000, library: 20, ramp: 500/s, racks: 10}}
observers: 2
phases:
  - settle: 12s
  - fault: {{kind: crash, select: {{count: 50}}, over: 10s}}
  - fault: {{kind: power-loss, select: {{count: 10}}, over: 10s}}
  - fault: {{kind: leave, select: {{count: 20}}, over: 5s}}
  - fault: {{kind: freeze, select: {{count: 30}}, over: 5s, for: 4s}}
  - fault: {{kind: freeze, select: {{count: 30}}, over: 5s, for: {{exponential: 15s}}}}
  - fault: {{kind: flap, select: {{count: 10}}, over: 5s, for: 1500ms, up: 2500ms, times: 4}}
  - fault: {{kind: restart, select: {{count: 20}}, over: 20s, for: 2s}}
  - fault: {{kind: restart, select: {{count: 10}}, over: 5s, stop: leave}}
  - fault: {{kind: skew, select: {{count: 5}}, offset: -30s, for: 20s}}
  - hold: 30s
  - fault: {{kind: cut, select: {{racks: 1}}, for: 30s}}
  - hold: 20s
  - fault: {{kind: loss, select: {{racks: 1}}, rate: 80%, for: 30s}}
  - hold: 40s
  - fault: {{kind: delay, select: {{racks: 1}}, delay: 200ms, jitter: 50ms, for: 10s}}
  - fault: {{kind: restart, servers: all, for: 5s}}
  - hold: 60s
  - fault: {{kind: pause, servers: leader, for: 4s}}
  - hold: 30s
  - fault: {{kind: kill, servers: leader, for: 15s}}
  - hold: 60s
backends:
  nova: {{kind: sql, profile: nova, interval: 2s, timeout: 12s, poll: 1s}}
  read: {{kind: sql, profile: nova, interval: 10s, timeout: 20s, poll: read}}
  tuned: {{kind: sql, profile: tuned, interval: 2s, timeout: 10s, poll: 500ms}}
  zk: {{kind: zookeeper, servers: 3, session_timeout: 10s, tick: 2s}}
"""

LARGE = """
seed: 3
services: {count: 10_000, ramp: 1000/s, racks: 20}
observers: 1
phases:
  - settle: 12s
  - fault: {kind: crash, select: {fraction: 1%}, over: 10s}
  - hold: 15s
  - fault: {kind: kill, servers: leader, for: 10s}
  - hold: 20s
backends:
  nova: {kind: sql, profile: nova, interval: 5s, timeout: 12s, poll: read}
  tuned: {kind: sql, profile: tuned, interval: 4s, timeout: 10s, poll: 1s}
  zk: {kind: zookeeper, servers: 3, session_timeout: 10s, tick: 2s}
"""

OVERLOAD = """
seed: 5
services: {count: 3_000, ramp: 1000/s}
observers: 1
phases:
  - settle: 4s
  - fault: {kind: freeze, select: {count: 30}, over: 8s, for: 3s}
  - hold: 12s
backends:
  nova: {kind: sql, profile: nova, interval: 300ms, timeout: 2s, poll: 1s, connections: 4}
"""


def same(one: Record, other: Record) -> None:
    """The same rows, but for the last digits of their times."""
    order = ["kind", "subject", "observer", "t"]
    left, right = (
        each.events.sort_values(order, ignore_index=True).drop(columns=["value"])
        for each in (one, other)
    )
    assert len(left) > 0
    assert left["kind"].value_counts().to_dict() == right["kind"].value_counts().to_dict()
    assert (left["t"] - right["t"]).abs().max() <= EXACT
    pd.testing.assert_frame_equal(left.drop(columns="t"), right.drop(columns="t"))
    pd.testing.assert_frame_equal(one.metrics, other.metrics, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", [7, 8])
@pytest.mark.parametrize("backend", range(4))
def test_under_every_fault(seed: int, backend: int) -> None:
    run = planned(EVERYTHING.format(seed=seed))[backend]
    same(record(run, plain=True), record(run))


@pytest.mark.parametrize("backend", range(3))
def test_at_ten_thousand_services(backend: int) -> None:
    run = planned(LARGE)[backend]
    same(record(run, plain=True), record(run))


def test_past_the_knee() -> None:
    """Where beats wait for connections, skip their turns, and live services are called dead."""
    (run,) = planned(OVERLOAD)
    fast = record(run)
    lateness = fast.metrics.loc[fast.metrics["metric"] == "lateness", "value"]
    assert lateness.quantile(0.5) > 0.1, "the queue is not overloaded"
    same(record(run, plain=True), fast)


def test_a_seed_gives_its_rows_on_any_number_of_cores() -> None:
    runs = planned(EVERYTHING.format(seed=9))
    alone: list[Record] = []
    together: list[Record] = []
    execute_all(runs, calibration=STATED, keep=alone.append, listen=silent, cores=1)
    execute_all(runs, calibration=STATED, keep=together.append, listen=silent, cores=2)
    assert [each.index for each in together] == [run.index for run in runs]
    for one, other in zip(alone, together, strict=True):
        pd.testing.assert_frame_equal(one.events, other.events)
        pd.testing.assert_frame_equal(one.metrics, other.metrics)


def test_another_seed_gives_other_rows() -> None:
    one, other = (record(planned(EVERYTHING.format(seed=seed))[0]) for seed in (7, 8))
    assert not one.events["t"].equals(other.events["t"])
