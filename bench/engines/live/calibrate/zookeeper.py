"""What an ensemble costs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.calibration import STATED
from bench.costs import OF_A_JOIN, OF_A_LEAVE, ZooKeeperCosts, wakings, warmed_up
from bench.engines.live.calibrate import records
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.engines.live.provision import zookeeper as servers
from bench.errors import InvalidRun
from bench.plan import Floats
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
DOWN = 5.0
"""How long a leader is away, in s."""
BETWEEN = 12.0
"""From one leader's death to the next one's, in s."""
WARM_UP = 15_000
"""Sessions that have come and gone before the second round: its servers are older from the start
than those of the first ever get."""
GROWING_OLD = 75.0
"""How long servers are left to it that are asked little: whatever makes them older then is time."""
OLD = 14.0
"""At the end of a run: its servers have compiled what they do, and the leader that was away has
been back for a while, without clients: they stay where they went. In s."""

SOUGHT = tuple(
    (math.log(low), math.log(high)) for low, high in ((0.1, 10), (10, 1_000), (2_000, 200_000))
)
"""The logarithms between which `ZooKeeperCosts`' `young`, `youth` and `youth_transactions` are
looked for first."""

_HEAD = """
version: 1
name: calibration
question: What does a ping cost?
seed: 1
services: {{count: {services}, ramp: {ramp}/s}}
observers: 3
backends:
  it: {{kind: zookeeper, servers: 3, session_timeout: {timeout:g}s, tick: {tick:g}s,
        warm_up: {warm_up}}}
phases:
  - settle: 4s
  - hold: {hold:g}s
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
  - hold: {BETWEEN:g}s
"""
_END = """
  - hold: 14s
