"""The thread that reads groups and cells for the watches of one connection."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from membership.api import Meter
from membership.backends.sql.dialects import CELLS
from membership.backends.sql.listening import Listener
from membership.backends.sql.profile import Beat, Follower, Part, Whole
from membership.config import MassLoss
from membership.errors import Closed, Disconnected, MembershipError
from membership.feed import CellFeed, Feed
from membership.model import CellState, Freshness

_RETRY = 1.0
"""While the database doesn't answer, a group is tried again at least this often (s)."""


_REST, _LONGEST_REST = 0.05, 1.0
_SHARE = 0.05
"""Reads that pushes ask for are at least so far apart (s), and take at most that share of the
time, within those bounds: a thousand joins at once are no thousand reads of a thousand rows."""

_logger = logging.getLogger("membership.sql")


@dataclass(eq=False, kw_only=True)
class _Watched:
    next: float
    """When it is to be read again: a fixed cadence, whatever a read takes."""
    changed: float = math.inf
    """Since when it is known to have changed after the last read."""
    rested: float = -math.inf
    """When it may be read for that."""

    def pushed(self) -> float:
        """When to read it because of a push; infinity where there was none."""
        return max(self.changed, self.rested)

    def rest(self, begun: float) -> None:
        """A read that began then was answered."""
        now = time.monotonic()
        share = (now - begun) * (1 / _SHARE - 1)
        self.rested = now + min(max(_REST, share), _LONGEST_REST)


@dataclass(eq=False, kw_only=True)
class _Group(_Watched):
    follower: Follower
    reading: threading.Lock = field(default_factory=threading.Lock)
    feeds: list[Feed] = field(default_factory=list)
    answered: float = field(default_factory=time.monotonic)
    failing: bool = False

    expiry: float = math.inf
    """When to look at what may expire before that."""

    def due(self) -> float:
        return min(self.next, self.pushed(), math.inf if self.failing else self.expiry)


@dataclass(eq=False, kw_only=True)
class _Cell(_Watched):
    feeds: list[CellFeed] = field(default_factory=list)

    def due(self) -> float:
        return min(self.next, self.pushed())


