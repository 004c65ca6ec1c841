"""What a live session costs the harness: as a wire service, and as a kazoo client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

from bench.engines.live.engine import LEAD, TICK, WORKERS
from bench.engines.live.meters import Meter
from bench.engines.live.meters.zookeeper import mntr
from bench.engines.live.provision import Deployment
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import ShardPlan, Status, monotonic
from membership import ZooKeeperConfig

SESSIONS = 2_000
CONFIG = ZooKeeperConfig(session_timeout=10.0)
RAMP = 250.0
"""Joins a second; kazoo's clients take what they need."""
RAMP_SECONDS = 100.0
"""A quiet machine takes 10 s."""
SETTLE_SECONDS = 5.0
WINDOW_SECONDS = 20.0

WIRE = WORKERS["zookeeper", "wire"]
KAZOO = "tests.benchmarks.kazoo_shard:KazooShard"


@dataclass(frozen=True, slots=True)
class Cost:
    """What the process of all the sessions takes while they do nothing but ping."""

    cores: float
    """CPU seconds a second, user and system."""
    memory: int
    """Bytes (PSS) beyond those of the same process without services."""
    pings: float
    """Requests a second, as the server counts them."""


def test_wire_sessions_cost_a_fifth_of_the_cpu_and_a_tenth_of_the_memory_of_kazoo_clients(
    benchmark: BenchmarkFixture,
    own_zookeeper: Deployment,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)  # the yardstick's process finds its module there
    costs: Mapping[str, Cost] = benchmark.pedantic(  # type: ignore[no-untyped-call]
        _measure_both, args=(own_zookeeper,)
    )
    benchmark.extra_info.update({kind: asdict(cost) for kind, cost in costs.items()})
    with capsys.disabled():
        _show(costs)
    wire, kazoo = costs["wire"], costs["kazoo"]
    assert wire.pings >= 0.9 * kazoo.pings, "the wire services did less: no comparison"
    assert wire.cores <= kazoo.cores / 5
    assert wire.memory <= kazoo.memory / 10


def _measure_both(deployment: Deployment) -> Mapping[str, Cost]:
    return {
        kind: _measure(worker, kind, deployment)
        for kind, worker in (("wire", WIRE), ("kazoo", KAZOO))
    }


def _measure(worker: str, group: str, deployment: Deployment) -> Cost:
    plan = ShardPlan(
        name=group,
        url=deployment.url,
        config=CONFIG,
        group=group,
        services=tuple(f"service-{n:05}" for n in range(SESSIONS)),
        join_at=tuple(n / RAMP for n in range(SESSIONS)),
    )
    [server] = deployment.servers
    meter = mntr(server.name, server.host, server.port)
    with hosted(worker, replace(plan, services=(), join_at=())) as idle:
        without = _memory(idle)
    with hosted(worker, plan) as shard:
        _ramp(shard)
        _attend(shard, SETTLE_SECONDS)
        started, cpu, packets = monotonic(), _cpu(shard), _read(meter)["packets_received"]
        status = _attend(shard, WINDOW_SECONDS)
        seconds, readings = monotonic() - started, _read(meter)
        cost = Cost(
            cores=(_cpu(shard) - cpu) / seconds,
            memory=_memory(shard) - without,
            pings=(readings["packets_received"] - packets) / seconds,
        )
        lived = (status.live, readings["ephemerals"])
        assert lived == (SESSIONS, SESSIONS), f"sessions broke off: {lived} of {SESSIONS} are left"
        shard.close(goodbye=True)
    return cost


def _ramp(shard: HostedShard) -> None:
    shard.begin(monotonic() + LEAD)
    deadline = monotonic() + RAMP_SECONDS
    while (live := _attend(shard, TICK).live) < SESSIONS:
        assert monotonic() < deadline, f"only {live} sessions after {RAMP_SECONDS:.0f} s"


def _attend(shard: HostedShard, seconds: float) -> Status:
    """For that long, ask of the shard what an engine asks in a run."""
    end = monotonic() + seconds
    while True:
        shard.drain()
        status = shard.status()
        assert not status.failed, status.failed
        if (left := end - monotonic()) <= 0:
            return status
        time.sleep(min(TICK, left))


def _cpu(shard: HostedShard) -> float:
    times = psutil.Process(shard.pid).cpu_times()
    return float(times.user + times.system)


def _memory(shard: HostedShard) -> int:
    return int(psutil.Process(shard.pid).memory_full_info().pss)


def _read(meter: Meter) -> Mapping[str, float]:
    return {reading.metric: reading.value for reading in meter()}


def _show(costs: Mapping[str, Cost]) -> None:
    table = Table(title=f"{SESSIONS:,} live sessions in one process, pinging")
    for column in ("", "CPU, % of a core", "added memory, MB", "KB a session", "pings/s"):
        table.add_column(column, justify="right")
    for kind, cost in costs.items():
        table.add_row(
            kind,
            f"{100 * cost.cores:.2f}",
            f"{cost.memory / 1e6:.1f}",
            f"{cost.memory / 1e3 / SESSIONS:.1f}",
            f"{cost.pings:.0f}",
        )
    wire, kazoo = costs["wire"], costs["kazoo"]
    table.add_row("ratio", f"{kazoo.cores / wire.cores:.1f}", f"{kazoo.memory / wire.memory:.1f}")
    console = Console()
    console.print()
    console.print(table)
