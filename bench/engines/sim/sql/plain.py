"""Beats, one process a service: what the model says, at the speed of a simulator of events."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from bench.engines.sim.calendar import Calendar, Instants, Sleeper
from bench.engines.sim.noise import Ahead
from bench.engines.sim.outages import Outage
from bench.engines.sim.sql.services import BACKOFF, SqlServices


@dataclass
class PlainSqlServices(SqlServices):
    """Each service is a process; ``events`` counts what SimPy did."""

    events: int = 0

    def beat(self) -> None:
        calendar = Calendar()
        self._seconds = [0] * len(self.beats_by_second)
        """How many beats became visible in each; the last one: in that or later."""
        count = len(self.first_due)
        self._latest = [math.nan] * count, [math.nan] * count
        """The last beat of each that nothing happens to: when visible, and stamped when."""
        self._ahead = Ahead(self.noise, count, lambda draws: draws)
        for outage in self.outages:
            Sleeper(calendar, self._outage(outage), urgent=True)
        for service in range(count):
            troubled = bool(self.outages) or service in self.spells
            Sleeper(calendar, (self._live_troubled if troubled else self._live)(service))
        calendar.pass_until(self.end)
        self.events += calendar.scheduled
        visible, stamp = (np.array(each) for each in self._latest)
        beaten = np.flatnonzero(~np.isnan(visible))
        self.rows.catch_up(beaten, visible[beaten], stamp[beaten])
        self.beats_by_second += np.array(self._seconds)

    def _outage(self, outage: Outage) -> Instants:
        yield outage.down
        if outage.hangs:
            self.queue.stop_until(outage.up)
        elif outage.up < math.inf:
            yield outage.up
            self.queue.reset(outage.up)

    def _live(self, service: int) -> Instants:
        """A service that nothing ever happens to. Its row is told of what a reader could notice,
        and at the end of the last beat."""
        serve, seconds, (last_visible, last_stamp) = self.queue.serve, self._seconds, self._latest
        interval, forgiven = self.interval, self.backend.timeout
        wall, watched = self.rows.wall, service % self.punctual == 0
        since = float(self.joined[service])
        number = 0
        yield (due := float(self.first_due[service]))
        while True:
            for noise in self._ahead.of(service, number):
                sent, turn, visible, answered = serve(due, noise)
                if watched:
                    self.lateness.append((due, sent - due))
                if visible - since > forgiven:
                    if not math.isnan(last_visible[service]):
                        self.rows.catch_up(service, last_visible[service], last_stamp[service])
                    self.rows.beat(service, visible, turn)
                last_visible[service], last_stamp[service] = visible, turn
                since = turn if wall else visible
                try:
                    seconds[int(visible)] += 1
                except IndexError:
                    seconds[-1] += 1
                yield answered
                due += interval
                if answered >= due:
                    due += ((answered - due) // interval + 1) * interval
                yield due
            number += Ahead.COUNT

    def _live_troubled(self, service: int) -> Instants:
        """One that is hit itself, or whose server is."""
        number = yield from self._beat_on(service, float(self.first_due[service]), 0)
        for spell in self.spells.get(service, ()):
            if spell.kind == "restart" and spell.end < self.end:
                yield spell.end
                due = self.rejoin(service, spell.end)
                yield from self._beat_on(service, due, number)

    def _beat_on(self, service: int, due: float, number: int) -> Generator[float, None, int]:
        """Beat for as long as it lives; the number of the beat that would follow."""
        trail = self.trails.setdefault(service, []) if service in self.spells else None
        attempt, last = due, len(self._seconds) - 1
        while (at := self.sendable(service, attempt)) < self.end:
            yield at
            sent, turn, visible, answered = self.queue.serve(at, self.noise.at(service, number))
            given_up = math.inf
            if (sent_on := self.delayed(service, at)) is not None:
                visible, answered = visible - at + sent_on.visible, answered - at + sent_on.answered
                given_up = sent_on.given_up
            number += 1
            if service % self.punctual == 0 and at == due:
                self.lateness.append((due, sent - due))
            broken, mended = self.next_break(at)
            severed = self.severed[service]
            if visible < math.inf and visible <= broken and (visible <= severed or at > severed):
                self.rows.beat(service, visible, turn)
                self._seconds[min(int(visible), last)] += 1
            if min(answered, given_up) > broken:
                yield max(broken, at)
                attempt = self.retry(service, broken, mended)
                continue
            if given_up < math.inf:
                yield given_up
                attempt = given_up + BACKOFF.first
                continue
            yield answered
            if trail is not None:
                trail.append((sent, answered))
            due += ((answered - due) // self.interval + 1) * self.interval
            attempt = due
        return number