class Reader:
    """Every watch of one connection. Starts its thread with the first one.

    Reads are at a fixed cadence from a random instant on, and between them where something may
    expire or a ``listener`` has heard of a change. A failed read makes the watches stale,
    ``disconnected`` once the database has been silent for the members' timeout; nobody dies of
    it. A silence longer than the timeout may have hidden a whole life, so ``resynced`` ends it.
    """

    def __init__(
        self,
        follow: Callable[[str], Follower],
        read_cell: Callable[[str], CellState],
        *,
        timeout: float,
        cell_period: float,
        mass_loss: MassLoss,
        listener: Listener | None,
        meter: Meter,
    ) -> None:
        self._follow = follow
        self._meter = meter
        self._read_cell = read_cell
        self._timeout = timeout
        self._cell_period = cell_period
        self._mass_loss = mass_loss
        self._listener = listener
        self._opening = threading.Lock()
        """Held while a watch begins, so that a group is never followed twice."""
        self._changed = threading.Condition()
        self._groups: dict[str, _Group] = {}
        self._cells: dict[str, _Cell] = {}
        self._stopped = False
        self._thread: threading.Thread | None = None

    # --- the callers' side

    def watch(self, group: str, limit: int) -> Feed:
        """A feed whose view is complete. Raises: Disconnected."""
        feed = Feed(group, self._forget, limit=limit, mass_loss=self._mass_loss)
        with self._opening:
            with self._changed:
                following = self._groups.get(group)
            if following is None:
                follower = self._follow(group)
                following = _Group(follower=follower, next=_somewhere_within(follower.period))
            with following.reading:
                asked = time.monotonic()
                whole = following.follower.read()
                with self._changed:
                    self._check_running()
                    self._groups[group] = following  # its last watch may have closed meanwhile
                    following.feeds.append(feed)
                self._tell(following, whole, asked)
        self._wake()
        return feed

    def refresh(self, group: str) -> Whole | None:
        """Read a group that is being watched now; None where it isn't. Raises: Disconnected."""
        with self._changed:
            following = self._groups.get(group)
        if following is None:
            return None
        with following.reading:
            asked = time.monotonic()
            try:
                whole = following.follower.read()
            except Disconnected:
                self._distrust(following)
                raise
            self._tell(following, whole, asked)
        self._wake()  # what expires next may have changed
        return whole

    def dead(self, group: str) -> Mapping[str, Beat] | None:
        """Whom the last read found dead, at which beat; None where nobody watches the group."""
        with self._changed:
            following = self._groups.get(group)
        return None if following is None else following.follower.dead

    def watch_cell(self, name: str) -> CellFeed:
        """A feed that holds the cell's present state. Raises: Disconnected."""
        state = self._read_cell(name)
        feed = CellFeed(self._forget_cell)
        feed.put(state)
        with self._changed:
            self._check_running()
            cell = self._cells.setdefault(name, _Cell(next=_somewhere_within(self._cell_period)))
            cell.feeds.append(feed)
        self._wake()
        return feed

    def stop(self, timeout: float) -> None:
        """End every watch and the thread; wait for it that long."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
            feeds: list[Feed | CellFeed] = []
            for group in self._groups.values():
                feeds.extend(group.feeds)
            for cell in self._cells.values():
                feeds.extend(cell.feeds)
        for feed in feeds:
            feed.close()
        if self._listener is not None:
            self._listener.stop(timeout)
        if self._thread is not None:
            self._thread.join(timeout)

    def _check_running(self) -> None:
        if self._stopped:
            raise Closed("this connection has been closed")

    def _forget(self, feed: Feed) -> None:
        with self._changed:
            following = self._groups[feed.group]
            following.feeds.remove(feed)
            if not following.feeds:
                del self._groups[feed.group]

    def _forget_cell(self, feed: CellFeed) -> None:
        with self._changed:
            for name, cell in list(self._cells.items()):
                if feed in cell.feeds:
                    cell.feeds.remove(feed)
                    if not cell.feeds:
                        del self._cells[name]

    def _wake(self) -> None:
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(
                    target=self._run, name="membership-reader", daemon=True
                )
                self._thread.start()
                if self._listener is not None:
                    self._listener.start(self._heard)
            self._changed.notify()

    def _heard(self, channel: str | None, name: str) -> None:
        """Something has changed, as the listener says; what nobody watches is passed over."""
        now = time.monotonic()
        with self._changed:
            watched: list[_Watched | None]
            if channel is None:
                watched = [*self._groups.values(), *self._cells.values()]
            else:
                watched = [(self._cells if channel == CELLS else self._groups).get(name)]
            news = [each for each in watched if each is not None and each.changed == math.inf]
            for each in news:
                each.changed = now
            if news:
                self._changed.notify()

    # --- the thread's side

    def _run(self) -> None:
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Callable[[], None] | None:
        """Wait for what is due; None at the end."""
        with self._changed:
            while not self._stopped:
                due, task = math.inf, None
                for group in self._groups.values():
                    if (instant := group.due()) < due:
                        due, task = instant, self._group_task(group)
                for name, cell in self._cells.items():
                    if (instant := cell.due()) < due:
                        due, task = instant, self._cell_task(name, cell)
                wait = due - time.monotonic()
                if task is not None and wait <= 0:
                    return task
                self._changed.wait(None if task is None else wait)
            return None

    def _group_task(self, group: _Group) -> Callable[[], None]:
        return lambda: self._read(group)

    def _cell_task(self, name: str, cell: _Cell) -> Callable[[], None]:
        return lambda: self._poll_cell(name, cell)

    def _read(self, group: _Group) -> None:
        with group.reading:
            now = time.monotonic()
            on_cadence = now >= group.next
            complete = on_cadence or now >= group.pushed()
            if complete:
                group.changed = math.inf  # before the read: what changes during it is news
            try:
                found = group.follower.read() if complete else group.follower.look()
            except Exception as error:
                if not isinstance(error, Disconnected):  # a row that nobody here has written
                    _logger.exception("a group can't be read")
                self._distrust(group)
                period = min(group.follower.period, _RETRY)
                group.next = _after(group.next if on_cadence else now, period)
            else:
                if on_cadence:
                    group.next = _after(group.next, group.follower.period)
                self._tell(group, found, now)
                group.rest(now)

    def _tell(self, group: _Group, found: Whole | Part, asked: float) -> None:
        with self._changed:
            feeds = list(group.feeds)
        now = time.monotonic()
        self._meter("read_seconds" if isinstance(found, Whole) else "look_seconds", now - asked)
        gap = group.failing and now - group.answered > self._timeout
        group.answered, group.failing = now, False
        group.expiry = group.follower.expiry()
        for feed in feeds:
            if isinstance(found, Whole):
                feed.replace(found.members, gap=gap, unconfirmed=found.unconfirmed)
                continue
            for member in found.present:
                feed.put(member)
            for name in found.gone:
                feed.remove(name)

    def _distrust(self, group: _Group) -> None:
        group.failing = True
        silent = time.monotonic() - group.answered
        freshness = Freshness.DISCONNECTED if silent > self._timeout else Freshness.STALE
        with self._changed:
            feeds = list(group.feeds)
        for feed in feeds:
            feed.distrust(freshness)

    def _poll_cell(self, name: str, cell: _Cell) -> None:
        now = time.monotonic()
        if now >= cell.next:
            cell.next = _after(cell.next, self._cell_period)
        cell.changed = math.inf
        try:
            state = self._read_cell(name)
        except MembershipError:
            return  # a cell's watch says what it saw last
        cell.rest(now)
        with self._changed:
            feeds = list(cell.feeds)
        for feed in feeds:
            feed.put(state)


def _somewhere_within(period: float) -> float:
    """Readers that start together don't read together."""
    return time.monotonic() + random.uniform(0.0, period)  # noqa: S311  no secret


def _after(instant: float, period: float) -> float:
    """The cadence's next instant; those that have passed are skipped."""
    return instant + (max(0.0, (time.monotonic() - instant) // period) + 1) * period
