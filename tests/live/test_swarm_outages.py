"""Wire services live through what happens to their servers and to their own process."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import psutil
import pytest
import sqlalchemy as sa

from bench.engines.live.muster import WORKERS
from bench.engines.live.provision import Deployment
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import Measurement, ShardPlan
from bench.kind import Kind
from membership import SqlConfig, ZooKeeperConfig, connect
from membership.testing import eventually

pytestmark = pytest.mark.alone

COUNT = 40
INTERVAL = 0.5


@contextmanager
def joined(kind: str, plan: ShardPlan) -> Iterator[HostedShard]:
    """A shard of wire services that are all members."""
    with hosted(WORKERS[kind, "wire"], plan) as shard:
        shard.begin(monotonic())
        eventually(lambda: shard.status().live == len(plan.services), 30)
        yield shard
        shard.close(goodbye=False)


def sessions(deployment: Deployment, url: str, *, source: str = "") -> ShardPlan:
    return ShardPlan(
        name="wire-0",
        url=url,
        config=ZooKeeperConfig(session_timeout=6.0),
        group="compute",
        services=tuple(f"compute-{number:06d}" for number in range(COUNT)),
        join_at=(0.0,) * COUNT,
        servers={f"{server.host}:{server.port}": server.name for server in deployment.servers},
        source=source,
    )


def rows(deployment: Deployment, url: str) -> ShardPlan:
    return ShardPlan(
        name="wire-0",
        url=url,
        config=SqlConfig(profile="tuned", interval=INTERVAL, timeout=20.0, poll=1.0),
        group="compute",
        services=tuple(f"compute-{number:06d}" for number in range(COUNT)),
        join_at=(0.0,) * COUNT,
        connections=4,
        servers={f"{server.host}:{server.port}": server.name for server in deployment.servers},
    )


def test_sessions_outlive_the_leader_and_go_on_elsewhere(mortal_ensemble: Deployment) -> None:
    """With their sessions: nobody loses its membership, and everybody has another server."""
    plan = sessions(mortal_ensemble, mortal_ensemble.url)
    [leader] = [server.name for server in mortal_ensemble.servers if server.role() == "leader"]
    with joined("zookeeper", plan) as shard:
        own = {event.subject for event in shard.drain().events if event.server == leader}
        assert own  # some of forty
        mortal_ensemble.control(leader).kill()
        killed = monotonic()
        [pid] = {shard.pid}

        def all_back() -> bool:
            connections = psutil.Process(pid).net_connections("tcp")
            return sum(each.status == psutil.CONN_ESTABLISHED for each in connections) == COUNT

        eventually(all_back, 20)
        sleep(max(0.0, killed + 14.0 - monotonic()))  # more than twice the session timeout
        log = shard.drain()
        assert [event for event in log.events if event.kind in (Kind.LOST, Kind.JOINED)] == []
        assert shard.status().live == COUNT
        assert shard.status().failed == ()
        last = [each for each in log.measurements if each.metric == "renewals"][-2:]
        # All came back in one moment and ping in step, every 2 s.
        assert sum(each.value for each in last) >= 2 * COUNT * 3 / 6.0 * 0.5


def test_rows_outlive_a_restart_of_the_database_and_their_beats_go_on(
    mortal_postgres: Deployment,
) -> None:
    connect(mortal_postgres.url).close()  # makes the tables, as an observer does in a run
    [server] = mortal_postgres.servers
    engine = sa.create_engine(mortal_postgres.url, poolclass=sa.NullPool)

    def beats() -> int:
        with engine.connect() as connection:
            query = sa.text("SELECT min(beat) FROM membership_members")
            return int(connection.execute(query).scalar_one())

    with joined("sql", rows(mortal_postgres, mortal_postgres.url)) as shard:
        eventually(lambda: beats() >= 2, 20)
        control = mortal_postgres.control(server.name)
        control.stop()
        sleep(3.0)
        control.start()
        before = beats()
        eventually(lambda: beats() >= before + 3, 20)
        log = shard.drain()
        assert [event for event in log.events if event.kind is Kind.LOST] == []
        assert shard.status().live == COUNT
        assert shard.status().failed == ()
        late = [each.value for each in log.measurements if each.metric == "lateness"]
        assert max(late) > 1.0  # those of the outage, and they say so


def test_sessions_come_from_the_source_address_that_is_asked_for(
    zookeeper: Deployment, zookeeper_url: str
) -> None:
    with joined("zookeeper", sessions(zookeeper, zookeeper_url, source="127.0.0.9")) as shard:
        connections = psutil.Process(shard.pid).net_connections("tcp")
        assert {each.laddr.ip for each in connections} == {"127.0.0.9"}
        assert len(connections) == COUNT


def test_more_sessions_than_open_files_are_refused_with_the_command_that_helps() -> None:
    program = """if True:
        import resource
        from bench.engines.live.swarm.process import hosted
        from bench.engines.live.swarm.shard import ShardPlan
        from bench.errors import MachineError
        from membership import ZooKeeperConfig

        plan = ShardPlan(
            name="wire-0",
            url="zookeeper://127.0.0.1:1/none",
            config=ZooKeeperConfig(),
            group="compute",
            services=tuple(f"compute-{number}" for number in range(300)),
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        try:
            with hosted("bench.engines.live.swarm.zookeeper:ZooKeeperShard", plan):
                print("made")
        except MachineError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "300 wire services want a socket each, and a process may have 256 files open here: "
        "sudo prlimit --pid $$ --nofile=400:400, or fewer services\n"
    )


def test_a_process_raises_its_own_limit_as_far_as_it_may(
    zookeeper: Deployment, zookeeper_url: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        with joined("zookeeper", sessions(zookeeper, zookeeper_url)) as shard:
            raised, _ = psutil.Process(shard.pid).rlimit(psutil.RLIMIT_NOFILE)
            assert raised >= COUNT + 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_shard_tells_each_second_how_long_it_stood_still_and_what_it_sent(
    postgres: Deployment, postgres_url: str
) -> None:
    connect(postgres_url).close()
    with joined("sql", rows(postgres, postgres_url)) as shard:
        sleep(3.0)
        before = shard.drain().measurements
        os.kill(shard.pid, signal.SIGSTOP)
        sleep(1.5)
        os.kill(shard.pid, signal.SIGCONT)
        sleep(2.5)
        after = shard.drain().measurements
        drained = shard.clock()
    assert len(_of(before, "loop_stall")) >= 2
    for stall in ("loop_stall", "gil_stall"):
        assert {each.unit for each in after if each.metric == stall} == {"s"}
        assert max(_of(before, stall)) < 1.0
        assert max(_of(after, stall)) > 1.0
    beats = sum(_of(before, "renewals")) + sum(_of(after, "renewals"))
    counted = sum(it.count for it in (*before, *after) if it.metric == "lateness")
    told = max(it.t for it in after if it.metric == "renewals")
    # Those of the second under way, which lasts longer where something else keeps the machine busy.
    assert abs(beats - counted) <= COUNT * math.ceil((drained - told) / INTERVAL)


def _of(measurements: list[Measurement], metric: str) -> list[float]:
    return [each.value for each in measurements if each.metric == metric]