"""

Round = tuple[Record, Record]
"""Records of the two `scenarios`, in their order."""


@dataclass(frozen=True)
class _Run:
    """What the servers of a run have gone through by any instant."""

    record: Record
    warm_up: int

    def transactions(self, t: Floats) -> Floats:
        """How many there were by then, those of the warm-up with them."""
        joined, ended = self._changes
        seen = OF_A_JOIN * np.searchsorted(joined, t) + OF_A_LEAVE * np.searchsorted(ended, t)
        found: Floats = warmed_up(self.warm_up)[1] + seen.astype(np.float64)
        return found

    def flushes(self, t: Floats) -> Floats:
        """How often the log had been written, once for all that comes within `awake`."""
        steps = np.floor(np.concatenate(self._changes) / STATED.zookeeper.awake)
        return np.searchsorted(np.unique(steps) * STATED.zookeeper.awake, t).astype(np.float64)

    def age(self, server: str, since: float, t: Floats) -> tuple[Floats, Floats]:
        """How old the server is in s, and in transactions, that was there at the instant ``since``:
        as old as its warm-up at the beginning, or killed and started again."""
        killed = records.truth(self.record, Kind.SERVER_KILLED)
        deaths = killed.loc[(killed["subject"] == server) & (killed["t"] < since), "t"]
        if deaths.empty:
            return warmed_up(self.warm_up)[0] + t, self.transactions(t)
        born = deaths.max() + DOWN
        return t - born, self.transactions(t) - self.transactions(born)

    @cached_property
    def _changes(self) -> tuple[Floats, Floats]:
        joined, left, crashed = (
            records.truth(self.record, kind)["t"].to_numpy(np.float64)
            for kind in (Kind.JOINED, Kind.LEFT, Kind.CRASHED)
        )
        return joined, np.sort(np.concatenate((left, crashed)))


def measure(where: str, listen: Listener) -> ZooKeeperCosts:
    """What an ensemble costs."""
    # Mirrored: a machine that grows slower meanwhile does so to few sessions as to many.
    texts = (*scenarios(), *reversed(scenarios(WARM_UP)))
    few, many, warm_many, warm_few = (records.recorded(text, where, listen) for text in texts)
    with provision(ServerSpec(kind="zookeeper"), where=where) as deployment:
        return costs((few, many), (warm_few, warm_many), _four_letters(deployment))


def scenarios(warm_up: int = 0) -> tuple[str, str]:
    """The two that are run: of few sessions that join one by one, and of many that join at once; on
    servers that so many sessions have come to and left before."""
    settings = {"timeout": TIMEOUT, "tick": TICK, "warm_up": warm_up}
    few = _HEAD.format(services=FEW, ramp=100, hold=GROWING_OLD, **settings)
    many = _HEAD.format(services=MANY, ramp=20_000, hold=30, **settings)
    return few + _RESTARTS + 6 * _ELECTION + _END, many + _CRASHES + 3 * _ELECTION + _END


def costs(cold: Round, warm: Round, round_trip: float) -> ZooKeeperCosts:
    """What follows from the records of `scenarios`, the second time on warmed up servers."""
    rounds = (cold, warm)
    fews, manys = zip(*rounds, strict=True)
    runs = (*fews, *manys)
    pings = (MANY - FEW) / PING_PERIOD

    def slope(source: str, metric: str, what: str) -> float:
        grown = statistics.mean(
            records.rate(many, source, metric) - records.rate(few, source, metric)
            for few, many in rounds
        )
        return records.cost(grown / pings, f"a ping in {what}")

    def memory(of: Sequence[Record]) -> float:
        return statistics.mean(
            sum(records.highest(record, name, "rss_bytes") for name in NAMES) for record in of
        )

    expiry, spacing = _expiries(manys)
    aged = [_Run(run, 0) for run in cold] + [_Run(run, WARM_UP) for run in warm]
    low, high, election_session = _elections(runs)
    session = records.cost((memory(manys) - memory(fews)) / (MANY - FEW), "a session in memory")
    serving = _serving(aged)
    return replace(
        serving,
        election_cpu=_election_cpu(aged, serving),
        round_trip=round_trip,
        write=statistics.mean(map(records.latency, fews)) / 2 * 3 / 4,
        join=statistics.mean(map(records.spacing, manys)),
        # One after another, the slower of the two is what is seen.
        close=spacing,
        event=spacing,
        expiry=expiry,
        election_low=low,
        election_high=high,
        election_session=election_session,
        start=statistics.mean(map(records.back, runs)) - DOWN,
        client_cpu=slope("harness", "cpu_seconds", "the harness's CPU"),
        start_cpu=statistics.mean(
            records.first(record, name, "cpu_seconds") for record in cold for name in NAMES
        ),
        rss_bytes=max(0.0, memory(fews) - FEW * session) / len(NAMES),
        rss_session_bytes=session,
        ping_bytes=slope("machine", "network_bytes", "network traffic"),
        yardstick=records.yardstick(runs),
    )


def _serving(runs: Sequence[_Run]) -> ZooKeeperCosts:
    """What serving costs: the numbers that come nearest to what the servers of all runs took from
    each reading to the next, by its share, while they were young as when they weren't any more."""
    from scipy.optimize import brute  # not at import: it takes a second

    readings = np.concatenate([growth for run in runs for growth in _growths(run)])
    seconds, packets, transactions, flushes, served, seen, took = readings.T
    woken = wakings((packets + transactions) / seconds, STATED.zookeeper.awake) * seconds
    asked = np.column_stack((packets, woken, transactions, flushes))

    def fitted(logarithms: Floats) -> tuple[ZooKeeperCosts, float]:
        young, youth, youth_transactions = np.exp(logarithms).tolist()
        costs = replace(
            STATED.zookeeper, young=young, youth=youth, youth_transactions=youth_transactions
        )
        rows = np.column_stack((seconds, asked * costs.slowness(served, seen)[:, np.newaxis]))
        (idle, ping, waking, write, flush), apart = records.nearest(rows, took, seconds)
        costs = replace(
            costs,
            idle_cores=idle,
            ping_cpu=ping,
            waking_cpu=waking,
            write_cpu=write,
            flush_cpu=flush,
        )
        return costs, apart

    def off(logarithms: Floats) -> float:
        return fitted(logarithms)[1]

    costs, _ = fitted(brute(off, SOUGHT, Ns=8))
    records.cost(costs.ping_cpu, "a ping in CPU")
    records.cost(costs.flush_cpu, "a transaction in CPU")
    return costs


def _growths(run: _Run) -> Iterator[Floats]:
    """Of each server, from each reading of its packets to the next, before anybody dies and at the
    end: seconds, packets, transactions, flushes of the log, its age by their middle (seconds, and
    transactions), and CPU seconds."""
    record = run.record
    killed = records.truth(record, Kind.SERVER_KILLED)["t"].min()
    died = records.truth(record, Kind.CRASHED)["t"].min()  # NaN: nobody
    end = float(record.metrics["t"].max())
    for name in NAMES:
        packets, cpu = (
            records.series(record, name, metric) for metric in ("packets_received", "cpu_seconds")
        )
        for since, until in ((-np.inf, np.nanmin((killed, died))), (end - OLD, np.inf)):
            inside = packets[packets["t"].between(since, until)]
            t = inside["t"].to_numpy(np.float64)
            counters = (t, inside["value"], run.transactions(t), run.flushes(t))
            steps = [np.diff(np.asarray(counter, np.float64)) for counter in counters]
            ages = run.age(name, since, (t[1:] + t[:-1]) / 2)
            worked = np.interp(t, cpu["t"], cpu["value"])
            yield np.column_stack([*steps, *ages, np.diff(worked)])


