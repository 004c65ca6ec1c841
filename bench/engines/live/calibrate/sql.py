"""What a database costs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import asyncpg
import numpy as np
import psutil
import sqlalchemy as sa

from bench.calibration import STATED
from bench.costs import BeatCosts, SqlCosts, wakings
from bench.engines.live.calibrate import records
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.progress import Listener
from bench.result import Record
from membership import SqlConfig, connect

NARROW, WIDE = 8, 40
"""Connections that services share."""
POLL = 5.0
"""Between two reads of all rows, in s."""
SPARE = 3
"""Connections of the observer."""


@dataclass(frozen=True)
class Load:
    """Beats that come evenly, and what becomes of the server afterwards."""

    profile: str
    services: int
    interval: float
    """Between two beats of one service, in s."""
    connections: int
    fault: str | None = None

    @property
    def rate(self) -> float:
        """Beats a second."""
        return self.services / self.interval

    def scenario(self) -> str:
        """What is run. Nova beats as it joined, so that these joins come evenly too; the others
        come at once. The server's counters are up to 10 s late."""
        ramp = self.rate if self.profile == "nova" else 20_000
        phases = ["settle: 12s", "hold: 12s"]
        if self.fault:
            phases += [f"fault: {{kind: {self.fault}, servers: leader, for: 1s}}", "hold: 9s"]
        return f"""
version: 1
name: calibration
question: What does a beat cost?
seed: 1
services: {{count: {self.services}, ramp: {ramp:g}/s}}
observers: 1
phases: [{", ".join(f"{{{phase}}}" for phase in phases)}]
backends:
  it: {{kind: sql, profile: {self.profile}, interval: {self.interval:g}s,
        timeout: 60s, poll: {POLL:g}s, synchronous_commit: true, connections: {self.connections}}}
"""


DRIP = Load("nova", 1_000, 20.0, NARROW)
SLOW = Load("nova", 1_000, 4.0, NARROW)
FAST = Load("nova", 1_000, 1.0, WIDE)
RARE = Load("tuned", 1_000, 20.0, NARROW)
RESTARTED = Load("tuned", 1_000, 4.0, NARROW, "restart")
KILLED = Load("tuned", 10_000, 5.0, WIDE, "kill")
LOADS = (DRIP, SLOW, FAST, RARE, RESTARTED, KILLED)

Runs = Mapping[Load, Record]
"""One round of `LOADS`."""
Pair = tuple[float, float]


@dataclass(frozen=True)
class Probes:
    """What one client finds on an idle server."""

    round_trip: float
    commit: float
    flush_cpu: float
    read: float
    read_row: float
    read_cpu: float
    read_row_cpu: float


def measure(where: str, listen: Listener) -> SqlCosts:
    """What a database costs."""
    rounds = [
        {load: records.recorded(load.scenario(), where, listen) for load in loads}
        # Mirrored: a machine that grows slower meanwhile does so to all loads alike.
        for loads in (LOADS, LOADS[::-1])
    ]
    with provision(ServerSpec(kind="sql"), where=where) as deployment:
        probes = Probes(*asyncio.run(_exchanges(deployment)), *_reads(deployment))
    return costs(rounds, probes)


def costs(rounds: Sequence[Runs], probes: Probes) -> SqlCosts:
    """What follows from the records of rounds of `LOADS`."""

    def mean(of: Callable[[Record], float], load: Load) -> float:
        return statistics.mean(of(runs[load]) for runs in rounds)

    def rss(record: Record) -> float:
        return records.highest(record, "pg", "rss_bytes")

    memory = [mean(rss, load) for load in (SLOW, FAST)]
    connection = records.cost((memory[1] - memory[0]) / (WIDE - NARROW), "a connection in memory")

    def server_cpu(record: Record) -> float:
        flushes = probes.flush_cpu * records.rate(record, "pg", "wal_syncs")
        return records.rate(record, "pg", "cpu_seconds") - flushes

    def client_cpu(record: Record) -> float:
        return records.rate(record, "harness", "cpu_seconds")

    idle, server = _cpu_costs(rounds, server_cpu, "the server's CPU")
    _, client = _cpu_costs(rounds, client_cpu, "the harness's CPU")
    return SqlCosts(
        cores=float(psutil.cpu_count() or 1),
        round_trip=probes.round_trip,
        commit=probes.commit,
        flush_cpu=probes.flush_cpu,
        awake=STATED.sql.awake,
        nova=_beat(STATED.sql.nova, client["nova"], server["nova"], rounds, (SLOW, FAST)),
        tuned=_beat(
            STATED.sql.tuned, client["tuned"], server["tuned"], rounds, (RESTARTED, KILLED)
        ),
        join=mean(records.spacing, KILLED),
        join_latency=mean(records.latency, SLOW),
        read=probes.read,
        read_row=probes.read_row,
        read_cpu=probes.read_cpu,
        read_row_cpu=probes.read_row_cpu,
        start=mean(records.back, RESTARTED) - 1.0,
        recovery=mean(records.back, KILLED) - 1.0,
        idle_cores=idle,
        rss_bytes=max(0.0, memory[0] - (NARROW + SPARE) * connection),
        rss_connection_bytes=connection,
        yardstick=records.yardstick(record for runs in rounds for record in runs.values()),
    )


