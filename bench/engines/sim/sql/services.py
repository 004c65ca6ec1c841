"""The services of a database: they join, beat, and are hit. What both speeds have in common.

A service beats at a fixed cadence. A beat that ends after the next ones were due skips these. What
fell due while the service couldn't beat goes out as soon as it can.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

import numpy as np

from bench.costs import SqlCosts
from bench.engines.sim.course import LEAD, Spell, Strike, spells, strikes
from bench.engines.sim.ledger import Ledger, Numbers
from bench.engines.sim.noise import Noise
from bench.engines.sim.outages import Backoff, Outage
from bench.engines.sim.path import Path
from bench.engines.sim.sql.lines import CONNECT, Lines, Sent
from bench.engines.sim.sql.queue import Queue
from bench.engines.sim.sql.rows import Rows, Skew
from bench.engines.sim.tcp import PROBE, reached
from bench.plan import Floats, OnLinks, OnServices, Run
from bench.result import Kind
from bench.scenario import SqlBackend

FIRST_BEAT = 5.0
"""Nova's initial delay, in s, or the interval where that is shorter."""
BACKOFF = Backoff(0.1, 1.0)
NOTICED = 1e-3
"""The longest until a client knows of its broken connection, in s."""
SERVER = "pg"
PUNCTUAL = 100
"""Of so many services each beat's lateness is kept."""

Trail = list[tuple[float, float]]
"""Beats of one service: sent, answered."""

FATAL = ("crash", "power-loss", "leave", "restart")
ONSETS = {
    "crash": Kind.CRASHED,
    "restart": Kind.CRASHED,
    "power-loss": Kind.POWER_LOST,
    "freeze": Kind.FROZEN,
    "cut": Kind.CUT,
    "loss": Kind.LOSSY,
    "delay": Kind.DELAYED,
}


