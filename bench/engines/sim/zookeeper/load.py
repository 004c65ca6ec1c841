"""What the servers of an ensemble would have been metered at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.costs import OF_A_JOIN, OF_A_LEAVE, WARM_UP_RATE, ZooKeeperCosts, wakings, warmed_up
from bench.engines.sim.ledger import CLOCK
from bench.engines.sim.meters import Meters
from bench.engines.sim.zookeeper.ensemble import Ensemble
from bench.engines.sim.zookeeper.failover import server_name
from bench.engines.sim.zookeeper.sessions import Sessions
from bench.engines.sim.zookeeper.watchers import Changes
from bench.plan import Floats, Run
from bench.scenario import ZooKeeperBackend

OF_A_RETURN = 1.0
"""Requests: to go on with a session."""


def metered(run: Run, sessions: Sessions, changes: Changes, cores: float) -> Meters:
    """CPU, packets and memory of each server, second by second."""
    costs, ensemble, backend = sessions.costs, sessions.ensemble, run.backend
    assert isinstance(backend, ZooKeeperBackend)
    meters = Meters(run, sessions.end)
    seconds = int(sessions.end) + 2
    second = np.clip(changes.t, 0, seconds - 1).astype(np.int64)
    written = np.bincount(second, minlength=seconds).astype(np.float64)
    joins = np.bincount(second[changes.came], minlength=seconds).astype(np.float64)
    living = np.cumsum(np.bincount(second, np.where(changes.came, 1.0, -1.0), minlength=seconds))
    pings: Floats = living.astype(np.float64) * sessions.pings.rate
    shares, coming = _shares(sessions, seconds)
    flushes = _flushes(changes.t, costs.awake, seconds)
    age = Age(*warmed_up(backend.warm_up))
    before = costs.start_cpu + _warm_up(costs, backend)
    for server in range(ensemble.count):
        up, name = _up(ensemble, server, seconds), server_name(server)
        requests = shares[server] * (pings + OF_A_JOIN * joins) + OF_A_RETURN * coming[server]
        requests *= up  # clients notice a moment later
        asked = Asked(
            requests=requests,
            transactions=up * (written + OF_A_JOIN / 2 * joins),
            flushes=up * flushes,
            elections=up * _elections(ensemble, seconds),
        )
        cpu = _lives(ensemble, server, asked, age)
        meters.rate(name, "cpu_seconds", cpu, "s", before=before)
        meters.rate(name, "packets_received", requests, "packets")
        meters.rate(name, "packets_sent", requests, "packets")
        memory = costs.rss_bytes + living.max() * costs.rss_session_bytes / ensemble.count
        meters.gauge(name, "rss_bytes", memory, "bytes")
    meters.rate("machine", "network_bytes", pings * costs.ping_bytes, "bytes")
    meters.yardstick(costs.yardstick)
    meters.rate("harness", "cpu_seconds", pings * costs.client_cpu, "s")
    work = pings * costs.ping_cpu + joins * (ensemble.count * costs.write_cpu)
    late = _lateness(work, cores, costs.ping_cpu)[: seconds - 1]
    meters.samples("lateness", enumerate(late.tolist()), "s", source=CLOCK)
    return meters


@dataclass(frozen=True)
class Age:
    """How long a server has served, and how many transactions it has seen."""

    seconds: float = 0.0
    transactions: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What a server is asked to do in each second."""

    requests: Floats
    transactions: Floats
    flushes: Floats
    elections: Floats

    def within(self, seconds: slice) -> Asked:
        """Of these seconds only."""
        return Asked(
            self.requests[seconds],
            self.transactions[seconds],
            self.flushes[seconds],
            self.elections[seconds],
        )


def _flushes(written: Floats, awake: float, seconds: int) -> Floats:
    """How often in each second the log is written, where something was written at these instants:
    once for all that comes within ``awake`` s."""
    steps = np.unique(np.floor(written[written < seconds] / awake)) * awake
    return np.bincount(steps.astype(np.int64), minlength=seconds).astype(np.float64)


def _elections(ensemble: Ensemble, seconds: int) -> Floats:
    """How many elections end in each second; one server needs none."""
    terms = ensemble.terms[1:] if ensemble.count > 1 else []
    begun = np.array([term.start for term in terms if term.start < seconds])
    return np.bincount(begun.astype(np.int64), minlength=seconds).astype(np.float64)


