"""What one of Nova's beats costs the harness: as a wire service's, and as the library's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import pytest
import sqlalchemy as sa
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

from bench.engines.live.conductor import LEAD, TICK
from bench.engines.live.meters import Meter
from bench.engines.live.meters.postgresql import statistics
from bench.engines.live.muster import WORKERS
from bench.engines.live.provision import Deployment, ServerSpec
from bench.engines.live.swarm.process import hosted
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from membership import SqlConfig, connect
from tests.benchmarks.attendance import attend, cpu_seconds
from tests.conftest import servers

RAMP_SECONDS = 120.0
SETTLE_SECONDS = 12.0
"""Longer than the longest interval, so that everybody beats."""
WINDOW_SECONDS = 20.0
CONNECTIONS = 8
"""More only take turns at the processors that they share with the server."""
TIMEOUT = 60.0

WIRE = WORKERS["sql", "wire"]
LIBRARY = "tests.benchmarks.library_shard:LibraryShard"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who beats, how many of them, and how often."""

    worker: str
    services: int
    interval: float
    ramp: float
    """Joins a second."""


SUBJECTS = {
    "wire, 1,000 a second": Subject(WIRE, 10_000, 10.0, 1_000.0),
    "wire, 5,000 a second": Subject(WIRE, 10_000, 2.0, 1_000.0),
    "library, 500 a second": Subject(LIBRARY, 500, 1.0, 100.0),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What the process of all the services takes while they do nothing but beat."""

    cores: float
    """CPU seconds a second, user and system."""
    beats: float
    """Rows updated a second, as the server counts them."""

    @property
    def each(self) -> float:
        """CPU seconds a beat."""
        return self.cores / self.beats


@pytest.fixture
def own_postgresql() -> Iterator[Deployment]:
    """Beats needn't wait for the disk, nor be counted statement by statement, to cost the harness
    what they cost; and two cores have just enough for 5,000 of them a second."""
    with servers(ServerSpec("sql", synchronous_commit=False)) as deployment:
        engine = sa.create_engine(deployment.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for setting in ("pg_stat_statements.track = none", "track_io_timing = off"):
                connection.execute(sa.text(f"ALTER ROLE CURRENT_USER SET {setting}"))
        engine.dispose()
        yield deployment


def test_a_wire_beat_costs_less_than_half_of_the_librarys(
    benchmark: BenchmarkFixture,
    own_postgresql: Deployment,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The very statements and round trips of the library, in one run with it."""
    monkeypatch.chdir(pytestconfig.rootpath)  # the yardstick's process finds its module there
    with connect(own_postgresql.url) as membership:
        membership.groups()  # the table is made by whoever comes first, which no wire service is
    costs: Mapping[str, Cost] = benchmark.pedantic(_measure_all, args=(own_postgresql,))
    benchmark.extra_info.update({name: asdict(cost) for name, cost in costs.items()})
    with capsys.disabled():
        _show(costs)
    for name, subject in SUBJECTS.items():
        expected = subject.services / subject.interval
        assert costs[name].beats >= 0.95 * expected, f"{name}: the beats weren't reached"
    slow, fast, library = (costs[name].each for name in SUBJECTS)
    assert slow <= library * 160 / 365
    assert fast <= library * 110 / 365


def _measure_all(deployment: Deployment) -> Mapping[str, Cost]:
    return {
        name: _measure(subject, number, deployment)
        for number, (name, subject) in enumerate(SUBJECTS.items())
    }


def _measure(subject: Subject, number: int, deployment: Deployment) -> Cost:
    group = f"group-{number}"
    plan = ShardPlan(
        name=group,
        seed=number,  # of the rows' UUIDs, among other things
        url=deployment.url,
        config=SqlConfig(
            profile="nova",
            interval=subject.interval,
            timeout=TIMEOUT,
            poll=10.0,
            synchronous_commit=False,
        ),
        group=group,
        services=tuple(f"{group}-{n:06}" for n in range(subject.services)),
        join_at=tuple(n / subject.ramp for n in range(subject.services)),
        connections=CONNECTIONS,
    )
    [server] = deployment.servers
    with (
        statistics(server.name, deployment.url) as meter,
        hosted(subject.worker, plan) as shard,
    ):
        shard.begin(monotonic() + LEAD)
        deadline = monotonic() + RAMP_SECONDS
        while (live := attend(shard, TICK).live) < subject.services:
            assert monotonic() < deadline, f"only {live} services after {RAMP_SECONDS:.0f} s"
        attend(shard, SETTLE_SECONDS)
        started, cpu, updates = monotonic(), cpu_seconds(shard), _updates(meter)
        attend(shard, WINDOW_SECONDS)
        seconds = monotonic() - started
        cost = Cost((cpu_seconds(shard) - cpu) / seconds, (_updates(meter) - updates) / seconds)
        shard.close(goodbye=False)
    return cost


def _updates(meter: Meter) -> float:
    return next(reading.value for reading in meter.read() if reading.metric == "updates")


def _show(costs: Mapping[str, Cost]) -> None:
    table = Table(title="one beat of Nova's: select and update in a transaction")
    library = costs[list(SUBJECTS)[-1]]
    for column in ("", "beats/s", "% of a core", "us a beat", "of the library's"):
        table.add_column(column, justify="right")
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{cost.beats:,.0f}",
            f"{100 * cost.cores:.1f}",
            f"{1e6 * cost.each:.0f}",
            f"{100 * cost.each / library.each:.0f}%",
        )
    console = Console()
    console.print()
    console.print(table)
