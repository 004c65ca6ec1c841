"""The services of an ensemble: each a session with one node, and what becomes of it.

Sessions that nothing happens to only ping (`pings`). Whoever is hit, or whose server is, goes
through a process of its own: it falls silent, is expired at the edge of a bucket unless something
of it is heard in time, comes back, learns what happened, and joins again.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from bench.costs import ZooKeeperCosts
from bench.engines.sim.calendar import Calendar
from bench.engines.sim.course import LEAD, spells, strikes
from bench.engines.sim.ledger import Ledger, Numbers
from bench.engines.sim.noise import Noise
from bench.engines.sim.zookeeper.admission import Admission
from bench.engines.sim.zookeeper.ensemble import Ensemble
from bench.engines.sim.zookeeper.pings import BatchedPings, Pings, PlainPings, Sent
from bench.plan import Floats, Run
from bench.result import Kind
from bench.scenario import ZooKeeperBackend

Steps = Generator[simpy.Event, Any, None]

FIRST_TOKEN = 1 << 32
"""ZooKeeper's transaction ids count from here in a first term."""


@dataclass(frozen=True, slots=True)
class Move:
    """Clients that lost their connections, and have others."""

    t: Floats
    """When each lost its own."""
    old: NDArray[np.int16]
    """Their servers before."""
    back: Floats
    """When each has one again; infinite: never."""
    new: NDArray[np.int16]
    anew: bool = False
    """They are new processes: that they come is a join like any other."""