@dataclass
class SqlServices(ABC):
    """All services of one run. ``simulate`` once, then read the rest."""

    run: Run
    costs: SqlCosts
    ledger: Ledger
    t0: float = field(init=False)
    end: float = field(init=False)
    rows: Rows = field(init=False)
    outages: tuple[Outage, ...] = field(init=False)
    lateness: list[tuple[float, float]] = field(default_factory=list)
    """When a beat was due, and how late it was sent."""
    trails: dict[int, Trail] = field(default_factory=dict)
    first_tokens: dict[int, int] = field(default_factory=dict)
    """Of those who have joined again."""
    _lines: dict[int, Lines] = field(default_factory=dict)
    """Of racks with bad links."""
    _packets: dict[int, int] = field(default_factory=dict)
    """How many random numbers each has drawn for its packets."""

    def __post_init__(self) -> None:
        run, backend = self.run, self.run.backend
        assert isinstance(backend, SqlBackend)
        self.backend = backend
        self.interval = backend.interval
        count = run.scenario.services.count
        seed, name, repeat = run.scenario.seed, run.backend_name, run.repeat
        self.noise = Noise(seed, name, repeat, "beats")
        self._losses = Noise(seed, name, repeat, "packets")
        self._own = Noise(seed, name, repeat, "services")
        self.joined = self._joins()
        self.t0 = max(run.ramp, float(self.joined.max())) + LEAD
        self.end = self.t0 + run.phases[-1].end
        self.spells = spells(run, self.t0)
        self.strikes = strikes(run, self.t0)
        self.outages = tuple(self._outages(self.strikes))
        self.rows = Rows(
            timeout=backend.timeout,
            wall=backend.profile == "nova",
            count=count,
            skews={
                service: Skew(spell.start, spell.end, spell.fault.offset)
                for service, hits in self.spells.items()
                for spell in hits
                if spell.kind == "skew" and isinstance(spell.fault, OnServices)
            },
        )
        everyone = np.arange(count)
        order = np.argsort(self.joined, kind="stable")
        self.tokens = np.empty(count, dtype=np.int64)
        self.tokens[order] = np.arange(1, count + 1)
        self.next_token = count + 1
        self.rows.join(self.joined, everyone, self.tokens.copy())
        beat = self.costs.nova if backend.profile == "nova" else self.costs.tuned
        self.exchanges = beat.exchanges
        self.queue = Queue(
            self.costs, beat, backend.connections, durable=backend.synchronous_commit
        )
        self.first_due = self.joined + self._first_beats()
        self.stops = np.full(count, np.inf)
        """When each stops for good, or until its new process has joined."""
        self.severed = np.full(count, np.inf)
        """What a service has under way then comes to nothing."""
        for service, hits in self.spells.items():
            for spell in hits:
                if spell.kind in FATAL:
                    self.stops[service] = self.severed[service] = spell.start
                elif spell.kind == "cut":
                    self.severed[service] = spell.start
        self.beats_by_second = np.zeros(int(self.end) + 2)
        self.punctual = max(1, count // PUNCTUAL)

    # --- joining

    def _joins(self) -> Floats:
        """When each join is answered: one after another, where many wait."""
        asked, between = self.run.join_at, self.costs.join
        turns = np.arange(len(asked)) * between
        started = np.maximum.accumulate(asked - turns) + turns
        latency = self.costs.join_latency * (0.5 + self._own.of(np.arange(len(asked)), 0))
        joined: Floats = started + latency
        return joined

    def _first_beats(self) -> Floats | float:
        if self.backend.profile == "nova":
            return min(self.interval, FIRST_BEAT)
        return self.run.beat_phase * self.interval

    def rejoin(self, service: int, restarted: float) -> float:
        """A new process of it has been started: it joins. When it beats first."""
        (spell,) = self.spells[service]
        assert isinstance(spell.fault, OnServices)
        if spell.fault.orderly:
            self.rows.leave(self._left(service, spell), service)
            restarted = max(restarted, self._left(service, spell))
        tried = self.sendable_now(service, restarted)
        if self.backend.profile == "tuned" and self.rows.token[service] >= 0:
            # It stands under the name of its own dead life, which has to be silent first.
            silent_at = float(self.rows.visible[service]) + self.backend.timeout
            if tried < silent_at:
                tried = self.sendable_now(service, tried + self.backend.timeout)
        joined = tried + self.costs.join_latency
        first = self._first_beats()
        phase = first if isinstance(first, float) else float(first[service])
        token, self.next_token = self.next_token, self.next_token + 1
        self.first_tokens.setdefault(service, int(self.tokens[service]))
        self.tokens[service] = token
        self.rows.rejoin(joined, service, token)
        self.stops[service] = self.severed[service] = np.inf
        tell = self.ledger.tell
        tell(restarted, Kind.RESTARTED, service, server=0)
        tell(restarted, Kind.JOINING, service, server=0)
        tell(joined, Kind.JOINED, service, token=token, server=0)
        return joined + phase

    # --- the server

    def _outages(self, strikes: Sequence[Strike]) -> list[Outage]:
        outages = []
        for strike in strikes:
            kind, up = strike.fault.kind, strike.end
            if kind == "kill":
                up += self.costs.recovery
            elif kind == "restart":
                up += self.costs.start
            outages.append(Outage(strike.start, up, hangs=kind == "pause"))
        return outages

    def next_break(self, t: float) -> tuple[float, float]:
        """When connections break next after ``t``, and when new ones are taken again."""
        breaks = [(each.down, each.up) for each in self.outages if each.down > t and not each.hangs]
        return min(breaks, default=(np.inf, np.inf))

    # --- beating

    def sendable_now(self, service: int, t: float) -> float:
        """That instant, or when it next has a connection, if the server is away."""
        for outage in self.outages:
            if not outage.hangs and outage.down <= t < outage.up:
                t = self.retry(service, outage.down, outage.up)
        return t

    def retry(self, service: int, broken: float, mended: float) -> float:
        """When it next has a connection, where all broke then: whenever its beat is due, it waits
        for those that the whole pool has been trying to open since."""
        return BACKOFF.after(broken + NOTICED * self._own.at(service, 2), mended)

    def retry_all(self, services: Numbers, broken: float, mended: float) -> Floats:
        """The same of many."""
        return BACKOFF.all_after(broken + NOTICED * self._own.of(services, 2), mended)

    def sendable(self, service: int, due: float) -> float:
        """When a beat that is due then goes out; infinity: never."""
        t = due
        while True:
            now = t
            for spell in self.spells.get(service, ()):
                if spell.start <= t < spell.end:
                    t = self._silent_until(service, spell, t)
            if t == np.inf:
                return t
            t = self.sendable_now(service, t)
            if t == now:
                return t if t < self.stops[service] else np.inf

    def _silent_until(self, service: int, spell: Spell, t: float) -> float:
        if spell.kind == "freeze":
            return spell.end
        if spell.kind == "cut":
            # Its connection fell silent with the first packet that it sent into the cut.
            silent = spell.start + PROBE * self._own.at(service, 1)
            patience = self.backend.timeout
            again = reached(silent, spell.end, patience=patience, attempt=CONNECT, pause=1.0)
            return max(t, again)
        return t

    def delayed(self, service: int, at: float) -> Sent | None:
        """What becomes of a beat then for its bad links, the server's work apart; None where its
        links are good."""
        for spell in self.spells.get(service, ()):
            if isinstance(spell.fault, OnLinks) and spell.start <= at < spell.end:
                rack = int(self.run.rack[service])
                if (lines := self._lines.get(rack)) is None:
                    lines = self._lines[rack] = Lines(
                        self.backend.connections, self.exchanges, self.backend.timeout
                    )
                return lines.beat(at, Path(spell, partial(self._draw, service)))
        return None

    def _draw(self, service: int) -> float:
        """The next random number of what happens to its packets."""
        number = self._packets[service] = self._packets.get(service, 0) + 1
        return self._losses.at(service, number)

    # --- the two speeds

    @abstractmethod
    def beat(self) -> None:
        """Let everybody beat until the end, and keep what `rows`, `trails`, `lateness` need."""

    def simulate(self) -> None:
        """The whole run; then the ground truth is told."""
        self._tell_joins()
        self.beat()
        for service, hits in self.spells.items():
            for spell in hits:
                if spell.kind == "leave" and spell.start < self.end:
                    self.rows.leave(self._left(service, spell), service)
        self.rows.end(self.end)
        for service, hits in self.spells.items():
            for spell in hits:
                if spell.start < self.end:
                    self._tell(service, spell)
        for strike, outage in zip(self.strikes, self.outages, strict=True):
            self._tell_outage(strike, outage)

    def restarts(self) -> list[tuple[float, int]]:
        """When new processes begin, in order; those of services that were restarted."""
        return sorted(
            (spell.end, service)
            for service, hits in self.spells.items()
            for spell in hits
            if spell.kind == "restart" and spell.end < self.end
        )

    def _left(self, service: int, spell: Spell) -> float:
        return self.sendable_now(service, spell.start) + self.costs.join_latency

    # --- the ground truth

    def _tell_joins(self) -> None:
        everyone = np.arange(len(self.joined))
        self.ledger.tell_all(self.run.join_at, Kind.JOINING, everyone, servers=0)
        self.ledger.tell_all(
            self.joined, Kind.JOINED, everyone, tokens=self.tokens.copy(), servers=0
        )

    def _tell(self, service: int, spell: Spell) -> None:
        token = self.first_tokens.get(service, int(self.tokens[service]))
        fault, trail = spell.fault, self.trails.get(service, [])

        def tell(t: float, kind: Kind, value: float = 0.0, detail: str | None = None) -> None:
            self.ledger.tell(t, kind, service, token=token, server=0, value=value, detail=detail)

        orderly = isinstance(fault, OnServices) and fault.orderly
        if spell.kind == "leave" or orderly:
            tell(spell.start, Kind.LEFT)
            return
        if isinstance(fault, OnServices) and spell.kind == "skew":
            tell(spell.start, Kind.SKEWED, fault.offset)
            if spell.end < self.end:
                tell(spell.end, Kind.UNSKEWED)
            return
        place = bisect_right(trail, spell.start, key=itemgetter(1)) - 1
        renewed = trail[place][0] if place >= 0 else float(self.run.join_at[service])
        tell(renewed, Kind.RENEWED, np.nan)
        if isinstance(fault, OnLinks):
            tell(spell.start, ONSETS[spell.kind], fault.rate or fault.delay, fault.direction)
            if spell.end < self.end:
                tell(spell.end, Kind.HEALED, 0.0, fault.direction)
            return
        tell(spell.start, ONSETS[spell.kind])
        if spell.kind == "freeze" and spell.end < self.end:
            tell(spell.end, Kind.RESUMED)
            after = bisect_right(trail, spell.end, key=itemgetter(1))
            if after < len(trail):
                tell(trail[after][0], Kind.RENEWED, np.nan)

    def _tell_outage(self, strike: Strike, outage: Outage) -> None:
        kinds = {
            "kill": Kind.SERVER_KILLED,
            "pause": Kind.SERVER_PAUSED,
            "restart": Kind.SERVER_STOPPED,
        }
        self.ledger.tell_of(
            outage.down, kinds[strike.fault.kind], SERVER, value=0.0, detail="primary"
        )
        if outage.up < self.end:
            self.ledger.tell_of(outage.up, Kind.SERVER_BACK, SERVER, value=outage.up - outage.down)
