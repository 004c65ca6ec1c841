"""What modelled servers are metered at: by what they are asked, how old they are, who is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.calibration import STATED, Calibration
from bench.engines.sim import simulated
from bench.measure.audit import Bounds, audit
from bench.measure.detection import victims
from bench.measure.load import load, rate
from bench.measure.window import Window
from bench.result import Kind, Record
from tests.sim.runs import detections, planned, record, told

ENSEMBLE = """
seed: 1
services: {{count: 600, ramp: 1000/s}}
observers: 1
phases: [{{settle: 5s}}, {{hold: 20s}}{more}]
backends:
  zk: {{kind: zookeeper, servers: 3, session_timeout: 10s, warm_up: {warm_up}}}
"""

SERVERS = ("zk-1", "zk-2", "zk-3")

DATABASE = """
seed: 1
services: {{count: 1_000, ramp: 1000/s}}
observers: 1
phases: [{{settle: 5s}}, {{hold: 20s}}]
backends:
  db: {{kind: sql, profile: tuned, interval: {interval}, timeout: 60s, poll: 5s}}
"""


def cores(record: Record) -> float:
    found = load(record)["server_cpu_cores"]
    assert found is not None
    return found


def ensemble_where(**cost: float) -> Calibration:
    """Servers that take CPU for this alone."""
    others = ("idle_cores", "ping_cpu", "waking_cpu", "write_cpu", "flush_cpu", "young")
    free = dict.fromkeys((*others, "election_cpu"), 0.0)
    zookeeper = replace(STATED.zookeeper, **{**free, **cost})
    return replace(STATED, zookeeper=zookeeper)


def took(record: Record, server: str, since: float) -> float:
    """CPU seconds of a server from then on, the start of another process apart."""
    metrics = record.metrics
    mine = (metrics["source"] == server) & (metrics["metric"] == "cpu_seconds")
    counted = metrics[mine & (metrics["t"] >= since)]["value"]
    return float(counted.iloc[-1] - counted.iloc[0])


def test_a_server_that_has_worked_costs_less() -> None:
    """All that is known of a warm-up is how long it took, and for how many transactions."""
    fresh, warm = (
        record(planned(ENSEMBLE.format(warm_up=warm_up, more=""))[0]) for warm_up in (0, 40_000)
    )
    costs, asked = STATED.zookeeper, 600 * 0.32 / 3  # pings a second, at each server
    wakings = asked / (1 + asked * costs.awake)
    old = 3 * (costs.idle_cores + asked * costs.ping_cpu + wakings * costs.waking_cpu)
    assert cores(warm) == pytest.approx(old, rel=0.1)
    assert cores(fresh) > 1.2 * cores(warm)


def test_the_survivors_serve_the_sessions_of_a_dead_leader() -> None:
    more = ", {fault: {kind: kill, servers: leader, for: 60s}}, {hold: 30s}"
    found = record(planned(ENSEMBLE.format(warm_up=0, more=more))[0])
    end = float(found.events["t"].max())
    before, after = (
        [
            rate(found.metrics[found.metrics["source"] == name], ["packets_received"], window)
            or 0.0
            for name in ("zk-1", "zk-2", "zk-3")
        ]
        for window in (Window(end - 45, end - 35), Window(end - 10, end - 1))
    )
    assert min(before) > 0
    assert min(after) == 0
    assert sum(after) == pytest.approx(sum(before), rel=0.02)


def test_who_comes_back_is_served_where_it_comes_to() -> None:
    """Wherever services went before, nobody is served twice."""
    more = (
        ", {fault: {kind: restart, select: {fraction: 100%}, over: 5s, for: 500ms}}, {hold: 3s}"
        + 2 * ", {fault: {kind: kill, servers: leader, for: 5s}}, {hold: 20s}"
    )
    found = record(planned(ENSEMBLE.format(warm_up=0, more=more))[0])
    end = float(found.events["t"].max())
    rates = [
        rate(
            found.metrics[found.metrics["source"] == name],
            ["packets_received"],
            Window(end - 8, end),
        )
        or 0.0
        for name in ("zk-1", "zk-2", "zk-3")
    ]
    assert min(rates) == 0, "the leader that was killed last has no clients any more"
    assert sum(rates) == pytest.approx(600 * 0.32, rel=0.02)


def test_transactions_that_come_together_share_a_flush_of_the_log() -> None:
    """Spread ones don't: a burst costs as much as how long it takes."""
    flushes = {}
    for over in ("0s", "10s"):
        leaves = (
            f", {{fault: {{kind: leave, select: {{count: 100}}, over: {over}}}}}, {{hold: 12s}}"
        )
        (run,) = planned(ENSEMBLE.format(warm_up=0, more=leaves))
        found = simulated(run, ensemble_where(flush_cpu=1.0))
        left = float(told(found, Kind.LEFT)["t"].min())
        flushes[over] = [took(found, name, left - 2) for name in SERVERS]
    assert all(1 <= times <= 2 for times in flushes["0s"])
    assert flushes["10s"] == pytest.approx([95, 95, 95], abs=6), "100 within 1,000 steps of 10 ms"