def _cpu_costs(
    rounds: Sequence[Runs], took: Callable[[Record], float], whose: str
) -> tuple[float, dict[str, Pair]]:
    """Cores while nobody beats, and of each profile's beats what one takes, and what waking does
    besides: those that come nearest to what all runs ``took``, each by its share."""
    rows, profiles = [], ("nova", "tuned")
    for load in (load for runs in rounds for load in runs):
        pair = (load.rate, wakings(load.rate, STATED.sql.awake))
        own = [pair if profile == load.profile else (0, 0) for profile in profiles]
        rows.append([1.0, *own[0], *own[1]])
    all_took = [records.cost(took(run), whose) for runs in rounds for run in runs.values()]
    (idle, *found), _ = records.nearest(np.array(rows), np.array(all_took), np.ones(len(rows)))
    return idle, {
        profile: (records.cost(beat, f"a beat ({profile}) in {whose}"), waking)
        for profile, beat, waking in zip(profiles, found[::2], found[1::2], strict=True)
    }


def _beat(
    stated: BeatCosts,
    client: Pair,
    server: Pair,
    rounds: Sequence[Runs],
    loads: tuple[Load, Load],
) -> BeatCosts:
    more = loads[1].rate - loads[0].rate
    reading = stated.row_bytes * (loads[1].services - loads[0].services) / POLL

    def rates(source: str, metric: str) -> list[float]:
        return [
            statistics.mean(records.rate(runs[load], source, metric) for runs in rounds)
            for load in loads
        ]

    def slope(source: str, metric: str, what: str, besides: float = 0.0) -> float:
        slow, fast = rates(source, metric)
        cost = (fast - slow - besides) / more
        return records.cost(cost, f"a beat ({loads[0].profile}) in {what}")

    return replace(
        stated,
        client_cpu=client[0],
        client_waking_cpu=client[1],
        server_cpu=server[0],
        waking_cpu=server[1],
        # No slope: whole pages are logged at their first change, whatever the load.
        wal_bytes=rates("pg", "wal_bytes")[1] / loads[1].rate,
        network_bytes=slope("machine", "network_bytes", "network traffic", reading),
    )


async def _exchanges(deployment: Deployment, *, times: int = 3_000) -> tuple[float, float, float]:
    """One round trip to an idle server, how much longer a durable commit takes, and how much more
    of its CPU."""
    address = sa.make_url(deployment.url)
    connection = await asyncpg.connect(
        host=address.host, port=address.port, user=address.username, database=address.database
    )
    try:
        await connection.execute("CREATE TABLE probe (n int); INSERT INTO probe VALUES (0)")

        async def took(statement: str) -> tuple[float, float]:
            took, before = [], _cpu(deployment)
            for _ in range(times):
                begun = time.monotonic()
                await connection.execute(statement)
                took.append(time.monotonic() - begun)
            return statistics.median(took), (_cpu(deployment) - before) / times

        exchange, _ = await took("SELECT 1")
        durable, durable_cpu = await took("UPDATE probe SET n = n + 1")
        await connection.execute("SET synchronous_commit = off")
        loose, loose_cpu = await took("UPDATE probe SET n = n + 1")
    finally:
        await connection.close()
    return (
        exchange,
        records.cost(durable - loose, "a durable commit"),
        records.cost(durable_cpu - loose_cpu, "a durable commit in CPU"),
    )


def _reads(
    deployment: Deployment, *, rows: int = 300, repeats: int = 1_000
) -> tuple[float, float, float, float]:
    """A read of an empty group, and what each row adds; the server's CPU for both."""
    with connect(deployment.url, SqlConfig(profile="tuned", timeout=60.0)) as membership:

        def took(group: str) -> tuple[float, float]:
            begun, before = time.monotonic(), _cpu(deployment)
            for _ in range(repeats):
                membership.members(group)
            return (time.monotonic() - begun) / repeats, (_cpu(deployment) - before) / repeats

        empty, empty_cpu = took("empty")
        for number in range(rows):
            membership.join("full", f"member-{number}")
        full, full_cpu = took("full")
    return (
        empty,
        records.cost((full - empty) / rows, "a row read"),
        records.cost(empty_cpu, "a read in the server's CPU"),
        records.cost((full_cpu - empty_cpu) / rows, "a row read in the server's CPU"),
    )


def _cpu(deployment: Deployment) -> float:
    total = 0.0
    for server in deployment.servers:
        for pid in server.pids:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                times = process.cpu_times()
                total += times.user + times.system
    return total
