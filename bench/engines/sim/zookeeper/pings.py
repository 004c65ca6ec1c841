"""When sessions ping: kazoo's cadence, at two speeds.

A client pings a third of the session timeout after what it last sent, less 10 to 400 ms drawn anew
each time. Nobody needs those pings one by one but the last before something happens; so a service
can be followed ping by ping, or looked at when it is hit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.engines.sim.calendar import Calendar, Instants, Sleeper
from bench.engines.sim.ledger import Numbers
from bench.engines.sim.noise import Ahead, Noise
from bench.plan import Floats

STEP, STEPS = 0.01, 40
"""What a ping goes out early by: 1 to so many steps."""
STRETCH = 1 << 24
"""More pings than a service ever sends between two reconnections."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client had sent by an instant, pings or requests; infinitely long ago: nothing."""

    last: float
    before: float
    due: float
    """When it would have pinged next."""
    then: float
    """And next after that, which is when it gives up an unanswered ping."""


@dataclass
class Pings(ABC):
    """The pings of all sessions of a run. A stretch of them begins with each connection."""

    timeout: float
    noise: Noise
    count: int
    stretch: NDArray[np.int64] = field(init=False)
    """How many stretches each has begun."""
    base: Floats = field(init=False)
    """When the present one began; infinite: none."""

    def __post_init__(self) -> None:
        self.stretch = np.zeros(self.count, dtype=np.int64)
        self.base = np.full(self.count, np.inf)

    @property
    def rate(self) -> float:
        """Pings a second of one session, on average."""
        draws = np.arange(1, STEPS + 1) * STEP
        return float(1 / np.maximum(self.timeout / 3 - draws, draws).mean())

    def periods(self, service: int, stretch: int, first: int, count: int) -> Floats:
        """From one ping to the next, from the ``first`` of a stretch on."""
        return self._periods(self.noise.run(service, stretch * STRETCH + first, count))

    def _periods(self, draws: Floats) -> Floats:
        early = (1 + np.floor(STEPS * draws)) * STEP
        return np.maximum(self.timeout / 3 - early, early)

    def period(self, service: int, stretch: int, number: int) -> float:
        """One of them."""
        draw = self.noise.at(service, stretch * STRETCH + number)
        early = (1 + int(STEPS * draw)) * STEP
        return max(self.timeout / 3 - early, early)

    @abstractmethod
    def begin(self, service: int, base: float) -> None:
        """It sent something then, and pings from there on."""

    @abstractmethod
    def begin_all(self, services: Numbers, bases: Floats) -> None:
        """The same of many."""

    @abstractmethod
    def sent(self, service: int, now: float) -> Sent:
        """What it has sent by ``now``, which is the present."""

    def stop_all(self, services: Numbers) -> None:
        """These ping no more."""
        self.base[services] = np.inf
        self.stretch[services] += 1

    def stop(self, service: int, now: float) -> Sent:
        """It pings no more; what it had sent by then."""
        sent = self.sent(service, now)
        self.base[service] = np.inf
        self.stretch[service] += 1
        return sent


@dataclass
class BatchedPings(Pings):
    """Pings that are looked up when somebody asks."""

    def begin(self, service: int, base: float) -> None:
        self.stretch[service] += 1
        self.base[service] = base

    def begin_all(self, services: Numbers, bases: Floats) -> None:
        self.stretch[services] += 1
        self.base[services] = bases

    def sent(self, service: int, now: float) -> Sent:
        base, stretch = float(self.base[service]), int(self.stretch[service])
        if base > now:
            return Sent(-np.inf, -np.inf, base, base)
        shortest = max(self.timeout / 3 - STEPS * STEP, STEP)
        count = int((now - base) / shortest) + 3
        steps = self.periods(service, stretch, 0, count)
        times = np.cumsum(np.concatenate([[base], steps]))
        place = int(np.searchsorted(times, now, side="right")) - 1
        before = float(times[place - 1]) if place else -np.inf
        return Sent(float(times[place]), before, float(times[place + 1]), float(times[place + 2]))


@dataclass
class PlainPings(Pings):
    """Each session a process that pings."""

    environment: Calendar = field(default_factory=Calendar)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sent = [(-np.inf, -np.inf, 0)] * self.count
        """Of each, its last ping or request, the one before, and how many pings these make."""
        self._ahead = Ahead(self.noise, self.count, self._periods)
        self._current = [0] * self.count
        """As `stretch`, which is slow to look at one by one."""

    def begin(self, service: int, base: float) -> None:
        self.stretch[service] += 1
        self.base[service] = base
        self._sent[service] = (base, -np.inf, 0)
        stretch = self._current[service] = int(self.stretch[service])
        Sleeper(self.environment, self._ping(service, stretch, base))

    def begin_all(self, services: Numbers, bases: Floats) -> None:
        for service, base in zip(services.tolist(), bases.tolist(), strict=True):
            self.begin(service, base)

    def _ping(self, service: int, stretch: int, at: float) -> Instants:
        sent, current, number, before = self._sent, self._current, 0, at
        while True:
            for period in self._ahead.of(service, stretch * STRETCH + number):
                yield (at := at + period)
                if current[service] != stretch:
                    return
                number += 1
                sent[service] = (at, before, number)
                before = at

    def stop_all(self, services: Numbers) -> None:
        super().stop_all(services)
        for service in services.tolist():
            self._current[service] = int(self.stretch[service])

    def stop(self, service: int, now: float) -> Sent:
        sent = super().stop(service, now)
        self._current[service] += 1
        return sent

    def sent(self, service: int, now: float) -> Sent:
        base, stretch = float(self.base[service]), int(self.stretch[service])
        if base > now:
            return Sent(-np.inf, -np.inf, base, base)
        last, before, number = self._sent[service]
        due = last + self.period(service, stretch, number)
        then = due + self.period(service, stretch, number + 1)
        return Sent(last, before, due, then)
