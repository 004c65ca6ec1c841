"""What an ensemble costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.calibration import STATED, ZooKeeperCosts
from bench.engines.live.calibrate import records
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.engines.live.provision import zookeeper as servers
from bench.errors import InvalidRun
from bench.progress import Listener
from bench.result import Kind, Record

FEW, MANY = 1_000, 10_000
"""Sessions."""
CRASHED = 400
TIMEOUT, TICK = 10.0, 2.0
"""A session's, and the servers', in s."""
NAMES = ("zk-1", "zk-2", "zk-3")
PING_PERIOD = TIMEOUT / 3 - 0.205
"""Of these sessions, on average, in s."""
OF_A_JOIN, OF_A_LEAVE = 2, 1
"""Transactions: a session, and its node; the end of both."""
DOWN = 5.0
"""How long a leader is away, in s."""
OLD = 14.0
"""At the end of a run: its servers have compiled what they do, and the leader that was away has
been back for a while, without clients: they stay where they went. In s."""

_HEAD = """
version: 1
name: calibration
question: What does a ping cost?
seed: 1
services: {{count: {services}, ramp: {ramp}/s}}
observers: 3
backends:
  it: {{kind: zookeeper, servers: 3, session_timeout: {timeout:g}s, tick: {tick:g}s}}
phases:
  - settle: 4s
  - hold: 45s
"""
_RESTARTS = """
  - fault: {kind: restart, stop: leave, select: {fraction: 100%}, over: 10s, for: 500ms}
  - hold: 3s
"""
"""Transactions of servers that aren't young any more: else their cost is only ever seen mixed with
that of compiling."""
_CRASHES = f"""
  - fault: {{kind: crash, select: {{count: {CRASHED}}}}}
  - hold: 14s
"""
_ELECTION = f"""
  - fault: {{kind: kill, servers: leader, for: {DOWN:g}s}}
  - hold: 18s
"""
_END = """
  - hold: 8s
"""


def measure(where: str, listen: Listener) -> ZooKeeperCosts:
    """What an ensemble costs."""
    few, many = (records.recorded(text, where, listen) for text in scenarios())
    with provision(ServerSpec(kind="zookeeper"), where=where) as deployment:
        return costs(few, many, _four_letters(deployment))


def scenarios() -> tuple[str, str]:
    """The two that are run: of few sessions that join one by one, and of many that join at once."""
    few = _HEAD.format(services=FEW, ramp=100, timeout=TIMEOUT, tick=TICK)
    many = _HEAD.format(services=MANY, ramp=20_000, timeout=TIMEOUT, tick=TICK)
    return few + _RESTARTS + 5 * _ELECTION + _END, many + _CRASHES + 2 * _ELECTION + _END


def costs(few: Record, many: Record, round_trip: float) -> ZooKeeperCosts:
    """What follows from the records of `scenarios`."""
    pings = (MANY - FEW) / PING_PERIOD
    memory = [
        sum(records.highest(record, name, "rss_bytes") for name in NAMES) for record in (few, many)
    ]

    def slope(source: str, metric: str, what: str) -> float:
        grown = records.rate(many, source, metric) - records.rate(few, source, metric)
        return records.cost(grown / pings, f"a ping in {what}")

    expiry, spacing = _expiries(many)
    elections = _range([t for record in (few, many) for t in _elections(record)])
    join = records.spacing(many)
    session = records.cost((memory[1] - memory[0]) / (MANY - FEW), "a session in memory")
    idle, ping, waking, write, young, youth = _cpu_costs(few, many)
    return replace(
        STATED.zookeeper,
        round_trip=round_trip,
        write=records.latency(few) / 2 * 3 / 4,
        join=join,
        # One after another, the slower of the two is what is seen.
        close=spacing,
        event=spacing,
        expiry=expiry,
        election_low=elections[0],
        election_high=elections[1],
        start=max(records.back(record) - DOWN for record in (few, many)),
        client_cpu=slope("harness", "cpu_seconds", "the harness's CPU"),
        ping_cpu=ping,
        waking_cpu=waking,
        young_cpu=young,
        youth=youth,
        write_cpu=write,
        idle_cores=idle,
        start_cpu=statistics.mean(
            records.first(record, name, "cpu_seconds") for record in (few, many) for name in NAMES
        ),
        rss_bytes=max(0.0, memory[0] - FEW * session) / len(NAMES),
        rss_session_bytes=session,
        ping_bytes=slope("machine", "network_bytes", "network traffic"),
        yardstick=records.yardstick((few, many)),
    )


def _cpu_costs(few: Record, many: Record) -> tuple[float, float, float, float, float, float]:
    """`ZooKeeperCosts`' `idle_cores`, `ping_cpu`, `waking_cpu`, `write_cpu`, `young_cpu` and
    `youth`: those that come nearest to what the servers of both runs took from each reading to the
    next, by its share, while they were young as when they weren't any more."""
    from scipy.optimize import nnls  # not at import: it takes a second

    growths = np.concatenate([growth for run in (few, many) for growth in _growths(run)])
    seconds, packets, transactions, worked, old, took = growths.T
    asked = packets + transactions
    wakings = asked / (1 + asked / seconds * STATED.zookeeper.awake)
    # Readings of old servers are few, and all that tells youth from what stays: they count as much.
    weight = np.where(old > 0, ((old == 0).sum() / (old > 0).sum()) ** 0.5, 1.0) / took
    best: tuple[float, list[float], float] | None = None
    for youth in np.geomspace(0.5, 30.0, 45).tolist():
        columns = (seconds, packets, wakings, transactions, asked * np.exp(-worked / youth))
        found, off = nnls(np.column_stack(columns) * weight[:, np.newaxis], took * weight)
        if best is None or off < best[0]:
            best = off, found.tolist(), youth
    assert best is not None
    _, (idle, ping, waking, write, young_cpu), youth = best
    return (
        idle,
        records.cost(ping, "a ping in CPU"),
        waking,
        records.cost(write, "a transaction in CPU"),
        young_cpu,
        youth,
    )


