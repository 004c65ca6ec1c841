"""What each fault does to a session: one process for each service that is hit."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from bench.engines.sim.course import (
    RETRANSMISSION,
    SYN_RETRANSMISSION,
    Spell,
    after_losses,
    losses,
    repeated,
)
from bench.engines.sim.noise import Noise
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
        back, of.server[service] = of.admission.admit(service, of.now)
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
            yield from self._ping_on(service, spell, link, sent)

    def _healed(self, service: int, spell: Spell) -> Steps:
        assert isinstance(spell.fault, OnLinks)
        yield self.of.until(spell.end)
        self.of.tell(self.of.now, Kind.HEALED, service, value=0.0, detail=spell.fault.direction)

    def _ping_on(self, service: int, spell: Spell, link: OnLinks, sent: Sent) -> Steps:
        """Ping over the bad link: an answer that isn't there by the next ping is given up."""
        of = self.of
        last, due, then = sent.last, sent.due, sent.then
        there = back = -np.inf
        while due < spell.end:
            # A packet overtakes no other one of its connection.
            there = max(there, self._arrival(service, spell, link, due, "out"))
            back = max(back, self._arrival(service, spell, link, there, "in"))
            if there <= then:
                yield of.until(there)
                if of.stands[service]:
                    of.touch(service, there)
                    of.arm(service, -np.inf)
            if back > then:
                yield of.until(then)
                connected = yield from self._reconnect(service, spell, link)
                if connected == np.inf:
                    return
                there = back = last = connected
                if not of.stands[service]:
                    yield from of.join_again(service, lost=True)
                    of.silence(service)
                    last = of.now
                else:
                    of.connected[service] = True
                    of.touch(service, connected)
                    of.arm(service, -np.inf)
            else:
                yield of.until(max(due, min(back, then)))
                last = due
            due, then = self._next(service, last)
        if of.stands[service]:
            of.touch(service, last)
            of.pings.begin(service, max(last, of.now))
        else:
            yield from of.come_back(service, of.now)

    def _next(self, service: int, last: float) -> tuple[float, float]:
        pings = self.of.pings
        number, stretch = 4 * self._count(service), int(pings.stretch[service])
        due = last + pings.period(service, stretch, number)
        return due, due + pings.period(service, stretch, number + 1)

    def _reconnect(
        self, service: int, spell: Spell, link: OnLinks
    ) -> Generator[simpy.Event, Any, float]:
        """From now on it tries one server after another; when it has a connection."""
        of = self.of
        of.connected[service] = False
        attempt = of.ensemble.timeout / of.ensemble.count
        begun = of.now
        while True:
            met = self._arrival(service, spell, link, begun, "out", SYN_RETRANSMISSION)
            met = self._arrival(service, spell, link, met, "in", SYN_RETRANSMISSION)
            met = self._arrival(service, spell, link, met, "out")
            met = self._arrival(service, spell, link, met, "in")
            if met < begun + attempt:
                break
            begun += attempt + of.costs.retry_high
            if begun > of.end:
                return np.inf
        back, server = of.admission.admit(service, met)
        yield of.until(back)
        of.server[service] = server
        return back

    def _arrival(
        self,
        service: int,
        spell: Spell,
        link: OnLinks,
        sent: float,
        way: str,
        pause: float = RETRANSMISSION,
    ) -> float:
        """When a packet arrives that is sent then: it is repeated until it comes through."""
        if link.direction not in (way, "both") or sent >= spell.end or sent == np.inf:
            return sent
        draw = self._packets.at(service, self._count(service))
        if link.kind == "cut":
            return repeated(sent, spell.end, pause)
        if link.kind == "delay":
            return sent + max(0.0, link.delay + link.jitter * (2 * draw - 1))
        arrived = sent + after_losses(losses(draw, link.rate), pause)
        return min(arrived, repeated(sent, spell.end, pause))

    def _count(self, service: int) -> int:
        number = self._sent[service] = self._sent.get(service, 0) + 1
        return number
