"""The rules of life and death, without a clock: time comes in as an argument.

The backends and the simulator share these functions; nothing here sleeps, reads or writes.
Times are seconds unless a name says otherwise; every ``now`` belongs to one monotonic clock,
but for `nova_is_up`, whose whole point is that it compares two wall clocks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass


def nova_is_up(last_seen: float, now: float, timeout: float) -> bool:
    """Nova's test: the row's stamp and the reader's clock differ by at most ``timeout``.

    ``last_seen`` is ``last_seen_up``, or ``created_at`` before the first beat. The absolute
    value is Nova's: a stamp from the far future is as dead as one from the past.
    (``nova.servicegroup.drivers.db.DbDriver.is_up``)
    """
    return abs(now - last_seen) <= timeout


def lease_deadline(sent: float, timeout: float, drift: float) -> float:
    """The instant until which a member may still believe in itself.

    It counts from the *sending* of the last answered renewal, for the server can't have begun
    to count earlier than that, and is shortened by ``drift``, the share of the timeout by
    which two monotonic clocks may disagree.
    """
    return sent + timeout * (1.0 - drift)


def negotiated_timeout(
    asked: float, tick: float, minimum: float | None = None, maximum: float | None = None
) -> float:
    """The session timeout that a ZooKeeper server grants: clamped to 2 to 20 ticks."""
    low = 2 * tick if minimum is None else minimum
    high = 20 * tick if maximum is None else maximum
    return min(max(asked, low), high)


def zookeeper_expiry(touched: float, timeout: float, tick: float) -> float:
    """When ZooKeeper expires a session last touched at ``touched``.

    Sessions expire in buckets, a whole tick apart on the server's monotonic clock: the
    deadline is rounded up to the next multiple of the tick, and never down to itself.
    (``org.apache.zookeeper.server.ExpiryQueue.roundToNextInterval``, which counts in whole ms.)
    """
    tick_ms = round(tick * 1000)
    deadline_ms = math.floor(touched * 1000) + round(timeout * 1000)
    return (deadline_ms // tick_ms + 1) * tick_ms / 1000


@dataclass(slots=True)
class _Beat:
    value: Hashable
    since: float
    confirmed: bool = False


class ChangeTracker:
    """Declares a member dead only after *this* reader saw its beat unchanged for the timeout.

    Only time in which the database answered counts. A gap between two answers longer than
    ``max_gap`` starts the timeout of all who lived again: during an outage nobody could beat, and
    neither a clock step nor a reader's late start is anybody's death. Who was dead before it
    stays so until the beat moves. A silence begins with the
    *answer* that first showed the beat and lasts until the *sending* of the last read that still
    showed it: a read that is slow to be answered proves nothing about the time it took.
    """

    def __init__(self, timeout: float, max_gap: float) -> None:
        self._timeout = timeout
        self._max_gap = max_gap
        self._beats: dict[str, _Beat] = {}
        self._answered = -math.inf
        self._dead: frozenset[str] = frozenset()
        self._unconfirmed: frozenset[str] = frozenset()

    def observe(self, beats: Mapping[str, Hashable], *, sent: float, answered: float) -> None:
        """Take in one complete read: each member's beat (any value that changes at each beat)."""
        gap = answered - self._answered > self._max_gap
        self._answered = answered
        known, self._beats = self._beats, {}
        dead, unconfirmed = set(), set()
        for name, value in beats.items():
            beat = known.get(name)
            if beat is None:
                beat = _Beat(value, answered, confirmed=not gap)  # it came since the last read
            elif beat.value != value:
                beat = _Beat(value, answered, confirmed=True)
            elif gap and name not in self._dead:
                beat = _Beat(value, answered)
            self._beats[name] = beat
            if sent >= beat.since + self._timeout:
                dead.add(name)
            elif not beat.confirmed:
                unconfirmed.add(name)
        self._dead, self._unconfirmed = frozenset(dead), frozenset(unconfirmed)

    def suspects(self, now: float) -> frozenset[str]:
        """Whom a read that is sent now shows dead if their beats still stand."""
        return frozenset(
            name
            for name, beat in self._beats.items()
            if now >= beat.since + self._timeout and name not in self._dead
        )

    def look(
        self,
        suspects: Collection[str],
        beats: Mapping[str, Hashable],
        *,
        sent: float,
        answered: float,
    ) -> bool:
        """Take in a read of these suspects alone; one who has no row any more is dead too.

        False after a gap: then everybody's timeout has to begin again, with a complete read.
        """
        if answered - self._answered > self._max_gap:
            return False
        self._answered = answered
        moved = {
            name for name in suspects if name in beats and beats[name] != self._beats[name].value
        }
        self._beats.update((name, _Beat(beats[name], answered, confirmed=True)) for name in moved)
        still = {name for name in suspects if sent >= self._beats[name].since + self._timeout}
        self._dead |= still
        self._unconfirmed -= still | moved
        return True

    def dead(self) -> frozenset[str]:
        """Those whose beat stood still for the timeout, as of the last read."""
        return self._dead

    def unconfirmed(self) -> frozenset[str]:
        """Those of whom this reader can't say either: neither a beat nor a full silence seen."""
        return self._unconfirmed

    def expiry(self) -> float:
        """The earliest instant at which a read can show another death; infinity if none can."""
        living = (beat.since for name, beat in self._beats.items() if name not in self._dead)
        return min(living, default=math.inf) + self._timeout


class LossMeter:
    """Whether a large share of a group went within a short window. Pure but for its memory."""

    def __init__(self, share: float, window: float, at_least: int) -> None:
        self._share = share
        self._window = window
        self._at_least = at_least
        self._gone: deque[float] = deque()

    def lost(self, now: float) -> None:
        """One more went."""
        self._gone.append(now)

    def is_mass(self, now: float, present: int) -> bool:
        """Whether those who went within the window were that share of the group before it."""
        while self._gone and now - self._gone[0] > self._window:
            self._gone.popleft()
        gone = len(self._gone)
        return gone >= self._at_least and gone >= self._share * (gone + present)
