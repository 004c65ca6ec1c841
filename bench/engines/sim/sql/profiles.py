"""How the readers of each profile find out who is dead.

The library's own rules decide, `membership.liveness`. They are asked about the rows of
`rows.Episode` only: all others beat in time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.engines.sim.sql.readers import Followed, Read, Reader
from bench.engines.sim.sql.rows import GONE, Version
from bench.result import Kind
from membership.liveness import ChangeTracker, nova_is_up

TOGETHER = 1e-3
"""So much after a row's expiry it is read again."""


@dataclass(eq=False)
class _Cohort:
    """Rows that one read first showed as they stand, and what the reader makes of them."""

    tracker: ChangeTracker
    rows: dict[str, Followed]


@dataclass(eq=False)
class TunedReader(Reader):
    """Goes by what it saw move itself."""

    _cohorts: list[_Cohort] = field(default_factory=list)
    _before: Read | None = None

    pushed = True

    @property
    def period(self) -> float:
        assert self.backend.poll != "read"
        return self.backend.poll

    def follow(self, news: Sequence[Followed], read: Read) -> None:
        if news:
            backend = self.backend
            slack = min(backend.interval, (backend.timeout - backend.interval) / 2)
            tracker = ChangeTracker(backend.timeout, max_gap=self.period + slack)
            if self._before is not None:
                tracker.observe({}, sent=self._before.sent, answered=self._before.answered)
            self._cohorts.append(_Cohort(tracker, {str(row.episode.service): row for row in news}))
        for cohort in self._cohorts:
            self._look_at(cohort, read)
        self._cohorts = [cohort for cohort in self._cohorts if cohort.rows]
        self._before = read

    def _look_at(self, cohort: _Cohort, read: Read) -> None:
        versions = {name: row.read(read.snapshot) for name, row in cohort.rows.items()}
        cohort.tracker.observe(_beats(versions), sent=read.sent, answered=read.answered)
        dead = cohort.tracker.dead()
        over = []
        for name, row in cohort.rows.items():
            self.show(row, GONE if name in dead else versions[name].token, read.answered)
            if self.dismiss(row):
                over.append(name)
        for name in over:
            del cohort.rows[name]

    def expiry(self) -> float:
        return min((cohort.tracker.expiry() for cohort in self._cohorts), default=math.inf)

    def look(self, sent: float) -> float:
        answered, rows = sent + self.costs.read, 0
        for cohort in self._cohorts:
            suspects = sorted(cohort.tracker.suspects(sent) & cohort.rows.keys())
            versions = {
                name: cohort.rows[name].read(sent + self.costs.read / 2) for name in suspects
            }
            beats = _beats(versions)
            if not cohort.tracker.look(suspects, beats, sent=sent, answered=answered):
                return self._read(answered)
            for name in suspects:
                if name in cohort.tracker.dead():
                    row = cohort.rows[name]
                    self.show(row, GONE, answered)
                    if self.dismiss(row):
                        del cohort.rows[name]
            rows += len(suspects)
        self.tell_read(sent, answered, rows, Kind.LOOKED)
        return answered


def _beats(versions: Mapping[str, Version]) -> dict[str, tuple[int, float]]:
    """What `ChangeTracker` goes by: it changes at each beat."""
    return {
        name: (version.token, version.visible)
        for name, version in versions.items()
        if version.token != GONE
    }


@dataclass(eq=False)
class NovaReader(Reader):
    """Goes by the stamps and its own wall clock, which is the run's."""

    _rows: dict[Followed, None] = field(default_factory=dict)
    _due: list[tuple[float, int, Followed]] = field(default_factory=list)
    """When each that is up expires, in a heap; only where rows are read at their expiry."""
    _queued: int = 0

    @property
    def period(self) -> float:
        poll = self.backend.poll
        return self.backend.interval if poll == "read" else poll

    def follow(self, news: Sequence[Followed], read: Read) -> None:
        self._rows.update((row, None) for row in news)
        for row in list(self._rows):
            self._judge(row, read.snapshot, read.answered)

    def _judge(self, row: Followed, snapshot: float, now: float) -> None:
        version = row.read(snapshot)
        up = version.token != GONE and nova_is_up(version.stamp, now, self.backend.timeout)
        self.show(row, version.token if up else GONE, now)
        if self.dismiss(row):
            del self._rows[row]
        elif row.shown != GONE and self.backend.poll == "read":
            expiry = version.stamp + self.backend.timeout
            if row.expiry != expiry:
                row.expiry = expiry
                self._queued += 1
                heapq.heappush(self._due, (expiry, self._queued, row))

    def expiry(self) -> float:
        while self._due:
            instant, _, row = self._due[0]
            if row in self._rows and row.shown != GONE and instant == row.expiry:
                return instant + TOGETHER
            heapq.heappop(self._due)
        return math.inf

    def look(self, sent: float) -> float:
        due: dict[Followed, None] = {}
        while self.expiry() < sent + TOGETHER:
            due[heapq.heappop(self._due)[2]] = None
        snapshot, answered = sent + self.costs.read / 2, sent + self.costs.read
        for row in due:
            if row in self._rows:
                self._judge(row, snapshot, answered)
        self.tell_read(sent, answered, len(due), Kind.LOOKED)
        return answered