def _election_cpu(runs: Sequence[_Run], costs: ZooKeeperCosts) -> float:
    """What the first election of each run took of the two servers that saw it, apart from what
    these costs say of their clients: later ones hit servers of all ages."""
    excess = []
    for run in runs:
        record = run.record
        killed = records.truth(record, Kind.SERVER_KILLED)
        since, until = killed["t"].iloc[0], killed["t"].iloc[1]
        survivors = [name for name in NAMES if name != killed["subject"].iloc[0]]
        sessions = _living(record) / len(survivors)
        rate = sessions / PING_PERIOD
        pinging = rate * costs.ping_cpu + wakings(rate, costs.awake) * costs.waking_cpu
        # Until each has a connection again, and its next ping is due.
        quiet = next(_lasted(record)) + costs.retry_high / 2 + PING_PERIOD
        served = (until - since - quiet) * pinging + sessions * costs.ping_cpu
        for name in survivors:
            cpu = records.series(record, name, "cpu_seconds")
            took = np.diff(np.interp((since, until), cpu["t"], cpu["value"])).item()
            slow = costs.slowness(*run.age(name, since, np.array([since, until]))).mean()
            excess.append(took - (until - since) * costs.idle_cores - slow * served)
    return records.cost(statistics.mean(excess), "an election in CPU")


def _expiries(runs: Sequence[Record]) -> tuple[float, float]:
    """From the edge of a bucket until an observer is told of the first death in it, and from one
    such event to the next, by the median of all buckets."""
    firsts, spacings = [], []
    for record in runs:
        tick, epoch = record.parameters.tick, record.parameters.epoch
        if tick is None or epoch is None:
            raise InvalidRun("expiry can't be measured on servers whose clock isn't this machine's")
        left = record.events[record.events["kind"] == str(Kind.LEFT)]
        told = left.loc[left["observer"] == record.observers[0], "t"].to_numpy(np.float64)
        bucket = np.floor((told + epoch) / tick)
        for edge in np.unique(bucket):
            times = told[bucket == edge]
            firsts.append(float(times.min() + epoch - edge * tick))
            if len(times) > 10:
                spacings.append(float(np.ptp(times)) / (len(times) - 1))
    if not spacings:
        raise InvalidRun("no bucket of sessions expired: run it again")
    return statistics.median(firsts), statistics.median(spacings)


def _elections(runs: Sequence[Record]) -> tuple[float, float, float]:
    """`ZooKeeperCosts`' `election_low`, `election_high` and `election_session`: by medians and
    quartiles, for a few elections last several times as long as all others."""
    from scipy.stats import theilslopes

    counts, times = np.array(
        [(_living(record), lasted) for record in runs for lasted in _lasted(record)]
    ).T
    session = max(0.0, float(theilslopes(times, counts).slope))
    lower, upper = np.quantile(times - counts * session, (0.25, 0.75)).tolist()
    beyond = (upper - lower) / 2
    return max(0.0, lower - beyond), upper + beyond, session


def _living(record: Record) -> int:
    """The sessions that see its elections."""
    return record.services - len(records.truth(record, Kind.CRASHED))


def _lasted(record: Record) -> Iterator[float]:
    """From each leader's death until clients were taken again: until the first observer had read
    the group anew, less its pause between two attempts, as long as the first of so many waits, and
    the time that it read."""
    again = record.events.loc[record.events["kind"] == str(Kind.RESYNCED), "t"].sort_values()
    pause = STATED.zookeeper.retry_high / (len(record.observers) + 1)
    reading = STATED.zookeeper.read_member * _living(record)
    for killed in records.truth(record, Kind.SERVER_KILLED)["t"]:
        if not (after := again[again > killed]).empty:
            yield max(0.0, float(after.iloc[0] - killed) - pause - reading)


def _four_letters(deployment: Deployment) -> float:
    """One question to an idle server, its connection included."""
    server = deployment.servers[0]
    times = []
    for _ in range(100):
        begun = time.monotonic()
        servers.ask(server.host, server.port, "ruok")
        times.append(time.monotonic() - begun)
    return statistics.median(times)
