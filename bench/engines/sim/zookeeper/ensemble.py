"""The servers of an ensemble: who leads, who serves, and when a session expires.

What is done to servers is known beforehand, so the whole history of the ensemble is laid out before
the first service joins: its terms, and the breaks in which clients lose their connections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.costs import ZooKeeperCosts
from bench.engines.sim.course import Strike
from bench.engines.sim.noise import Noise
from bench.plan import Floats
from bench.scenario import ZooKeeperBackend
from membership.liveness import negotiated_timeout, zookeeper_expiry

SYNC_LIMIT = 5
"""Ticks after which a server that says nothing is given up by the others."""


@dataclass(frozen=True, slots=True)
class Term:
    """One leader's time, from when it serves. Everybody's sessions are armed anew at its start."""

    start: float
    end: float
    leader: int


@dataclass(frozen=True, slots=True)
class Blow:
    """One server is hit. ``silent``: it accepts but answers nothing, connections stay; ``cut``:
    it answers its clients, but the leader hears nothing of them; else connections break."""

    server: int
    start: float
    end: float
    kind: str
    role: str


@dataclass(frozen=True, slots=True)
class Break:
    """The connections to these servers end, within ``spread`` s."""

    t: float
    servers: tuple[int, ...]
    spread: float


@dataclass
class Ensemble:
    """The servers' history, and the rules of expiry on their clock."""

    backend: ZooKeeperBackend
    costs: ZooKeeperCosts
    noise: Noise
    sessions: int
    terms: list[Term] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = self.backend.servers
        self.tick = self.backend.tick
        self.timeout = negotiated_timeout(
            self.backend.session_timeout,
            self.tick,
            self.backend.min_session_timeout,
            self.backend.max_session_timeout,
        )
        self.epoch = round(1e6 * self.noise.at(0, 0), 6)
        """The servers' clock at the run's beginning."""
        self.way = self.costs.round_trip / 2
        self._closing = -math.inf
        first = int(self.noise.at(0, 1) * self.count)
        self.terms = [Term(-math.inf, math.inf, first)]

    # --- history

    def suffer(self, strikes: Sequence[Strike]) -> None:
        """Lay out what comes of these."""
        for strike in strikes:
            for server in self._chosen(strike):
                role = self.role(server, strike.start)
                back = strike.end
                if strike.fault.kind in ("kill", "restart"):
                    back += self.costs.start
                self.blows.append(Blow(server, strike.start, back, strike.fault.kind, role))
            self._lay_out()

    def _chosen(self, strike: Strike) -> list[int]:
        servers, choice = strike.fault.servers, strike.fault.choice
        everyone = [server for server in range(self.count) if self.is_up(server, strike.start)]
        leader = self.leader(strike.start)
        if isinstance(servers, tuple):
            return [number - 1 for number in servers]
        if servers == "leader":
            return everyone[:1] if leader is None else [leader]
        if servers == "follower":
            others = [server for server in everyone if server != leader]
            return [others[int(choice * len(others))]]
        if servers == "any":
            return [everyone[int(choice * len(everyone))]]
        if servers == "all":
            return everyone
        first = int(choice * self.count)
        return sorted((first + n) % self.count for n in range(self.count // 2 + 1))

    def _lay_out(self) -> None:
        """The terms and breaks that follow from all blows so far."""
        leader: int | None = self.terms[0].leader
        self.terms = [Term(-math.inf, math.inf, self.terms[0].leader)]
        self.breaks = []
        edges = sorted({t for blow in self.blows for t in (self._given_up(blow), blow.end)})
        for t in (edge for edge in edges if edge < math.inf):
            able = [server for server in range(self.count) if not self._is_out(server, t)]
            quorum = len(able) > self.count // 2
            hit = {b.server for b in self.blows if self._given_up(b) == t < b.end}
            if leader is not None and (leader in hit or not quorum):
                # All drop their clients when there is no leader any more.
                last = self.terms[-1]
                self.terms[-1] = Term(last.start, t, last.leader)
                everyone = tuple(range(self.count))
                self.breaks.append(Break(t, everyone, self.costs.noticing))
                leader = None
            elif hit:
                self.breaks.append(Break(t, tuple(sorted(hit)), 1e-3))
            if leader is None and quorum and not self._electing(t):
                drawn = self.noise.at(1, len(self.terms))
                low, high = self.costs.election_low, self.costs.election_high
                leader = able[int(self.noise.at(2, len(self.terms)) * len(able))]
                start = t + low + (high - low) * drawn
                start += self.sessions * self.costs.election_session
                if self.count == 1:
                    start = t
                self.terms.append(Term(start, math.inf, leader))

    def _electing(self, t: float) -> bool:
        return self.terms[-1].start > t

    def _given_up(self, blow: Blow) -> float:
        """When the others, and its clients, know that it is gone; infinite: never."""
        if blow.kind in ("kill", "restart"):
            return blow.start
        limit = blow.start + SYNC_LIMIT * self.tick
        return limit if limit < blow.end and self.count > 1 else math.inf

    def _is_out(self, server: int, t: float) -> bool:
        return any(b.server == server and self._given_up(b) <= t < b.end for b in self.blows)

    def is_up(self, server: int, t: float) -> bool:
        """Whether it runs and answers its clients."""
        return not any(
            b.server == server
            and (b.start <= t < b.end if b.kind != "cut" else self._given_up(b) <= t < b.end)
            for b in self.blows
        )

    def leader(self, t: float) -> int | None:
        """Who leads then; None in an election or without a majority."""
        return next((term.leader for term in self.terms if term.start <= t < term.end), None)

    def role(self, server: int, t: float) -> str:
        if self.count == 1:
            return "standalone"
        return "leader" if self.leader(t) == server else "follower"

    def serving(self, t: float) -> tuple[int, ...]:
        """The servers that take clients then: that takes a leader who answers."""
        leader = self.leader(t)
        if leader is None or not self.is_up(leader, t):
            return ()
        return tuple(
            server
            for server in range(self.count)
            if self.is_up(server, t) and not self._is_out(server, t)
        )

    def opens(self, t: float) -> float:
        """The first instant from then on at which clients are taken; infinite: never."""
        later = sorted({t, *(x.start for x in self.terms), *(b.end for b in self.blows)})
        return next((edge for edge in later if edge >= t and self.serving(edge)), math.inf)

    def term(self, t: float) -> Term | None:
        """The term of that instant, or else the next."""
        return next((term for term in self.terms if t < term.end), None)

    # --- expiry

    def touched(self, server: int, sent: float) -> float:
        """When the leader learns that a session sent something to its server; never, where that
        one is silent or cut off by then."""
        if sent == -math.inf:
            return sent
        arrived = sent + self.way
        for blow in self.blows:
            if blow.server == server and blow.start <= arrived < blow.end:
                return -math.inf if blow.kind != "pause" else self._after_pause(blow)
        leader = self.leader(arrived)
        if leader is None or leader == server:
            return arrived
        half = self.tick / 2
        phase = half * self.noise.at(3, self.terms.index(self._term_of(leader, arrived)))
        told = phase + math.ceil((arrived - phase) / half) * half
        if any(
            blow.server == server and blow.start <= told < blow.end and blow.kind != "pause"
            for blow in self.blows
        ):
            return -math.inf
        return told + self.way

    def _after_pause(self, blow: Blow) -> float:
        return blow.end if self._given_up(blow) == math.inf else -math.inf

    def _term_of(self, leader: int, t: float) -> Term:
        return next(x for x in self.terms if x.leader == leader and x.start <= t < x.end)

    def expiry(self, touched: float) -> float:
        """When a session expires that the leader last heard of then."""
        if touched == -math.inf:
            return touched
        return zookeeper_expiry(self.epoch + touched, self.timeout, self.tick) - self.epoch

    def rearmed(self, t: float) -> float:
        """When sessions expire that were armed by the leader of that time when it began."""
        term = self.term(t)
        return self.expiry(term.start) if term is not None else math.inf

    def close(self, due: float) -> float:
        """A session is closed that is due then: when its node is gone. One after another."""
        self._closing = max(due, self._closing) + self.costs.close
        return self._closing

    def close_all(self, due: Floats) -> Floats:
        """The same of many, in order."""
        turns = np.arange(1, len(due) + 1) * self.costs.close
        first = np.maximum.accumulate(due - turns + self.costs.close)
        gone: Floats = np.maximum(first, self._closing) + turns
        if len(gone):
            self._closing = float(gone[-1])
        return gone
