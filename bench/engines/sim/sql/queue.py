"""The database as beats meet it: a pool of connections, the busiest station, the flush of the log.

A beat waits for a connection and holds it until it is answered, so the client's own round trips
count: with every connection lent, the next beat goes out late. On the way it waits for its turn at
the one station that limits the whole (the processors that server and clients share), and, where
commits are synchronous, for the flush that makes it durable. One flush serves all that have come
by its beginning; whoever comes later waits for the next. It takes the processors for a while too.

All three serve in the order of arrival, so beats end in the order in which they began, and the
connection that the n-th beat gets is the one of the beat before it by the size of the pool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.costs import BeatCosts, SqlCosts
from bench.plan import Floats

_ALONE = 256
"""Beats looked at together at first, twice as many each time nothing waited."""
_TOGETHER = 1 << 20


@dataclass(frozen=True, slots=True)
class Served:
    """What became of beats, one entry each, in s of the run."""

    sent: Floats
    """It had a connection."""
    turn: Floats
    """It came to the station: a stamp of this instant is what it writes."""
    visible: Floats
    """It was committed."""
    end: Floats
    """It was answered, and its connection free again."""


class Queue:
    """Serves beats in the order of their coming, one at a time or many at once."""

    def __init__(self, costs: SqlCosts, beat: BeatCosts, connections: int, *, durable: bool):
        self._way = beat.exchanges * costs.round_trip / 2
        self._busy = max(beat.client_cpu, (beat.client_cpu + beat.server_cpu) / costs.cores)
        self._flush = costs.commit if durable else 0.0
        self._flush_busy = costs.flush_cpu / costs.cores if durable else 0.0
        self._connections = connections
        self.flushes = 0
        """How many flushes of the log have begun, of all servers so far."""
        self.reset()

    def reset(self, now: float = -math.inf) -> None:
        """A new server, at ``now``: nobody waits, nothing is under way."""
        self._ends = [now] * self._connections
        self._place = 0
        self._free = now
        self._flushing = self._flushed = now

    def stop_until(self, t: float) -> None:
        """Nothing gets a turn before ``t``."""
        self._free = max(self._free, t)

    def serve(self, at: float, noise: float) -> tuple[float, float, float, float]:
        """One beat, due at ``at``: sent, turn, visible, end as in `Served`."""
        ends, place = self._ends, self._place
        sent = ends[place]
        if sent < at:
            sent = at
        turn = sent + self._way
        if turn < self._free:
            turn = self._free
        done = self._free = turn + self._busy * (0.5 + noise)
        if self._flush:
            if done > self._flushed:
                self._flushing, self._flushed = done, done + self._flush
                self._free += self._flush_busy
                self.flushes += 1
            elif done > self._flushing:
                self._flushing = self._flushed
                self._flushed += self._flush
                self._free += self._flush_busy
                self.flushes += 1
            done = self._flushed
        end = ends[place] = done + self._way
        self._place = place + 1 if place + 1 < self._connections else 0
        return sent, turn, done, end

    def serve_all(self, at: Floats, noise: Floats) -> Served:
        """Many beats, in the order of their coming: the same as one after another.

        Stretches in which nobody waits for a connection or for another's flush are computed at
        once, the others beat by beat.
        """
        count = len(at)
        served = Served(*(np.empty(count) for _ in range(4)))
        done, together, singly = 0, _ALONE, 64
        while done < count:
            stop = min(done + together, count)
            calm = self._serve_calmly(at, noise, slice(done, stop), served)
            if done + calm == stop:
                done, together, singly = stop, min(2 * together, _TOGETHER), 64
                continue
            done += calm
            stop = min(done + singly, count)
            done = self._serve_singly(at, noise, done, stop, served)
            together, singly = _ALONE, min(2 * singly, 1 << 14)
        return served

    def _serve_singly(
        self, at: Floats, noise: Floats, start: int, stop: int, served: Served
    ) -> int:
        part = [
            self.serve(t, u)
            for t, u in zip(at[start:stop].tolist(), noise[start:stop].tolist(), strict=True)
        ]
        columns = (served.sent, served.turn, served.visible, served.end)
        for column, values in zip(columns, zip(*part, strict=True), strict=True):
            column[start:stop] = values
        return stop

    def _serve_calmly(self, at: Floats, noise: Floats, part: slice, served: Served) -> int:
        """Serve as many of a part as wait for the station at most; how many these are."""
        coming = at[part]
        busy = self._busy * (0.5 + noise[part])
        taken = busy + self._flush_busy
        before = np.cumsum(taken) - taken
        arrived = coming + self._way - before
        turn = np.maximum(np.maximum.accumulate(arrived), self._free) + before
        done = turn + busy
        visible = done + self._flush
        end = visible + self._way
        size = self._connections
        lent = np.concatenate([self._ends[self._place :] + self._ends[: self._place], end])
        waits = lent[: len(end)] > coming
        if self._flush:
            waits |= done <= np.concatenate([[self._flushed], visible[:-1]])
        calm = int(np.argmax(waits)) if waits.any() else len(end)
        if not calm:
            return 0
        place = slice(part.start, part.start + calm)
        served.sent[place] = coming[:calm]
        served.turn[place] = turn[:calm]
        served.visible[place] = visible[:calm]
        served.end[place] = end[:calm]
        self._free = float(done[calm - 1]) + self._flush_busy
        self._flushing, self._flushed = float(done[calm - 1]), float(visible[calm - 1])
        self._ends, self._place = lent[calm : calm + size].tolist(), 0
        if self._flush:
            self.flushes += calm
        return calm
