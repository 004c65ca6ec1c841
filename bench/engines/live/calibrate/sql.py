"""What a database costs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import asyncpg
import psutil
import sqlalchemy as sa

from bench.calibration import STATED, BeatCosts, SqlCosts
from bench.engines.live.calibrate import records
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.progress import Listener
from bench.result import Record
from membership import SqlConfig, connect

SERVICES = 1_000
SLOW, FAST = 4.0, 1.0
"""Intervals between beats, in s."""
NARROW, WIDE = 8, 40
"""Connections that services share."""
SPARE = 3
"""Connections of the observer."""

_SQL = """
version: 1
name: calibration
question: What does a beat cost?
seed: 1
services: {{count: {services}, ramp: 20000/s}}
observers: 1
phases:
  - settle: 5s
  - hold: 12s
  - fault: {{kind: {fault}, servers: leader, for: 1s}}
  - hold: 12s
backends:
  it: {{kind: sql, profile: {profile}, interval: {interval}, timeout: 30s, poll: 5s,
        synchronous_commit: true, connections: {connections}}}
"""


@dataclass(frozen=True)
class Probes:
    """What one client finds on an idle server."""

    round_trip: float
    commit: float
    flush_cpu: float
    read: float
    read_row: float
    read_row_cpu: float


def measure(where: str, listen: Listener) -> SqlCosts:
    """What a database costs."""
    nova, tuned = (
        tuple(records.recorded(text, where, listen) for text in scenarios(profile))
        for profile in ("nova", "tuned")
    )
    with provision(ServerSpec(kind="sql"), where=where) as deployment:
        probes = Probes(*asyncio.run(_exchanges(deployment)), *_reads(deployment))
    return costs(nova, tuned, probes)


def scenarios(profile: str) -> Iterator[str]:
    """The two that are run: beats come slowly over few connections, and fast over many."""
    for interval, connections, fault in ((SLOW, NARROW, "restart"), (FAST, WIDE, "kill")):
        yield _SQL.format(
            services=SERVICES,
            profile=profile,
            interval=f"{interval}s",
            fault=fault,
            connections=connections,
        )


def costs(nova: Sequence[Record], tuned: Sequence[Record], probes: Probes) -> SqlCosts:
    """What follows from the records of `scenarios`."""
    slow, fast = nova
    memory = [records.highest(record, "pg", "rss_bytes") for record in nova]
    connection = records.cost((memory[1] - memory[0]) / (WIDE - NARROW), "a connection in memory")
    beat = _beat("nova", nova, probes)
    beating = beat.server_cpu * records.rate(slow, "pg", "updates")
    beating += probes.flush_cpu * records.rate(slow, "pg", "wal_syncs")
    return SqlCosts(
        cores=float(psutil.cpu_count() or 1),
        round_trip=probes.round_trip,
        commit=probes.commit,
        flush_cpu=probes.flush_cpu,
        nova=beat,
        tuned=_beat("tuned", tuned, probes),
        join=records.spacing(fast),
        join_latency=records.latency(fast),
        read=probes.read,
        read_row=probes.read_row,
        read_row_cpu=probes.read_row_cpu,
        start=records.back(slow) - 1.0,
        recovery=records.back(fast) - 1.0,
        idle_cores=max(0.0, records.rate(slow, "pg", "cpu_seconds") - beating),
        rss_bytes=max(0.0, memory[0] - (NARROW + SPARE) * connection),
        rss_connection_bytes=connection,
    )


def _beat(profile: str, runs: Sequence[Record], probes: Probes) -> BeatCosts:
    slow, fast = runs
    stated = STATED.sql.nova if profile == "nova" else STATED.sql.tuned

    def slope(source: str, metric: str) -> float:
        return records.rate(fast, source, metric) - records.rate(slow, source, metric)

    def cost(grown: float, what: str) -> float:
        return records.cost(grown / slope("pg", "updates"), f"a beat ({profile}) in {what}")

    # Beats that come fast share flushes, so these are counted by themselves.
    flushing = probes.flush_cpu * slope("pg", "wal_syncs")
    return BeatCosts(
        exchanges=stated.exchanges,
        client_cpu=cost(slope("harness", "cpu_seconds"), "the harness's CPU"),
        server_cpu=cost(slope("pg", "cpu_seconds") - flushing, "the server's CPU"),
        # No slope: whole pages are logged at their first change, whatever the load.
        wal_bytes=records.rate(fast, "pg", "wal_bytes") / records.rate(fast, "pg", "updates"),
        network_bytes=cost(slope("machine", "network_bytes"), "network traffic"),
    )


async def _exchanges(deployment: Deployment, *, times: int = 600) -> tuple[float, float, float]:
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


def _reads(deployment: Deployment, *, rows: int = 300, repeats: int = 40) -> tuple[float, ...]:
    """A read of an empty group, what each row adds, and what each costs the server."""
    with connect(deployment.url, SqlConfig(profile="tuned", timeout=60.0)) as membership:

        def took(group: str) -> float:
            begun = time.monotonic()
            for _ in range(repeats):
                membership.members(group)
            return (time.monotonic() - begun) / repeats

        empty = took("empty")
        for number in range(rows):
            membership.join("full", f"member-{number}")
        before = _cpu(deployment)
        full = took("full")
        cpu = (_cpu(deployment) - before) / repeats
    return (
        empty,
        records.cost((full - empty) / rows, "a row read"),
        records.cost(cpu / rows, "a row read in CPU"),
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
