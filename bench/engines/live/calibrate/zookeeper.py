"""What an ensemble costs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bench.calibration import STATED, ZooKeeperCosts
from bench.engines.live.calibrate import records
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.engines.live.provision import zookeeper as servers
from bench.errors import InvalidRun
from bench.progress import Listener
from bench.result import Kind, Record

FEW, MANY = 500, 2_000
"""Sessions."""
CRASHED = 400
NAMES = ("zk-1", "zk-2", "zk-3")
PING_PERIOD = 6 / 3 - 0.205
"""Of the sessions below, on average, in s."""
EARLY, LATE = 1, 4
"""Phases in which nothing happens but pings."""

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
  - hold: 12s
  - hold: 12s
  - fault: {{kind: kill, servers: leader, for: 5s}}
  - hold: 20s
  - fault: {{kind: kill, servers: leader, for: 5s}}
  - hold: 20s
  - fault: {{kind: kill, servers: leader, for: 5s}}
  - hold: 20s
backends:
  it: {{kind: zookeeper, servers: 3, session_timeout: 6s, tick: 2s}}
"""


def measure(where: str, listen: Listener) -> ZooKeeperCosts:
    """What an ensemble costs."""
    few, many = (records.recorded(text, where, listen) for text in scenarios())
    with provision(ServerSpec(kind="zookeeper"), where=where) as deployment:
        return costs(few, many, _four_letters(deployment))


def scenarios() -> Iterator[str]:
    """The two that are run: of few sessions, and of many."""
    for services in (FEW, MANY):
        yield _ZOOKEEPER.format(services=services, crashed=CRASHED)


def costs(few: Record, many: Record, round_trip: float) -> ZooKeeperCosts:
    """What follows from the records of `scenarios`."""
    pings = (MANY - FEW) / PING_PERIOD
    memory = [
        sum(records.highest(record, name, "rss_bytes") for name in NAMES) for record in (few, many)
    ]

    def slope(source: str, metric: str, what: str) -> float:
        grown = records.rate(many, source, metric) - records.rate(few, source, metric)
        return records.cost(grown / pings, f"a ping in {what}")

    ping_cpu = records.cost(
        (_cpu(many, LATE) - _cpu(few, LATE)) * len(NAMES) / pings, "a ping in CPU"
    )
    warmup = statistics.mean(_warmup(record, ping_cpu) for record in (few, many))
    late = _cpu(few, LATE) - _pings(FEW - CRASHED) * ping_cpu
    expiry, spacing = _expiries(many)
    elections = _range([t for record in (few, many) for t in _elections(record)])
    join = records.spacing(many)
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
        start=max(records.back(record) - 5.0 for record in (few, many)),
        accept=join,
        client_cpu=slope("harness", "cpu_seconds", "the harness's CPU"),
        ping_cpu=ping_cpu,
        idle_cores=max(0.0, late - warmup * _share(few, LATE)),
        warmup_cpu=warmup,
        rss_bytes=memory[0] / len(NAMES),
        rss_session_bytes=records.cost(
            (memory[1] - memory[0]) / (MANY - FEW), "a session in memory"
        ),
        ping_bytes=slope("machine", "network_bytes", "network traffic"),
    )


def _cpu(record: Record, phase: int) -> float:
    """Cores of one server, on average."""
    return statistics.mean(records.rate(record, name, "cpu_seconds", phase) for name in NAMES)


def _pings(sessions: int) -> float:
    """A second, for each server."""
    return sessions / PING_PERIOD / len(NAMES)


def _warmup(record: Record, ping_cpu: float) -> float:
    """What a server took besides, all in all: it took more early than late, and pings don't
    explain it."""
    fewer = _pings(CRASHED) * ping_cpu
    extra = _cpu(record, EARLY) - _cpu(record, LATE) - fewer
    return max(0.0, extra / (_share(record, EARLY) - _share(record, LATE)))


def _share(record: Record, phase: int) -> float:
    """Of what a new server takes besides, the share for each second of a phase, on average."""
    span, warmup = records.span(record, phase), STATED.zookeeper.warmup
    start, stop = (math.exp(-t / warmup) for t in span)
    return (start - stop) / (span[1] - span[0])


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
    """From each leader's death until the first observer had a fresh view again."""
    told = {
        kind: record.events.loc[record.events["kind"] == str(kind), "t"].sort_values()
        for kind in (Kind.SERVER_KILLED, Kind.FRESH)
    }
    for killed in told[Kind.SERVER_KILLED]:
        fresh = told[Kind.FRESH]
        if not (after := fresh[fresh > killed]).empty:
            yield float(after.iloc[0] - killed)


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
