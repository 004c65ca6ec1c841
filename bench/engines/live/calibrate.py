"""What this machine's servers cost: short runs of small scenarios, and what their records give.

Each cost per beat or ping is the slope between two loads, so that what a server uses anyhow falls
out. What no run shows (a client's own pauses, how fast servers take sessions back) keeps the stated
value, or is derived from what is nearest to it; `KEPT` says which.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import numpy as np
import pandas as pd
import psutil
import sqlalchemy as sa

from bench.calibration import (
    STATED,
    BeatCosts,
    Calibration,
    Machine,
    SqlCosts,
    Validity,
    ZooKeeperCosts,
)
from bench.engines.live.engine import execute
from bench.engines.live.provision import Deployment, ServerSpec, provision, zookeeper
from bench.errors import InvalidRun
from bench.plan import plan
from bench.progress import Listener
from bench.result import Kind, Record
from bench.scenario import loads
from membership import SqlConfig, connect

KEPT = ("sql.nova.exchanges", "sql.tuned.exchanges", "zookeeper.noticing", "zookeeper.retry_*")
"""Costs that are the clients' own, not the servers': as stated."""

SERVICES = 1_000
SLOW, FAST = 4.0, 1.0
"""Intervals between beats, in s."""
FEW, MANY = 500, 2_000
"""Sessions."""
CRASHED = 400

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
        synchronous_commit: true}}
"""

_ZOOKEEPER = """
version: 1
name: calibration
question: What does a ping cost?
seed: 1
services: {{count: {services}, ramp: 20000/s}}
observers: 3
phases:
  - settle: 6s
  - hold: 12s
  - fault: {{kind: crash, select: {{count: {crashed}}}}}
  - hold: 14s
  - fault: {{kind: kill, servers: leader, for: 5s}}
  - hold: 25s
backends:
  it: {{kind: zookeeper, servers: 3, session_timeout: 6s, tick: 2s}}
"""


def calibrate(where: str, listen: Listener) -> Calibration:
    """Measure this machine's servers; takes some minutes, and wants the machine for itself.

    Raises: MachineError and InvalidRun as any live run; InvalidRun where a cost can't be told from
    what else this machine did.
    """
    return Calibration(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=Machine.here(),
        sql=_sql(where, listen),
        zookeeper=_zookeeper(where, listen),
        valid=Validity(
            beats_per_second=SERVICES / FAST,
            sessions=MANY,
            rows=SERVICES,
            pings_per_second=MANY / 2.0,
        ),
    )


# --- the database


def _sql(where: str, listen: Listener) -> SqlCosts:
    costs = {}
    for profile in ("nova", "tuned"):
        runs = [
            _recorded(
                _SQL.format(
                    services=SERVICES, profile=profile, interval=f"{interval}s", fault=kind
                ),
                where,
                listen,
            )
            for interval, kind in ((SLOW, "restart"), (FAST, "kill"))
        ]
        costs[profile] = runs
    beats = SERVICES / FAST - SERVICES / SLOW

    def slope(profile: str, source: str, metric: str) -> float:
        slow, fast = (_rate(record, source, metric) for record in costs[profile])
        return _cost((fast - slow) / beats, f"a beat ({profile}) in {metric} of {source}")

    def beat(profile: str, exchanges: int) -> BeatCosts:
        return BeatCosts(
            exchanges=exchanges,
            client_cpu=slope(profile, "harness", "cpu_seconds"),
            server_cpu=slope(profile, "pg", "cpu_seconds"),
            # No slope: whole pages are logged at their first change, whatever the load.
            wal_bytes=_cost(
                _rate(costs[profile][1], "pg", "wal_bytes") * FAST / SERVICES,
                f"a beat ({profile}) in the log",
            ),
            network_bytes=slope(profile, "machine", "network_bytes"),
        )

    slow, fast = costs["nova"]
    nova = beat("nova", STATED.sql.nova.exchanges)
    with provision(ServerSpec(kind="sql"), where=where) as deployment:
        exchange, commit = asyncio.run(_exchanges(deployment.url))
        read, row, row_cpu = _reads(deployment)
    return SqlCosts(
        cores=float(psutil.cpu_count() or 1),
        round_trip=exchange,
        commit=commit,
        nova=nova,
        tuned=beat("tuned", STATED.sql.tuned.exchanges),
        join=_spacing(fast),
        join_latency=_latency(fast),
        read=read,
        read_row=row,
        read_row_cpu=row_cpu,
        start=_back(slow) - 1.0,
        recovery=_back(fast) - 1.0,
        idle_cores=max(0.0, _rate(slow, "pg", "cpu_seconds") - SERVICES / SLOW * nova.server_cpu),
        rss_bytes=_highest(slow, "pg", "rss_bytes"),
        rss_connection_bytes=STATED.sql.rss_connection_bytes,
    )


