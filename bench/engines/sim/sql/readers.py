"""The observers of a database: what each reads, when, and whom it finds dead.

A reader is one thread, as the library's: it reads the group at a fixed cadence, at once when it is
told of a change (profile tuned), and when something may expire in between. Who is dead by then is
for its profile to say (`profiles.py`).
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.costs import SqlCosts
from bench.engines.sim.ledger import Ledger
from bench.engines.sim.outages import Outage, during
from bench.engines.sim.sql.rows import GONE, Episode, Version
from bench.plan import Floats
from bench.result import Kind
from bench.scenario import SqlBackend

NOTIFICATION = 0.5e-3
"""From a commit until a listener is told, in s."""
RETRY = 1.0
"""A group whose read failed is tried again at least this often, in s."""
REST, LONGEST_REST, SHARE = 0.05, 1.0, 0.2
"""Reads that changes ask for are so far apart, and take that share of the time at most."""
GLANCE = 0.25
"""How often an observer looks whether its view is fresh."""


@dataclass(frozen=True)
class Table:
    """All that readers can see, in order of time."""

    born: Floats
    services: NDArray[np.int64]
    tokens: NDArray[np.int64]
    episodes: Sequence[Episode]
    outages: Sequence[Outage]
    news: Floats
    """When somebody came, left or came back as another life."""

    @classmethod
    def of(
        cls,
        births: Sequence[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]],
        episodes: Iterable[Episode],
        outages: Sequence[Outage],
    ) -> Table:
        born, services, tokens = (np.concatenate(column) for column in zip(*births, strict=True))
        order = np.argsort(born, kind="stable")
        known = sorted(episodes, key=lambda episode: episode.versions[0].visible)
        turns = [
            after.visible
            for episode in known
            for before, after in zip(episode.versions, episode.versions[1:], strict=False)
            if before.token != after.token
        ]
        return cls(
            born[order],
            services[order],
            tokens[order],
            known,
            outages,
            np.sort(np.concatenate([born, turns])),
        )


@dataclass(frozen=True, slots=True)
class Read:
    """A read of the whole group."""

    sent: float
    snapshot: float
    """It shows what was committed by then."""
    answered: float


@dataclass(slots=True, eq=False)
class Followed:
    """An episode as one reader has it before its eyes."""

    episode: Episode
    shown: int
    """The life that the reader's view has; `GONE`: none."""
    place: int = 0
    """Of the version last read."""
    expiry: float = math.nan
    """When it is to be read again because of that version, where that is done."""

    def read(self, snapshot: float) -> Version:
        """The version that a read of that instant shows."""
        versions = self.episode.versions
        while self.place + 1 < len(versions) and versions[self.place + 1].visible <= snapshot:
            self.place += 1
        return versions[self.place]

    def next_change(self) -> float:
        """When there is another version to be read."""
        versions = self.episode.versions
        return versions[self.place + 1].visible if self.place + 1 < len(versions) else math.inf

    def is_over(self) -> bool:
        """Whether all that follows is that the row beats in time, or is gone for good."""
        if self.next_change() < math.inf:
            return False
        gone = self.episode.versions[-1].token == GONE
        return gone or (not self.episode.lasting and self.shown != GONE)


