"""Beats, one process a service: what the model says, at the speed of a simulator of events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from math import inf
from typing import Any

import simpy

from bench.engines.sim.outages import Outage
from bench.engines.sim.sql.services import SqlServices

AHEAD = 64
"""So many random numbers of a service are looked up together."""


@dataclass
class PlainSqlServices(SqlServices):
    """Each service is a process; ``events`` counts what SimPy did."""

    events: int = 0
    _latest: dict[int, tuple[float, float]] = field(default_factory=dict)
    """The last beat of each: when visible, and stamped when."""
    _seconds: Counter[int] = field(default_factory=Counter)
    """How many beats became visible in each second."""

    def beat(self) -> None:
        environment = simpy.Environment()
        for outage in self.outages:
            environment.process(self._outage(environment, outage))
        for service in range(len(self.first_due)):
            troubled = bool(self.outages) or service in self.spells
            live = self._live_troubled if troubled else self._live
            environment.process(live(environment, service))
        environment.run(until=self.end)
        self.events += next(environment._eid)  # so many were scheduled
        for service, beat in self._latest.items():
            self.rows.catch_up(service, *beat)
        last = len(self.beats_by_second) - 1
        for second, beats in self._seconds.items():
            self.beats_by_second[min(second, last)] += beats

    def _outage(
        self, environment: simpy.Environment, outage: Outage
    ) -> Generator[simpy.Event, Any, None]:
        yield environment.timeout(outage.down)
        if outage.hangs:
            self.queue.stop_until(outage.up)
        elif outage.up < inf:
            yield environment.timeout(outage.up - environment.now)
            self.queue.reset(outage.up)

    def _live(
        self, environment: simpy.Environment, service: int
    ) -> Generator[simpy.Event, Any, None]:
        """A service that nothing ever happens to. Its row is told of what a reader could notice,
        and at the end of the last beat."""
        timeout, serve, latest = environment.timeout, self.queue.serve, self._latest
        seconds, interval, forgiven = self._seconds, self.interval, self.backend.timeout
        wall, watched = self.rows.wall, service % self.punctual == 0
        due = float(self.first_due[service])
        yield timeout(due)
        since = float(self.joined[service])
        number = 0
        while True:
            for noise in self.noise.run(service, number, AHEAD).tolist():
                sent, turn, visible, answered = serve(due, noise)
                if watched:
                    self.lateness.append((due, sent - due))
                if visible - since > forgiven:
                    if service in latest:
                        self.rows.catch_up(service, *latest[service])
                    self.rows.beat(service, visible, turn)
                latest[service] = (visible, turn)
                since = turn if wall else visible
                seconds[int(visible)] += 1
                yield timeout(answered - due)
                due += ((answered - due) // interval + 1) * interval
                yield timeout(due - answered)
            number += AHEAD

    def _live_troubled(
        self, environment: simpy.Environment, service: int
    ) -> Generator[simpy.Event, Any, None]:
        """One that is hit itself, or whose server is."""
        number = yield from self._beat_on(environment, service, float(self.first_due[service]), 0)
        for spell in self.spells.get(service, ()):
            if spell.kind == "restart" and spell.end < self.end:
                yield environment.timeout(spell.end - environment.now)
                due = self.rejoin(service, spell.end)
                yield from self._beat_on(environment, service, due, number)

    def _beat_on(
        self, environment: simpy.Environment, service: int, due: float, number: int
    ) -> Generator[simpy.Event, Any, int]:
        """Beat for as long as it lives; the number of the beat that would follow."""
        timeout = environment.timeout
        trail = self.trails.setdefault(service, []) if service in self.spells else None
        attempt = due
        while (at := self.sendable(service, attempt)) < self.end:
            yield timeout(at - environment.now)
            sent, turn, visible, answered = self.queue.serve(at, self.noise.at(service, number))
            late, later = self.delayed(service, number, at)
            visible, answered = visible + late, answered + later
            number += 1
            if service % self.punctual == 0 and at == due:
                self.lateness.append((due, sent - due))
            broken, mended = self.next_break(at)
            severed = self.severed[service]
            if visible <= broken and (visible <= severed or at > severed):
                self.rows.beat(service, visible, turn)
                self._seconds[int(visible)] += 1
            if answered > broken:
                yield timeout(max(broken - environment.now, 0.0))
                attempt = self.retry(service, broken, mended)
                continue
            yield timeout(answered - environment.now)
            if trail is not None:
                trail.append((sent, answered))
            due += ((answered - due) // self.interval + 1) * self.interval
            attempt = due
        return number