def _shares(sessions: Sessions, seconds: int) -> tuple[Floats, Floats]:
    """Which share of all sessions pings each server in each second, and how many came to it then
    that had lost their connections."""
    ensemble, count = sessions.ensemble, len(sessions.token)
    period = 1 / sessions.pings.rate
    moved, coming = (np.zeros((ensemble.count, seconds)) for _ in range(2))
    moved[:, 0] = np.bincount(sessions.first_server, minlength=ensemble.count)
    for move in sessions.moves:
        left = move.t.astype(np.int64)
        np.subtract.at(moved, (move.old, np.minimum(left, seconds - 1)), 1.0)
        pinging = move.back + period < seconds
        since = (move.back[pinging] + period).astype(np.int64)
        np.add.at(moved, (move.new[pinging], since), 1.0)
        if not move.anew:
            here = move.back < seconds
            np.add.at(coming, (move.new[here], move.back[here].astype(np.int64)), 1.0)
    return np.cumsum(moved, axis=1) / count, coming


def _lives(ensemble: Ensemble, server: int, asked: Asked, age: Age) -> Floats:
    """CPU of a server in each second: of the one that was that old when the run began, and of those
    that were started in its place."""
    costs, seconds = ensemble.costs, len(asked.requests)
    restarts = [
        (blow.end - costs.start, blow.end)
        for blow in ensemble.blows
        if blow.server == server and blow.kind in ("kill", "restart") and blow.end < seconds
    ]
    cpu = np.zeros(seconds)
    for start, stop in pairwise([0, *(int(up) for _, up in restarts), seconds]):
        life = slice(start, stop)
        cpu[life] = _worked(costs, asked.within(life), Age() if start else age)
    for begun, up in restarts:
        starting = slice(max(int(begun), 0), int(up) + 1)
        cpu[starting] += costs.start_cpu / (starting.stop - starting.start)
    return cpu


def _warm_up(costs: ZooKeeperCosts, backend: ZooKeeperBackend) -> float:
    """CPU seconds that one server worked before the run, its start apart."""
    seconds = math.ceil(backend.warm_up / WARM_UP_RATE)
    each = np.full(seconds, (OF_A_JOIN + OF_A_LEAVE) * WARM_UP_RATE)
    flushes = wakings(each, costs.awake)
    warm_up = Asked(each / backend.servers, each, flushes, np.zeros(seconds))
    return float(_worked(costs, warm_up, Age()).sum())


def _worked(costs: ZooKeeperCosts, asked: Asked, age: Age) -> Floats:
    """What a server takes in each second that is that old before the first."""
    seconds: Floats = age.seconds + 0.5 + np.arange(len(asked.requests), dtype=np.float64)
    transactions: Floats = age.transactions + np.cumsum(asked.transactions) - asked.transactions / 2
    work = (
        asked.requests * costs.ping_cpu
        + wakings(asked.requests + asked.transactions, costs.awake) * costs.waking_cpu
        + asked.transactions * costs.write_cpu
        + asked.flushes * costs.flush_cpu
    )
    cpu: Floats = (
        costs.idle_cores
        + work * costs.slowness(seconds, transactions)
        + asked.elections * costs.election_cpu
    )
    return cpu


def _lateness(work: Floats, cores: float, each: float) -> Floats:
    """How late pings of each second are answered, in which so much ``work`` (CPU seconds) comes and
    a ping takes ``each``: they wait for the processors, and what these can't do is left to do."""
    left = np.cumsum(work - cores)
    backlog = left - np.minimum.accumulate(np.minimum(left, 0.0))
    busy = np.minimum(work / cores, 0.999)
    waiting: Floats = backlog / cores + each / cores * busy / (2 * (1 - busy))
    return waiting


def _up(ensemble: Ensemble, server: int, seconds: int) -> Floats:
    """Whether the server is up, 0 or 1, in each second."""
    up = np.ones(seconds)
    for blow in ensemble.blows:
        if blow.server == server and blow.kind != "cut":
            up[int(blow.start) : int(min(blow.end, seconds))] = 0.0
    return up