async def _exchanges(url: str) -> tuple[float, float]:
    """One round trip to an idle server, and how much longer a durable commit takes."""
    address = sa.make_url(url)
    connection = await asyncpg.connect(
        host=address.host, port=address.port, user=address.username, database=address.database
    )
    try:
        await connection.execute("CREATE TABLE probe (n int); INSERT INTO probe VALUES (0)")

        async def took(statement: str) -> float:
            times = []
            for _ in range(300):
                begun = time.monotonic()
                await connection.execute(statement)
                times.append(time.monotonic() - begun)
            return statistics.median(times)

        exchange = await took("SELECT 1")
        durable = await took("UPDATE probe SET n = n + 1")
        await connection.execute("SET synchronous_commit = off")
        loose = await took("UPDATE probe SET n = n + 1")
    finally:
        await connection.close()
    return exchange, _cost(durable - loose, "a durable commit")


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
    return empty, _cost((full - empty) / rows, "a row read"), _cost(cpu / rows, "a row read in CPU")


def _cpu(deployment: Deployment) -> float:
    total = 0.0
    for server in deployment.servers:
        for pid in server.pids:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                times = process.cpu_times()
                total += times.user + times.system
    return total


# --- the ensemble


def _zookeeper(where: str, listen: Listener) -> ZooKeeperCosts:
    few, many = (
        _recorded(_ZOOKEEPER.format(services=count, crashed=CRASHED), where, listen)
        for count in (FEW, MANY)
    )
    servers = ("zk-1", "zk-2", "zk-3")
    pings = (MANY - FEW) / _PING_PERIOD
    cpu = [sum(_rate(record, name, "cpu_seconds") for name in servers) for record in (few, many)]
    ping_cpu = _cost((cpu[1] - cpu[0]) / pings, "a ping in CPU")
    traffic = [_rate(record, "machine", "network_bytes") for record in (few, many)]
    memory = [
        sum(_highest(record, name, "rss_bytes") for name in servers) for record in (few, many)
    ]
    expiry, spacing = _expiries(many)
    elections = [t for record in (few, many) for t in _elections(record)]
    join = _spacing(many)
    with provision(ServerSpec(kind="zookeeper"), where=where) as deployment:
        exchange = _four_letters(deployment)
    return replace(
        STATED.zookeeper,
        round_trip=exchange,
        write=_latency(few) / 2 * 3 / 4,
        join=join,
        close=spacing / 2,
        event=spacing / 2,
        expiry=expiry,
        election_low=min(elections),
        election_high=max(elections),
        start=max(_back(record) - 5.0 for record in (few, many)),
        accept=join,
        client_cpu=_cost(
            (_rate(many, "harness", "cpu_seconds") - _rate(few, "harness", "cpu_seconds")) / pings,
            "a ping in the harness's CPU",
        ),
        ping_cpu=ping_cpu,
        idle_cores=max(0.0, cpu[0] - FEW / _PING_PERIOD * ping_cpu) / len(servers),
        rss_bytes=memory[0] / len(servers),
        rss_session_bytes=_cost((memory[1] - memory[0]) / (MANY - FEW), "a session in memory"),
        ping_bytes=_cost((traffic[1] - traffic[0]) / pings, "a ping in network traffic"),
    )


_PING_PERIOD = 6 / 3 - 0.205
"""Of the sessions in `_ZOOKEEPER`, on average."""


def _expiries(record: Record) -> tuple[float, float]:
    """From the edge of a bucket until an observer is told of the first death in it, and from one
    such event to the next, by the median of all buckets."""
    tick, epoch = record.parameters.tick, record.parameters.epoch
    if tick is None or epoch is None:
        raise InvalidRun("expiry can't be measured on servers whose clock isn't this machine's")
    events = record.events
    observer = record.observers[0]
    left = events[(events["kind"] == str(Kind.LEFT)) & (events["observer"] == observer)]
    told = left["t"].to_numpy(np.float64)
    bucket = np.floor((told + epoch) / tick)
    firsts, spacings = [], []
    for edge in np.unique(bucket):
        times = told[bucket == edge]
        firsts.append(float(times.min() + epoch - edge * tick))
        if len(times) > 10:
            spacings.append(float(np.ptp(times)) / (len(times) - 1))
    if not spacings:
        raise InvalidRun("no bucket of sessions expired: run it again")
    return statistics.median(firsts), statistics.median(spacings)