def test_an_election_is_work_for_those_that_live_to_see_it() -> None:
    kill = ", {fault: {kind: kill, servers: leader, for: 60s}}, {hold: 30s}"
    (run,) = planned(ENSEMBLE.format(warm_up=0, more=kill))
    found = simulated(run, ensemble_where(election_cpu=1.0))
    assert sorted(took(found, name, 20) for name in SERVERS) == pytest.approx([0, 1, 1])
    (alone,) = planned(ENSEMBLE.format(warm_up=0, more=kill).replace("servers: 3", "servers: 1"))
    assert took(simulated(alone, ensemble_where(election_cpu=1.0)), "zk-1", 20) == 0


def test_a_dead_server_takes_nothing_though_its_clients_have_yet_to_notice() -> None:
    kill = ", {fault: {kind: kill, servers: leader, for: 60s}}, {hold: 10s}"
    (run,) = planned(ENSEMBLE.format(warm_up=0, more=kill))
    found = simulated(run, ensemble_where(ping_cpu=1.0))
    (killed,) = told(found, Kind.SERVER_KILLED)["t"]
    assert min(took(found, name, killed) for name in SERVERS) == 0


def test_a_server_grows_old_in_time_and_by_its_transactions() -> None:
    """Those of 600 sessions that have joined: two each, at each server."""
    (run,) = planned(ENSEMBLE.format(warm_up=0, more=""))
    costs = {"waking_cpu": 0.01, "young": 5.0, "youth": 10.0, "youth_transactions": 800.0}
    found = simulated(run, ensemble_where(**costs))
    metrics = found.metrics[found.metrics["source"] == "zk-1"]
    worked, asked = (
        metrics[(metrics["metric"] == metric) & metrics["t"].between(5, 15)]
        for metric in ("cpu_seconds", "packets_received")
    )
    seconds = np.linspace(worked["t"].iloc[0], worked["t"].iloc[-1], 10_001)
    requests = np.ptp(asked["value"]) / np.ptp(asked["t"])
    wakings = requests / (1 + requests * STATED.zookeeper.awake)
    slow = 1 + 5.0 * np.exp(-seconds / 10.0 - 1_200 / 800)
    expected = 0.01 * wakings * slow.mean() * np.ptp(seconds)
    assert np.ptp(worked["value"]) == pytest.approx(expected, rel=0.01)


def test_the_more_sessions_there_are_the_longer_an_election_takes() -> None:
    kill = ", {fault: {kind: kill, servers: leader, for: 20s}}, {hold: 30s}"
    (run,) = planned(ENSEMBLE.format(warm_up=0, more=kill))
    costs = {"election_low": 1.0, "election_high": 1.0, "retry_high": 0.0}
    blind = []
    for each in (0.0, 0.01):
        zookeeper = replace(STATED.zookeeper, **costs, election_session=each)
        found = simulated(run, replace(STATED, zookeeper=zookeeper))
        (killed,) = told(found, Kind.SERVER_KILLED)["t"]
        (again,) = told(found, Kind.RESYNCED, "observer-0")["t"]
        blind.append(again - killed)
    assert blind == pytest.approx([1.0, 7.0], abs=0.05), "600 sessions, 10 ms each"


def test_beats_that_come_fast_share_the_waking_of_the_server() -> None:
    """The n-th beat of a second costs less than the first, as far down as its own work."""
    rates, beat = np.array([50.0, 250.0, 1000.0]), STATED.sql.tuned
    shares_nothing = replace(
        STATED, sql=replace(STATED.sql, flush_cpu=0.0, idle_cores=0.0, read_row_cpu=0.0)
    )
    each = []
    for beats in rates.tolist():
        (run,) = planned(DATABASE.format(interval=f"{1_000 / beats:g}s"))
        each.append(cores(simulated(run, shares_nothing)) / beats)
    wakings = 1 / (1 + rates * STATED.sql.awake)
    assert each == pytest.approx(beat.server_cpu + wakings * beat.waking_cpu, rel=0.05)


def test_a_look_reads_those_alone_who_may_be_dead() -> None:
    crashes = "[{settle: 5s}, {fault: {kind: crash, select: {count: 30}, over: 10s}}, {hold: 20s}]"
    text = DATABASE.format(interval="4s").replace("60s", "12s")
    (run,) = planned(text.replace("[{settle: 5s}, {hold: 20s}]", crashes))
    found = record(run)
    reads, looks = (len(told(found, kind, "observer-0")) for kind in (Kind.READ, Kind.LOOKED))
    assert looks > 0
    counted = found.metrics[found.metrics["metric"] == "rows_read"]
    rows = counted[counted["source"] == "observer-0"]["value"].max()
    assert 0 < rows <= reads * 1_000 + looks * 30
    assert detections(found).between(8.0, 12.0 + 5.1).all()  # the timeout and a poll


def test_a_model_past_its_knee_does_not_blame_the_machine() -> None:
    text = ENSEMBLE.format(warm_up=0, more="").replace(
        "600, ramp: 1000/s", "200_000, ramp: 50000/s"
    )
    found = record(planned(text)[0])
    (reason,) = audit([found], victims(found), Bounds()).reasons
    assert "the modelled server was past its knee" in reason