def _growths(record: Record) -> Iterator[NDArray[np.float64]]:
    """Of each server, from each reading of its packets to the next, before anybody dies and at the
    end: seconds, packets, transactions, CPU seconds that it had taken by then in its life, whether
    it is old, and the CPU seconds that it took."""
    truth = record.events[record.events["observer"].isna()]
    joined, left, died = (
        np.sort(truth.loc[truth["kind"].isin(kinds), "t"].to_numpy(np.float64))
        for kinds in ([Kind.JOINED], [Kind.LEFT], [Kind.CRASHED, Kind.SERVER_KILLED])
    )
    end = float(record.metrics["t"].max())
    for name in NAMES:
        packets, cpu = (
            records.series(record, name, metric) for metric in ("packets_received", "cpu_seconds")
        )
        killed = truth.loc[
            (truth["kind"] == str(Kind.SERVER_KILLED)) & (truth["subject"] == name), "t"
        ]
        for since, until, old in ((-np.inf, died[0], 0.0), (end - OLD, np.inf, 1.0)):
            inside = packets[packets["t"].between(since, until)]
            t = inside["t"].to_numpy(np.float64)
            born = killed[killed < since].max()  # NaN: with the run
            others = 0.0 if pd.isna(born) else float(np.interp(born, cpu["t"], cpu["value"]))
            worked = np.interp(t, cpu["t"], cpu["value"]) - others
            transactions = OF_A_JOIN * np.searchsorted(joined, t) + OF_A_LEAVE * np.searchsorted(
                left, t
            )
            columns = (t, inside["value"].to_numpy(np.float64), transactions)
            middle = (worked[1:] + worked[:-1]) / 2
            steps = [np.diff(each) for each in columns]
            yield np.column_stack([*steps, middle, np.full_like(middle, old), np.diff(worked)])


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
    """From each leader's death until clients were taken again: until the first observer had read
    the group anew, less its pause between two attempts, as long as the first of so many waits."""
    told = {
        kind: record.events.loc[record.events["kind"] == str(kind), "t"].sort_values()
        for kind in (Kind.SERVER_KILLED, Kind.RESYNCED)
    }
    pause = STATED.zookeeper.retry_high / (len(record.observers) + 1)
    for killed in told[Kind.SERVER_KILLED]:
        again = told[Kind.RESYNCED]
        if not (after := again[again > killed]).empty:
            yield max(0.0, float(after.iloc[0] - killed) - pause)


def _range(drawn: Sequence[float]) -> tuple[float, float]:
    """The two ends between which these were drawn evenly, as far as so few can tell."""
    low, high, count = min(drawn), max(drawn), len(drawn)
    beyond = (high - low) / (count - 1)
    return max(0.0, low - beyond), high + beyond


def _four_letters(deployment: Deployment) -> float:
    """One question to an idle server, its connection included."""
    server = deployment.servers[0]
    times = []
    for _ in range(100):
        begun = time.monotonic()
        servers.ask(server.host, server.port, "ruok")
        times.append(time.monotonic() - begun)
    return statistics.median(times)