def _elections(record: Record) -> Iterator[float]:
    """From the leader's death until each observer had a connection and a fresh view again."""
    killed = _first(record, Kind.SERVER_KILLED)
    events = record.events
    fresh = events[(events["kind"] == str(Kind.FRESH)) & (events["t"] > killed)]
    for _, told in fresh.groupby("observer")["t"]:
        yield float(told.min()) - killed


def _four_letters(deployment: Deployment) -> float:
    """One question to an idle server, its connection included."""
    server = deployment.servers[0]
    times = []
    for _ in range(100):
        begun = time.monotonic()
        zookeeper.ask(server.host, server.port, "ruok")
        times.append(time.monotonic() - begun)
    return statistics.median(times)


# --- what records give


def _cost(value: float, what: str) -> float:
    """A cost that was measured. Raises: InvalidRun where more work seemed to cost nothing."""
    if not value > 0:
        raise InvalidRun(
            f"{what} came out as {value:.3g}: something else kept this machine busy, run the "
            "calibration again when it is quiet"
        )
    return value


def _recorded(text: str, where: str, listen: Listener) -> Record:
    (run,) = plan(loads(text, "calibration"))
    kept: list[Record] = []
    execute(run, where=where, keep=kept.append, listen=listen)
    if not kept or not kept[0].complete:
        raise InvalidRun(f"the calibration's run on {run.backend.kind} broke off: run it again")
    return kept[0]


def _series(record: Record, source: str, metric: str) -> pd.DataFrame:
    metrics = record.metrics
    found = metrics[(metrics["source"] == source) & (metrics["metric"] == metric)]
    if len(found) < 2:
        raise InvalidRun(f"{source} was not metered for {metric}: nothing can be calibrated")
    return found.sort_values("t")


def _rate(record: Record, source: str, metric: str) -> float:
    """How fast a counter grew in the first hold phase, a second."""
    events = record.events
    phases = events[events["kind"] == str(Kind.PHASE)].sort_values("t")
    start = float(phases["t"].iloc[1])
    stop = float(phases["t"].iloc[2])
    series = _series(record, source, metric)
    inside = series[series["t"].between(start, stop)]  # the next one may be of a new process
    if len(inside) < 2:
        raise InvalidRun(f"{source} was hardly metered for {metric}: run the calibration again")
    grown = float(inside["value"].iloc[-1] - inside["value"].iloc[0])
    return grown / float(inside["t"].iloc[-1] - inside["t"].iloc[0])


def _highest(record: Record, source: str, metric: str) -> float:
    return float(_series(record, source, metric)["value"].max())


def _first(record: Record, kind: Kind) -> float:
    found = record.events.loc[record.events["kind"] == str(kind), "t"]
    if found.empty:
        raise InvalidRun(f"no {kind} was recorded: run the calibration again")
    return float(found.min())


def _back(record: Record) -> float:
    """How long a server was gone, in s."""
    back = record.events[record.events["kind"] == str(Kind.SERVER_BACK)]
    if back.empty:
        raise InvalidRun("a server that was hit did not come back: run the calibration again")
    return float(back["value"].max())


def _joins(record: Record) -> tuple[pd.Series[float], pd.Series[float]]:
    truth = record.events[record.events["observer"].isna()]
    asked, answered = (
        truth[truth["kind"] == str(kind)].drop_duplicates("subject").set_index("subject")["t"]
        for kind in (Kind.JOINING, Kind.JOINED)
    )
    return asked, answered.reindex(asked.index)


def _spacing(record: Record) -> float:
    """Between two joins, where more are asked for than can be answered."""
    _, answered = _joins(record)
    return float(answered.max() - answered.min()) / (len(answered) - 1)


def _latency(record: Record) -> float:
    """Of a join on a server that is not yet busy: the quickest twentieth."""
    asked, answered = _joins(record)
    return float((answered - asked).quantile(0.05))
