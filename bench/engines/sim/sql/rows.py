"""The table of heartbeats, as far as a reader can ever make anything of it.

A row that beats in time tells a reader nothing; nobody needs its thousands of beats. What is kept
are the births of all rows, and the episodes: stretches of a row's history in which its beat stands
still for longer than the timeout, or its stamp is off, or the row goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.plan import Floats

GONE = -1
"""The token of a row that is no more."""


@dataclass(frozen=True, slots=True)
class Version:
    """A row as it is from ``visible`` on."""

    visible: float
    token: int
    stamp: float
    """The wall clock's, as s of the run."""


@dataclass(frozen=True, slots=True)
class Episode:
    """Versions of one row that follow each other. Before the first it was alive to every reader;
    after the last it beats in time again, or is gone, or the run is over."""

    service: int
    versions: tuple[Version, ...]
    lasting: bool = False
    """Whether the last version stands unchanged to the end of the run."""


@dataclass(frozen=True, slots=True)
class Skew:
    """From ``start`` to ``end`` a service's wall clock is off by ``offset`` s."""

    start: float
    end: float
    offset: float

    def at(self, t: float) -> float:
        """By how much it is off then."""
        return self.offset if self.start <= t < self.end else 0.0


@dataclass
class Rows:
    """The rows of all services, and the episodes so far."""

    timeout: float
    wall: bool
    """Whether readers go by the stamps (profile nova); else by what they saw move."""
    count: int
    skews: Mapping[int, Skew] = field(default_factory=dict)
    """Of those whose clocks are off at any time."""
    visible: Floats = field(init=False)
    stamp: Floats = field(init=False)
    token: NDArray[np.int64] = field(init=False)
    episodes: list[Episode] = field(default_factory=list)
    births: list[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    """Instants, services, tokens; of first lives only."""
    _open: dict[int, list[Version]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.visible = np.full(self.count, np.inf)
        self.stamp = np.full(self.count, np.inf)
        self.token = np.full(self.count, GONE, dtype=np.int64)

    def join(self, t: Floats, services: NDArray[np.int64], tokens: NDArray[np.int64]) -> None:
        """New rows."""
        self.births.append((t, services, tokens))
        self.visible[services] = self.stamp[services] = t
        self.token[services] = tokens

    def rejoin(self, t: float, service: int, token: int) -> None:
        """A new life on a row that stands, or stood."""
        self._turn(service, Version(t, token, t))
        self._close(service)

    def leave(self, t: float, service: int) -> None:
        """The row goes."""
        self._turn(service, Version(t, GONE, t))
        self._close(service)

    def catch_up(
        self, services: NDArray[np.int64] | int, visible: Floats | float, stamp: Floats | float
    ) -> None:
        """They have beaten in time until this beat of each."""
        self.visible[services], self.stamp[services] = visible, stamp

    def beat(self, service: int, visible: float, stamp: float) -> None:
        """One beat."""
        since = self.visible[service]
        if self.wall:
            if service in self.skews:
                self._beat_off(service, visible, stamp)
                return
            since = min(since, self.stamp[service])
        if visible - since > self.timeout:
            self._turn(service, Version(visible, int(self.token[service]), stamp))
            self._close(service)
        self.visible[service] = visible
        self.stamp[service] = stamp

    def beat_all(self, services: NDArray[np.int64], visible: Floats, stamp: Floats) -> None:
        """The beats of many, each once."""
        since = self.visible[services]
        if self.wall:
            since = np.minimum(since, self.stamp[services])
        special = visible - since > self.timeout
        if self.wall and self.skews:
            special |= np.isin(services, list(self.skews))
        for place in np.flatnonzero(special).tolist():
            self.beat(int(services[place]), float(visible[place]), float(stamp[place]))
        rest = ~special
        self.visible[services[rest]] = visible[rest]
        self.stamp[services[rest]] = stamp[rest]

    def end(self, t: float) -> None:
        """The run is over: whoever is silent by then stays so."""
        since = np.minimum(self.visible, self.stamp) if self.wall else self.visible
        silent = (self.token != GONE) & (since + self.timeout < t)
        for service in np.flatnonzero(silent).tolist():
            self._begin(service)
        for service in list(self._open):
            self._close(service, lasting=True)

    def _beat_off(self, service: int, visible: float, stamp: float) -> None:
        """A beat of a service whose clock is off at some time; every one meanwhile tells."""
        off = self.skews[service].at(stamp)
        silent = visible - min(self.visible[service], self.stamp[service]) > self.timeout
        if off or silent or service in self._open:
            self._turn(service, Version(visible, int(self.token[service]), stamp + off))
            if not off:
                self._close(service)
        else:
            self.visible[service], self.stamp[service] = visible, stamp

    def _begin(self, service: int) -> list[Version]:
        return self._open.setdefault(
            service,
            [
                Version(
                    float(self.visible[service]),
                    int(self.token[service]),
                    float(self.stamp[service]),
                )
            ],
        )

    def _turn(self, service: int, version: Version) -> None:
        self._begin(service).append(version)
        self.visible[service], self.stamp[service] = version.visible, version.stamp
        self.token[service] = version.token

    def _close(self, service: int, *, lasting: bool = False) -> None:
        self.episodes.append(Episode(service, tuple(self._open.pop(service)), lasting))