@dataclass
class Sessions:
    """All sessions of one run. ``simulate`` once, then read the rest."""

    run: Run
    costs: ZooKeeperCosts
    ledger: Ledger
    plain: bool
    born: list[tuple[Floats, Numbers, Numbers]] = field(default_factory=list)
    """Nodes that came: instants, services, tokens."""
    died: list[tuple[Floats, Numbers, Numbers]] = field(default_factory=list)
    """Nodes that went."""
    ended: set[int] = field(default_factory=set)
    """Those whose process is no more."""
    events: int = 0
    _came: list[tuple[float, int, int]] = field(default_factory=list)
    _went: list[tuple[float, int, int]] = field(default_factory=list)
    """Single nodes, until the end."""
    _moved: dict[bool, list[tuple[float, int, float, int]]] = field(
        default_factory=lambda: {False: [], True: []}
    )
    """Single moves, until then: the columns of `Move`, by its `anew`."""

    def __post_init__(self) -> None:
        run, backend = self.run, self.run.backend
        assert isinstance(backend, ZooKeeperBackend)
        seed, name, repeat = run.scenario.seed, run.backend_name, run.repeat
        count = run.scenario.services.count
        self.environment = Calendar()
        chance = Noise(seed, name, repeat, "ensemble")
        self.ensemble = Ensemble(backend, self.costs, chance, count)
        noise = Noise(seed, name, repeat, "pings")
        timeout = self.ensemble.timeout
        self.pings: Pings = (
            PlainPings(timeout, noise, count, self.environment)
            if self.plain
            else BatchedPings(timeout, noise, count)
        )
        self.own = Noise(seed, name, repeat, "sessions")
        everyone = np.arange(count)
        joined = self.joins(run.join_at, everyone)
        self.t0 = max(run.ramp, float(joined.max())) + LEAD
        self.end = self.t0 + run.phases[-1].end
        self.ensemble.suffer(strikes(run, self.t0))
        self.admission = Admission(self.ensemble, Noise(seed, name, repeat, "reconnecting"))
        self.spells = spells(run, self.t0)
        chosen = (self.own.of(everyone, 0) * self.ensemble.count).astype(np.int16)
        self.server: NDArray[np.int16] = chosen
        self.first_server = chosen.copy()
        self.moves: list[Move] = []
        order = np.argsort(joined, kind="stable")
        self.token = np.empty(count, dtype=np.int64)
        self.token[order] = FIRST_TOKEN + 1 + np.arange(count)
        self.tokens_given = count
        self.joined = joined
        self.armed = np.full(count, -np.inf)
        """When each session that is silent expires, as far as its own last words go."""
        self.heard = np.zeros(count, dtype=np.int64)
        """Counts when something was heard of a session again, or it ended: who waits for its
        expiry then waits in vain."""
        self.stands = np.ones(count, dtype=np.bool_)
        """Whether its node is there."""
        self.connected = np.ones(count, dtype=np.bool_)
        self.gone: dict[int, simpy.Event] = {}
        """Waited for by new processes that find the node of the old one."""

    def joins(self, asked: Floats, services: Numbers) -> Floats:
        """When joins that were asked for then are answered: one after another, where many are."""
        order = np.argsort(asked, kind="stable")
        turns = np.arange(len(asked)) * self.costs.join
        started = np.maximum.accumulate(asked[order] - turns) + turns
        joined = np.empty(len(asked))
        joined[order] = started
        answered: Floats = joined + 2 * self.write_time * (0.5 + self.own.of(services, 1))
        return answered

    @property
    def write_time(self) -> float:
        """A transaction, answered."""
        return self.costs.write * (1.0 if self.ensemble.count == 1 else 4 / 3)

    # --- the run

    def begin(self) -> None:
        """Everybody joins."""
        everyone = np.arange(len(self.token))
        self.ledger.tell_all(self.run.join_at, Kind.JOINING, everyone, servers=self.server)
        self.live(everyone, self.joined)

    def finish(self) -> None:
        """Let time pass until the end of the run."""
        self.environment.pass_until(self.end)
        for singles, all_of_them in ((self._came, self.born), (self._went, self.died)):
            if singles:
                t, services, tokens = zip(*singles, strict=True)
                all_of_them.append((np.array(t), np.array(services), np.array(tokens)))
        for anew, moved in self._moved.items():
            if moved:
                lost, old, back, new = (np.array(each) for each in zip(*moved, strict=True))
                self.moves.append(
                    Move(lost, old.astype(np.int16), back, new.astype(np.int16), anew)
                )
        self.events = self.environment.scheduled

    def until(self, t: float) -> simpy.Event:
        """The event of that instant; now, if it has passed."""
        return self.environment.timeout(max(0.0, t - self.environment.now))

    @property
    def now(self) -> float:
        return float(self.environment.now)

    # --- the life of a session

    def live_one(self, service: int, joined: float) -> None:
        """As `live`, of one."""
        self.tell(joined, Kind.JOINED, service)
        self._came.append((joined - self.ensemble.way, service, int(self.token[service])))
        self.stands[service] = self.connected[service] = True
        self.heard[service] += 1
        self.pings.begin(service, joined)

    def live(self, services: Numbers, joined: Floats) -> None:
        """Nodes that stand from then on, as their services are told then."""
        tokens = self.token[services]
        self.ledger.tell_all(
            joined, Kind.JOINED, services, tokens=tokens, servers=self.server[services]
        )
        self.born.append((joined - self.ensemble.way, services, tokens))
        self.stands[services] = True
        self.connected[services] = True
        self.heard[services] += 1
        self.pings.begin_all(services, joined)

    def silence(self, service: int) -> Sent:
        """From now on nothing is heard of it; what it has sent before."""
        sent = self.pings.stop(service, self.now)
        touched = self.ensemble.touched(int(self.server[service]), sent.last)
        self.arm(service, self.ensemble.expiry(touched))
        return sent

    def arm(self, service: int, deadline: float) -> None:
        """It will be expired then, unless something is heard of it."""
        self.armed[service] = max(float(self.armed[service]), deadline)
        self.environment.process(self._expire(service, int(self.heard[service])))

    def touch(self, service: int, sent: float) -> None:
        """Something that it sent then has reached its server."""
        self.heard[service] += 1
        self.armed[service] = self.ensemble.expiry(
            self.ensemble.touched(int(self.server[service]), sent)
        )

    def deadline(self, service: int, t: float) -> float:
        """When it expires if nothing is heard of it, as it looks then; infinite: not foreseen."""
        term = self.ensemble.term(t)
        if term is None:
            return np.inf
        due = max(float(self.armed[service]), self.ensemble.rearmed(t))
        for blow in self.ensemble.blows:
            if blow.server == term.leader and blow.kind == "pause" and blow.start <= due < blow.end:
                due = blow.end
        return due

    def _expire(self, service: int, heard: int) -> Steps:
        while True:
            due = self.deadline(service, self.now)
            if due == np.inf:
                return
            term = self.ensemble.term(self.now)
            if due <= self.now and term is not None and term.start <= self.now:
                break
            yield self.until(max(due, term.start if term is not None else due))
            if self.heard[service] != heard:
                return
            # Another leader may have armed it anew while we waited.
        self.end_session(service, self.now)

    def end_session(self, service: int, due: float) -> None:
        """Its session is closed, one after another of those that are due then."""
        gone = self.ensemble.close(due)
        self.heard[service] += 1
        self.stands[service] = False
        self._went.append((gone, service, int(self.token[service])))
        if (waiting := self.gone.pop(service, None)) is not None:
            waiting.succeed(gone)

    def leave(self, service: int) -> None:
        """It deletes its node and closes its session."""
        self.pings.stop(service, self.now)
        self.heard[service] += 1
        self.stands[service] = False
        gone = self.now + self.write_time / 2
        self._went.append((gone, service, int(self.token[service])))

    def move(self, service: int, server: int, back: float, *, anew: bool = False) -> None:
        """It goes to that server, and has a connection at ``back``; ``anew`` as of `Move`."""
        self._moved[anew].append((self.now, int(self.server[service]), back, server))
        self.server[service] = server

    def come_back(self, service: int, dropped: float, *, recovering: bool = False) -> Steps:
        """It has no connection since then, and looks for one."""
        self.connected[service] = False
        stretch = int(self.pings.stretch[service])
        back, server = self.admission.admit(service, dropped)
        yield self.until(back)
        if self.pings.stretch[service] != stretch or service in self.ended:
            return
        self.move(service, server, back)
        if not self.stands[service]:
            yield from self.join_again(service, lost=True)
            if recovering:
                self.tell(self.now, Kind.RENEWED, service)
            return
        self.connected[service] = True
        self.touch(service, back - self.ensemble.way)
        if recovering:
            self.tell(back - self.costs.round_trip, Kind.RENEWED, service)
        self.pings.begin(service, back)

    def join_again(self, service: int, *, lost: bool) -> Steps:
        """A new session and a new node, once the old one is gone."""
        if lost:
            self.tell(self.now, Kind.LOST, service)
        if self.stands[service]:
            self.gone[service] = self.environment.event()
            gone = yield self.gone[service]
            yield self.until(gone + self.costs.round_trip)
        joined = self.now + 2 * self.write_time
        self.tokens_given += 1
        self.token[service] = FIRST_TOKEN + self.tokens_given
        self.live_one(service, joined)
        yield self.until(joined)

    def rejoin(self, services: Numbers, joined: Floats) -> None:
        """New lives, in this order."""
        first = FIRST_TOKEN + 1 + self.tokens_given
        self.token[services] = first + np.arange(len(services))
        self.tokens_given += len(services)
        self.live(services, joined)

    def tell(self, t: float, kind: Kind, service: int, **more: Any) -> None:
        """Ground truth of one service, in its present life."""
        token = int(self.token[service])
        server = int(self.server[service])
        self.ledger.tell(t, kind, service, token=token, server=server, **more)