@dataclass(eq=False)
class Reader(ABC):
    """One observer. ``started``: when it began to watch; ``phase``: of its cadence, 0 to 1."""

    number: int
    name: str
    table: Table
    backend: SqlBackend
    costs: SqlCosts
    ledger: Ledger
    phase: float
    started: float = 0.0
    rows_read: list[tuple[float, int]] = field(default_factory=list)
    """How many rows each read gave, and when."""
    _told: int = 0
    _next_episode: int = 0
    _parked: list[tuple[float, int, Followed]] = field(default_factory=list)
    """Rows that are dead until they change: when that is, in a heap."""
    _dismissed: int = 0

    @property
    @abstractmethod
    def period(self) -> float:
        """Between two reads of the whole group, in s."""

    pushed = False
    """Whether it is told of changes."""

    @abstractmethod
    def follow(self, news: Sequence[Followed], read: Read) -> None:
        """A read of the whole group shows that these need watching; look at the others too."""

    @abstractmethod
    def expiry(self) -> float:
        """When to look at what may expire before the next read."""

    @abstractmethod
    def look(self, sent: float) -> float:
        """Look at what may have expired; when it is answered."""

    def run(self, end: float) -> None:
        """Watch until the end of the run."""
        cadence = self.started + self.phase * self.period
        heard, rested, free = -math.inf, -math.inf, self.started
        answered, failing, stale = self.started, False, False
        while True:
            changed = self._changed(heard)
            expiry = math.inf if failing else self.expiry()
            sent = max(min(cadence, max(changed, rested), expiry), free)
            if sent >= end:
                return
            whole = sent >= cadence or sent >= max(changed, rested)
            if (outage := during(self.table.outages, sent)) and not self._waits(outage, sent):
                silent = min(sent + self.backend.timeout / 2, outage.up) if outage.hangs else sent
                if not stale:
                    stale = True
                    self._tell_state(Kind.STALE, silent, answered)
                failing, free = True, silent
                base = min(cadence, sent)
                cadence = _after(base, min(self.period, RETRY), silent)
                heard = sent
                continue
            if outage is not None:
                sent = outage.up
            if failing and sent - answered > self.backend.timeout:
                self.ledger.tell_of(sent, Kind.RESYNCED, self.name, observer=self.number)
            if whole:
                heard, free = sent, self._read(sent)
                if sent >= cadence:
                    cadence = _after(cadence, self.period, free)
                share = (free - sent) * (1 / SHARE - 1)
                rested = free + min(max(REST, share), LONGEST_REST)
            else:
                free = self.look(sent)
            answered, failing = free, False
            if stale:
                stale = False
                self._tell_state(Kind.FRESH, answered, answered)

    def _waits(self, outage: Outage, sent: float) -> bool:
        """Whether a read sent into the outage is answered after it, before it is given up."""
        return outage.hangs and outage.up - sent < self.backend.timeout / 2

    def _changed(self, heard: float) -> float:
        if not self.pushed:
            return math.inf
        place = int(np.searchsorted(self.table.news, heard - NOTIFICATION, side="right"))
        news = self.table.news
        return float(news[place]) + NOTIFICATION if place < len(news) else math.inf

    def _read(self, sent: float) -> float:
        """Read the whole group; when it is answered."""
        table = self.table
        snapshot = sent + self.costs.read / 2
        seen = int(np.searchsorted(table.born, snapshot, side="right"))
        answered = sent + self.costs.read + seen * self.costs.read_row
        self.tell_read(sent, answered, seen)
        if seen > self._told:
            part = slice(self._told, seen)
            self.ledger.tell_all(
                np.full(seen - self._told, answered),
                Kind.JOINED,
                table.services[part],
                tokens=table.tokens[part],
                observer=self.number,
            )
            self._told = seen
        news = []
        while self._parked and self._parked[0][0] <= snapshot:
            news.append(heapq.heappop(self._parked)[2])
        while (
            self._next_episode < len(table.episodes)
            and table.episodes[self._next_episode].versions[0].visible <= snapshot
        ):
            episode = table.episodes[self._next_episode]
            news.append(Followed(episode, episode.versions[0].token))
            self._next_episode += 1
        self.follow(news, Read(sent, snapshot, answered))
        return answered

    def tell_read(self, sent: float, answered: float, rows: int, kind: Kind = Kind.READ) -> None:
        """A read, or a look, was answered with so many rows."""
        self.rows_read.append((answered, rows))
        self.ledger.tell_of(answered, kind, self.name, value=answered - sent, observer=self.number)

    def show(self, row: Followed, token: int, t: float) -> None:
        """The view is to have this life of it, or none."""
        if token == row.shown:
            return
        service = row.episode.service
        if row.shown != GONE:
            self.ledger.tell(t, Kind.LEFT, service, token=row.shown, observer=self.number)
        if token != GONE:
            self.ledger.tell(t, Kind.JOINED, service, token=token, observer=self.number)
        row.shown = token

    def dismiss(self, row: Followed) -> bool:
        """Whether it needs no look now: for ever, or until it changes."""
        if row.is_over():
            return True
        if row.shown != GONE:
            return False
        if (change := row.next_change()) < math.inf:
            self._dismissed += 1
            heapq.heappush(self._parked, (change, self._dismissed, row))
        return True

    def _tell_state(self, kind: Kind, t: float, answered: float) -> None:
        glance = self.started + math.ceil((t - self.started) / GLANCE) * GLANCE
        self.ledger.tell_of(glance, kind, self.name, value=glance - answered, observer=self.number)


def _after(instant: float, period: float, now: float) -> float:
    """The cadence's next instant; those that have passed are skipped."""
    return instant + (max(0.0, (now - instant) // period) + 1) * period
