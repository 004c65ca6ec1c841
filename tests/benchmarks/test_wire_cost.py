"""What a live session costs the harness: as a wire service, and as a kazoo client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

from bench.engines.live.conductor import LEAD, TICK
from bench.engines.live.meters import Meter
from bench.engines.live.meters.zookeeper import mntr
from bench.engines.live.muster import WORKERS
from bench.engines.live.provision import Deployment, Server
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from membership import ZooKeeperConfig
from tests.benchmarks.attendance import attend, cpu_seconds

CONFIG = ZooKeeperConfig(session_timeout=10.0)
RAMP = 250.0
"""Joins a second; kazoo's clients take what they need."""
RAMP_SECONDS = 100.0
"""A quiet machine takes 10 s, and 40 s for the large one."""
SETTLE_SECONDS = 5.0
WINDOW_SECONDS = 20.0
LEAST_OF_KAZOO = 0.99
"""The share of kazoo's sessions that has to last: two thousand threads lose one now and then."""

WIRE = WORKERS["zookeeper", "wire"]
KAZOO = "tests.benchmarks.kazoo_shard:KazooShard"
PUNCTUAL = "tests.benchmarks.punctual_shard:PunctualShard"
GEVENT = "tests.benchmarks.gevent_shard:GeventShard"

SUBJECTS = {
    "wire": (WIRE, 2_000),
    "wire, full size": (WIRE, 10_000),
    "wire, each alone": (PUNCTUAL, 10_000),
    "kazoo, threads": (KAZOO, 2_000),
    "kazoo, gevent": (GEVENT, 2_000),
}
"""A shard's worker, and how many sessions it is to hold."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the process of all the sessions takes while they do nothing but ping."""

    cores: float
    """CPU seconds a second, user and system."""
    memory: int
    """Bytes (PSS) beyond those of the same process without services."""
    pings: float
    """Requests a second, as the server counts them."""
    sessions: int
    server: float
    """CPU seconds a second that the server takes for it."""

    @property
    def each(self) -> float:
        """CPU seconds a session and second."""
        return self.cores / self.sessions

    @property
    def memory_each(self) -> float:
        """Bytes a session."""
        return self.memory / self.sessions


@pytest.mark.timeout(600)
def test_wire_sessions_cost_a_fraction_of_what_kazoo_clients_cost(
    benchmark: BenchmarkFixture,
    own_zookeeper: Deployment,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """2,000 against 2,000 in one process each, and 10,000 at the price of a session; with the
    server's CPU, which pings that come in bunches spare some of."""
    monkeypatch.chdir(pytestconfig.rootpath)  # the yardsticks' processes find their modules there
    costs: dict[str, Cost] = {}
    try:
        benchmark.pedantic(_measure_all, args=(own_zookeeper, costs))
    finally:
        benchmark.extra_info.update({kind: asdict(cost) for kind, cost in costs.items()})
        with capsys.disabled():
            _show(costs)
    wire, large, alone, threads, gevent = (costs[kind] for kind in SUBJECTS)
    for each in (wire, large, alone):
        fair = each.pings / each.sessions >= 0.9 * threads.pings / threads.sessions
        assert fair, "the wire services did less: no comparison"
    assert large.cores < alone.cores, "sharing wake-ups saves nothing"
    assert wire.cores <= threads.cores / 5
    assert wire.memory <= threads.memory / 10
    # What is left is largely the kernel's: a write and a read a ping, and a wake-up a slot.
    assert large.each <= threads.each / 15
    assert large.each <= gevent.each / 10
    assert large.memory_each <= min(threads.memory_each, gevent.memory_each) / 10


def _measure_all(deployment: Deployment, costs: dict[str, Cost]) -> None:
    # A young server compiles what it is asked, on the cores that whoever asks first would share.
    _measure(*SUBJECTS["wire, full size"], "rehearsal", deployment)
    for number, (kind, (worker, sessions)) in enumerate(SUBJECTS.items()):
        costs[kind] = _measure(worker, sessions, f"group-{number}", deployment)


def _measure(worker: str, sessions: int, group: str, deployment: Deployment) -> Cost:
    plan = ShardPlan(
        name=group,
        url=deployment.url,
        config=CONFIG,
        group=group,
        services=tuple(f"service-{n:05}" for n in range(sessions)),
        join_at=tuple(n / RAMP for n in range(sessions)),
    )
    [server] = deployment.servers
    meter = mntr(server.name, server.host, server.port)
    with hosted(worker, replace(plan, services=(), join_at=())) as idle:
        without = _memory(idle)
    with hosted(worker, plan) as shard:
        _ramp(shard, sessions)
        attend(shard, SETTLE_SECONDS)
        started, cpu, packets = monotonic(), cpu_seconds(shard), _read(meter)["packets_received"]
        served = _served(server)
        status = attend(shard, WINDOW_SECONDS)
        seconds, readings = monotonic() - started, _read(meter)
        left = min(status.live, int(readings["ephemerals"]))
        assert left >= (LEAST_OF_KAZOO if worker in (KAZOO, GEVENT) else 1.0) * sessions, (
            f"sessions broke off: {left} of {sessions} are left"
        )
        cost = Cost(
            cores=(cpu_seconds(shard) - cpu) / seconds,
            memory=_memory(shard) - without,
            pings=(readings["packets_received"] - packets) / seconds,
            sessions=left,
            server=(_served(server) - served) / seconds,
        )
        shard.close(goodbye=True)
    return cost


def _ramp(shard: HostedShard, sessions: int) -> None:
    shard.begin(monotonic() + LEAD)
    deadline = monotonic() + RAMP_SECONDS
    while (live := attend(shard, TICK).live) < sessions:
        assert monotonic() < deadline, f"only {live} sessions after {RAMP_SECONDS:.0f} s"


def _memory(shard: HostedShard) -> int:
    return int(psutil.Process(shard.pid).memory_full_info().pss)


def _served(server: Server) -> float:
    """The server's CPU seconds so far."""
    times = [psutil.Process(pid).cpu_times() for pid in server.pids]
    return float(sum(each.user + each.system for each in times))


def _read(meter: Meter) -> Mapping[str, float]:
    return {reading.metric: reading.value for reading in meter.read()}


def _show(costs: Mapping[str, Cost]) -> None:
    table = Table(title="live sessions in one process, pinging")
    columns = ("", "sessions", "us each a second", "ratio", "KB each", "ratio", "server's us")
    for column in columns:
        table.add_column(column, justify="right")
    for kind, cost in costs.items():
        least = costs.get("wire, full size", cost)
        table.add_row(
            kind,
            f"{cost.sessions:,}",
            f"{1e6 * cost.each:.1f}",
            f"{cost.each / least.each:.1f}",
            f"{cost.memory_each / 1e3:.1f}",
            f"{cost.memory_each / least.memory_each:.1f}",
            f"{1e6 * cost.server / cost.sessions:.1f}",
        )
    console = Console()
    console.print()
    console.print(table)
