"""Beats, a window at a time: those that one process a service gives, at the speed of numpy.

Nothing that a later beat does changes an earlier one. So all beats of a window are put in the order
of their coming and served together; a window is no longer than the interval, so each service has
one place of its cadence in it. Whether it beats there depends on whether its last beat has ended.
That one lies in an earlier window, but where it went out of turn (after a freeze, a cut or an
outage): then the window is served up to that place before it is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.engines.sim.ledger import Numbers
from bench.engines.sim.sql.queue import Served
from bench.engines.sim.sql.services import BACKOFF, FATAL, SqlServices
from bench.plan import Floats

Flags = NDArray[np.bool_]


@dataclass(slots=True)
class _Strays:
    """Beats out of turn, in the order in which they go out."""

    at: Floats
    services: Numbers
    due: Floats

    def __getitem__(self, part: slice | Flags) -> _Strays:
        return _Strays(self.at[part], self.services[part], self.due[part])

    def drop(self, count: int) -> None:
        """The first ones are gone."""
        self.at, self.services = self.at[count:], self.services[count:]
        self.due = self.due[count:]

    @classmethod
    def joined(cls, parts: Sequence[_Strays]) -> _Strays:
        return cls(
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.services for part in parts]),
            np.concatenate([part.due for part in parts]),
        )


@dataclass
class BatchedSqlServices(SqlServices):
    """All services in arrays."""

    _strays: list[_Strays] = field(default_factory=list)
    """Beats out of turn that are still to come."""

    def beat(self) -> None:
        count = len(self.first_due)
        self._base = self.first_due.copy()
        self._busy = np.full(count, -np.inf)
        """When the last beat of each has ended; infinite while that isn't known."""
        self._goes_out = np.full(count, np.inf)
        """When the last beat of each that went out of turn did so."""
        self._last = (np.full((2, count), np.nan), np.full((2, count), np.nan))
        """The last two beats of each troubled one that were answered: when sent, when answered."""
        self._troubled = np.zeros(count, dtype=np.bool_)
        """Who is hit at some time."""
        self._troubled[list(self.spells)] = True
        self._order = np.arange(count)
        """All of them, in the order of the last window's places. The next one's is that, turned:
        half sorted, which is what makes sorting it cheap."""
        self._numbers = np.zeros(count, dtype=np.int64)
        self._watch()
        restarts = self.restarts()
        for start, stop in self._windows({t for t, _ in restarts}):
            self._begin(start, [service for t, service in restarts if t == start])
            self._serve_window(start, stop)

    def _watch(self) -> None:
        """Around which instants the beats of whom have to be remembered one by one; who is silent
        when; whose links are bad when."""
        count = len(self.first_due)
        self._from, self._to = np.full(count, np.inf), np.full(count, -np.inf)
        self._bad_from, self._bad_to = np.full(count, np.inf), np.full(count, -np.inf)
        silent = []
        for service, hits in self.spells.items():
            self._from[service] = hits[0].start - 3 * self.interval
            self._to[service] = np.inf if hits[0].kind == "freeze" else hits[0].start
            for spell in hits:
                if spell.kind in ("freeze", "cut"):
                    silent.append(
                        (service, spell.start, self._silent_until(service, spell, spell.start))
                    )
                elif spell.kind not in FATAL:
                    self._bad_from[service], self._bad_to[service] = spell.start, spell.end
        spans = np.array(silent, dtype=np.float64).reshape(-1, 3)
        self._silent_services = spans[:, 0].astype(np.int64)
        self._silent_from, self._silent_to = spans[:, 1], spans[:, 2]

    def _windows(self, restarts: set[float]) -> Iterator[tuple[float, float]]:
        """No longer than the interval, and cut where the server or a process ends or begins."""
        cuts = {0.0, self.end, *restarts}
        for outage in self.outages:
            cuts |= {outage.down, outage.up}
        edges = sorted(t for t in cuts if t <= self.end)
        for start, stop in pairwise(edges):
            parts = int(np.ceil((stop - start) / self.interval))
            inner = np.linspace(start, stop, parts + 1).tolist()
            yield from pairwise(inner)

    def _begin(self, start: float, restarted: list[int]) -> None:
        for outage in self.outages:
            if outage.down == start and outage.hangs:
                self.queue.stop_until(outage.up)
            elif outage.up == start and not outage.hangs:
                self.queue.reset(start)
        for service in restarted:
            self._base[service] = self.rejoin(service, start)
            self._busy[service] = -np.inf
            self._strays = [strays[strays.services != service] for strays in self._strays]

    def _serve_window(self, start: float, stop: float) -> None:
        base = self._base
        due = base + np.maximum(np.ceil((start - base) / self.interval), 0.0) * self.interval
        self._order = self._order[np.argsort(due[self._order], kind="stable")]
        in_turn = (due < stop) & (due < self.stops)
        waiting = in_turn & (self._busy == np.inf) & (self._goes_out < due)
        in_turn &= self._busy < due
        silent = self._silent(due, in_turn | waiting, start)
        self._put_off(np.flatnonzero(silent & in_turn), due)
        ready = self._in_order(in_turn & ~silent)

        # Those who wait for a beat out of turn to end, in the order of due: one after another, as
        # long as more such beats are to come.
        undecided = self._in_order(waiting)
        last = float(self._goes_out[undecided].max(initial=-np.inf))
        close = int(np.searchsorted(due[undecided], last, side="right"))
        late: list[int] = []
        served, place = start, 0
        for service in undecided[:close].tolist():
            t = float(due[service])
            if self._goes_out[service] >= served:
                upto = int(np.searchsorted(due[ready], t))
                self._serve(np.concatenate([ready[place:upto], late]), due, t)
                served, place, late = t, upto, []
            if self._busy[service] < t:
                if silent[service]:
                    self._put_off(np.array([service]), due)
                else:
                    late.append(service)
        rest = undecided[close:]
        if len(rest):
            t = float(due[rest[0]])
            upto = int(np.searchsorted(due[ready], t))
            self._serve(np.concatenate([ready[place:upto], late]), due, t)
            place, late = upto, []
            rest = rest[self._busy[rest] < due[rest]]
            self._put_off(rest[silent[rest]], due)
            late = rest[~silent[rest]].tolist()
        self._serve(np.concatenate([ready[place:], late]), due, stop)

    def _in_order(self, which: Flags) -> Numbers:
        """These, in the order of the present window's places."""
        return self._order[which[self._order]]

    def _silent(self, due: Floats, asked: Flags, start: float) -> Flags:
        """Which of those can't send what is due now."""
        silent = np.zeros(len(due), dtype=np.bool_)
        if any(not o.hangs and o.down <= start < o.up for o in self.outages):
            return asked
        here = self._silent_services
        now = due[here]
        silent[here[(self._silent_from <= now) & (now < self._silent_to)]] = True
        return silent & asked

    def _put_off(self, services: Numbers, due: Floats) -> None:
        """What is due goes out of turn, as soon as it can."""
        if len(services):
            self._stray(services, due[services], due[services])

    def _stray(self, services: Numbers, tried: Floats, due: Floats) -> None:
        """What was due then goes out at that attempt, or as soon after it as it can."""
        at = tried.copy()
        for outage in self.outages:
            if not outage.hangs and outage.up < np.inf:
                inside = (outage.down <= at) & (at < outage.up)
                at[inside] = self.retry_all(services[inside], outage.down, outage.up)
            elif not outage.hangs:
                at[at >= outage.down] = np.inf
        for place in np.flatnonzero(self._troubled[services]).tolist():
            at[place] = self.sendable(int(services[place]), float(tried[place]))
        self._busy[services] = np.inf
        self._goes_out[services] = at
        order = np.argsort(at, kind="stable")
        order = order[at[order] < self.end]
        if len(order):
            self._strays.append(_Strays(at[order], services[order], due[order]))

    def _due_strays(self, stop: float) -> _Strays | None:
        """Those that go out before then, no longer to come."""
        parts = []
        for strays in self._strays:
            upto = int(np.searchsorted(strays.at, stop))
            parts.append(strays[:upto])
            strays.drop(upto)
        self._strays = [strays for strays in self._strays if len(strays.at)]
        parts = [part for part in parts if len(part.at)]
        return _Strays.joined(parts) if parts else None

    def _serve(self, in_turn: Numbers, dues: Floats, stop: float) -> None:
        """Serve the beats of these, and those out of turn until ``stop``."""
        services = in_turn.astype(np.int64)
        at = due = dues[services]
        if (strays := self._due_strays(stop)) is not None:
            at = np.concatenate([at, strays.at])
            services = np.concatenate([services, strays.services])
            due = np.concatenate([due, strays.due])
        order = np.argsort(at, kind="stable")
        at, services, due = at[order], services[order], due[order]
        if not len(at):
            return
        numbers = self._numbers[services]
        served = self.queue.serve_all(at, self.noise.of(services, numbers))
        self._numbers[services] = numbers + 1
        visible, answered = served.visible, served.end
        broken, mended = self.next_break(float(at[0]))
        hit = np.flatnonzero(self._troubled[services])
        given_up = self._delay(hit, services, at, served)
        counts = (visible <= broken) & (visible < np.inf)
        severed = self.severed[services[hit]]
        counts[hit] &= (visible[hit] <= severed) | (at[hit] > severed)
        counted = slice(None) if counts.all() else counts
        self._keep(services[counted], visible[counted], served.turn[counted])
        punctual = (services % self.punctual == 0) & (at == due)
        late_by = served.sent[punctual] - due[punctual]
        self.lateness += zip(due[punctual].tolist(), late_by.tolist(), strict=True)
        self._busy[services] = answered
        self._remember(services[hit], at[hit], served.sent[hit], answered[hit], broken)
        if (failed := np.minimum(answered, given_up) > broken).any():
            again = self.retry_all(services[failed], broken, mended)
            self._stray(services[failed], again, due[failed])
        if (failed := ~failed & (given_up < np.inf)).any():
            self._stray(services[failed], given_up[failed] + BACKOFF.first, due[failed])

    def _delay(self, hit: Numbers, services: Numbers, at: Floats, served: Served) -> Floats:
        """Those at these places whose links are bad are committed and answered later; when each
        is given up, if it is."""
        given_up = np.full(len(services), np.inf)
        own, sent = services[hit], at[hit]
        bad = hit[(self._bad_from[own] <= sent) & (sent < self._bad_to[own])]
        for place in bad.tolist():
            begun = float(at[place])
            if (sent_on := self.delayed(int(services[place]), begun)) is not None:
                served.visible[place] += sent_on.visible - begun
                served.end[place] += sent_on.answered - begun
                given_up[place] = sent_on.given_up
        return given_up

    def _keep(self, services: Numbers, visible: Floats, stamp: Floats) -> None:
        """These beats were committed."""
        self.rows.beat_all(services, visible, stamp)
        last = len(self.beats_by_second) - 1
        seconds = np.minimum(visible, last).astype(np.int64)
        self.beats_by_second += np.bincount(seconds, minlength=last + 1)

    def _remember(
        self, services: Numbers, at: Floats, sent: Floats, answered: Floats, broken: float
    ) -> None:
        """What the ground truth may need of those that are hit at some time."""
        kept = (self._from[services] <= at) & (at <= self._to[services])
        each = zip(
            services[kept].tolist(), sent[kept].tolist(), answered[kept].tolist(), strict=True
        )
        for service, begun, ended in each:
            trail = self.trails.setdefault(service, [])
            if not trail:
                before = zip(*(times[:, service].tolist() for times in self._last), strict=True)
                trail += [beat for beat in before if beat[1] == beat[1]]
            if ended <= broken:
                trail.append((begun, ended))
        good = answered <= broken
        for times, latest in zip(self._last, (sent, answered), strict=True):
            times[0, services[good]] = times[1, services[good]]
            times[1, services[good]] = latest[good]
