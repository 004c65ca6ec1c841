"""What each fault does to a session: one process for each service that is hit."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from bench.engines.sim.course import Spell
from bench.engines.sim.noise import Noise
from bench.engines.sim.path import Path
from bench.engines.sim.zookeeper.pings import Sent
from bench.engines.sim.zookeeper.sessions import Sessions, Steps
from bench.plan import OnLinks, OnServices
from bench.result import Kind

WAKING = 2e-3
"""From a process's going on until its first ping, in s."""


@dataclass
class Troubles:
    """The faults of services and links."""

    of: Sessions
    _packets: Noise = field(init=False)
    _sent: dict[int, int] = field(default_factory=dict)
    """How many packets of each went over a bad link."""
    _anew: set[int] = field(default_factory=set)
    """Who knows that its session is over, and asks for another one."""

    def __post_init__(self) -> None:
        run = self.of.run
        self._packets = Noise(run.scenario.seed, run.backend_name, run.repeat, "packets")

    def suffer(self, service: int, hits: tuple[Spell, ...]) -> Steps:
        """All that happens to it, in order."""
        for spell in hits:
            yield self.of.until(spell.start)
            match spell.kind:
                case "crash" | "power-loss":
                    self._die(service, spell.kind)
                case "leave":
                    self.of.tell(self.of.now, Kind.LEFT, service, value=0.0)
                    self.of.ended.add(service)
                    self.of.leave(service)
                case "restart":
                    yield from self._restart(service, spell)
                case "freeze":
                    yield from self._freeze(service, spell)
                case "skew":
                    yield from self._skew(service, spell)
                case _:
                    yield from self._bad_link(service, spell)

    def _silence(self, service: int) -> Sent | None:
        """It falls silent, if it isn't already; the last renewal that was answered is told."""
        of = self.of
        if of.pings.base[service] == math.inf:
            return None
        sent = of.silence(service)
        answered = sent.last if sent.last + of.costs.round_trip <= of.now else sent.before
        if answered > -math.inf:
            of.tell(answered, Kind.RENEWED, service)
        return sent

    def _die(self, service: int, kind: str) -> None:
        of = self.of
        self._silence(service)
        of.tell(
            of.now, Kind.POWER_LOST if kind == "power-loss" else Kind.CRASHED, service, value=0.0
        )
        of.ended.add(service)

    def _restart(self, service: int, spell: Spell) -> Steps:
        of, fault = self.of, spell.fault
        assert isinstance(fault, OnServices)
        begins = spell.end
        if fault.orderly:
            of.tell(of.now, Kind.LEFT, service, value=0.0)
            of.leave(service)
            begins = max(begins, of.now + of.write_time)
        else:
            self._die(service, "crash")
        yield of.until(begins)
        of.ended.discard(service)
        of.ledger.tell(of.now, Kind.RESTARTED, service)
        of.ledger.tell(of.now, Kind.JOINING, service)
        back, server = of.admission.admit(service, of.now)
        of.move(service, server, back, anew=True)
        yield of.until(back)
        yield from of.join_again(service, lost=False)

    def _freeze(self, service: int, spell: Spell) -> Steps:
        of = self.of
        self._silence(service)
        of.tell(of.now, Kind.FROZEN, service, value=0.0)
        yield of.until(spell.end)
        of.tell(of.now, Kind.RESUMED, service, value=0.0)
        woken = of.now + WAKING
        if of.connected[service] and of.stands[service]:
            of.touch(service, woken)
            of.tell(woken, Kind.RENEWED, service)
            of.pings.begin(service, woken)
        else:
            of.environment.process(of.come_back(service, woken, recovering=True))

    def _skew(self, service: int, spell: Spell) -> Steps:
        """Nobody here compares two machines' clocks."""
        assert isinstance(spell.fault, OnServices)
        self.of.tell(self.of.now, Kind.SKEWED, service, value=spell.fault.offset)
        if spell.end < self.of.end:
            yield self.of.until(spell.end)
            self.of.tell(self.of.now, Kind.UNSKEWED, service, value=0.0)

    # --- links

    def _bad_link(self, service: int, spell: Spell) -> Steps:
        of, link = self.of, spell.fault
        assert isinstance(link, OnLinks)
        kind = {"cut": Kind.CUT, "loss": Kind.LOSSY, "delay": Kind.DELAYED}[link.kind]
        sent = self._silence(service)
        of.tell(of.now, kind, service, value=link.rate or link.delay, detail=link.direction)
        if spell.end < of.end:
            of.environment.process(self._healed(service, spell))
        if sent is not None:
            yield from self._ping_on(service, spell, sent)

    def _healed(self, service: int, spell: Spell) -> Steps:
        assert isinstance(spell.fault, OnLinks)
        yield self.of.until(spell.end)
        self.of.tell(self.of.now, Kind.HEALED, service, value=0.0, detail=spell.fault.direction)

    def _ping_on(self, service: int, spell: Spell, sent: Sent) -> Steps:
        """Ping over the bad link: an answer that isn't there by the next ping is given up."""
        of = self.of
        last, due, then = sent.last, sent.due, sent.then
        path = self._path(service, spell)
        while due < spell.end:
            there, back = path.exchange(due)
            if there <= then:
                yield of.until(there)
                self._heard(service, there)
            yield of.until(max(due, min(back, then)))
            if back <= then:
                last = due
            elif (last := (yield from self._reconnect(service, path))) == math.inf:
                return
            due, then = self._next(service, last)
        if of.stands[service]:
            of.touch(service, last)
            of.pings.begin(service, max(last, of.now))
        else:
            yield from of.come_back(service, of.now)

    def _heard(self, service: int, sent: float) -> None:
        """Something that it sent then has reached its server, and it goes on being silent."""
        if self.of.stands[service]:
            self.of.touch(service, sent)
            self.of.arm(service, -math.inf)

    def _next(self, service: int, last: float) -> tuple[float, float]:
        pings = self.of.pings
        number, stretch = 4 * self._count(service), int(pings.stretch[service])
        due = last + pings.period(service, stretch, number)
        return due, due + pings.period(service, stretch, number + 1)

    def _reconnect(self, service: int, path: Path) -> Generator[simpy.Event, Any, float]:
        """It tries one server after another, all of them and a pause, until it is a member again;
        when it last sent something then. Infinite: not before the run ends."""
        of = self.of
        of.connected[service] = False
        timeout, servers, pause = of.ensemble.timeout, of.ensemble.count, of.costs.retry_low
        begun, tried = of.now, 0
        while begun < of.end:
            met = path.handshake(begun, begun + timeout / (servers + 1))
            if met == math.inf:
                begun += timeout / (servers + 1)
            else:
                there, back = path.exchange(met)
                if there < (given_up := met + timeout / servers):
                    yield of.until(there)
                    self._heard(service, there)
                yield of.until(begun := min(back, given_up))
                if back < given_up:
                    back, server = of.admission.admit(service, back)
                    of.move(service, server, back)
                    yield of.until(back)
                    if of.stands[service]:
                        of.connected[service] = True
                        return met
                    if service not in self._anew:
                        of.tell(back, Kind.LOST, service)
                        self._anew.add(service)
                    else:
                        return (yield from self._join(service, path))
            tried += 1
            if tried % servers == 0:
                begun += pause * (0.6 + 0.8 * path.draw())
                pause = min(2 * pause, of.costs.retry_high)
        return math.inf

    def _join(self, service: int, path: Path) -> Generator[simpy.Event, Any, float]:
        """It has a new session, and makes its node."""
        of = self.of
        _, back = path.exchange(of.now)
        yield of.until(back)
        self._anew.discard(service)
        yield from of.join_again(service, lost=False)
        of.silence(service)
        return of.now

    def _path(self, service: int, spell: Spell) -> Path:
        return Path(spell, lambda: self._packets.at(service, self._count(service)))

    def _count(self, service: int) -> int:
        number = self._sent[service] = self._sent.get(service, 0) + 1
        return number
