"""SimPy's environment with a calendar for its queue, and processes that only sleep.

SimPy keeps all that is to come in one heap, and with ten thousand services most of its work is to
keep that in order. Here only the present day is, which is a fraction of a second long; what comes
later lies unsorted on the page of its day. Events take place in the same order as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import copy
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.core import SimTime
from simpy.events import NORMAL, URGENT, EventPriority

DAYS = 32
"""In a second; a power of two, so that no rounding puts an instant on the wrong page."""
NEVER = 1 << 62
"""The day of what is infinitely far off."""

Instants = Generator[float, None, None]
Item = tuple[SimTime, EventPriority, int, simpy.Event]


class _Pages(dict[int, list[Item]]):
    """What comes on later days. A day that is asked for has a page from then on."""

    def __init__(self) -> None:
        self.days: list[int] = []
        """Those with a page, in a heap."""

    def __missing__(self, day: int) -> list[Item]:
        heappush(self.days, day)
        page: list[Item] = []
        self[day] = page
        return page


class Calendar(simpy.Environment):
    """As `simpy.Environment`, from 0 on; quicker the more there is to come."""

    def __init__(self) -> None:
        super().__init__()
        self._midnight = 0.0
        """When the day ends of which SimPy's own queue is."""
        self._pages = _Pages()

    @property
    def scheduled(self) -> int:
        """How many events have been scheduled so far."""
        return next(copy(self._eid))

    def at(self, instant: SimTime, event: simpy.Event, priority: EventPriority = NORMAL) -> None:
        """Schedule an event for that instant."""
        item = (instant, priority, next(self._eid), event)
        if instant < self._midnight:
            heappush(self._queue, item)
            return
        try:
            day = int(instant * DAYS)
        except OverflowError:
            day = NEVER
        self._pages[day].append(item)

    def schedule(
        self, event: simpy.Event, priority: EventPriority = NORMAL, delay: SimTime = 0
    ) -> None:
        self.at(self._now + delay, event, priority)

    def peek(self) -> SimTime:
        self._turn()
        return super().peek()

    def step(self) -> None:
        self._turn()
        super().step()

    def pass_until(self, end: float) -> None:
        """As ``run(until=end)``."""
        while self.peek() < end:
            # The day is in order already: only what is added in its course goes through a heap.
            today: list[Item] = sorted(self._queue, reverse=True)
            added: list[Item] = []
            self._queue = added
            while today or added:
                if added and not (today and today[-1] < added[0]):
                    item = heappop(added)
                else:
                    item = today.pop()
                if item[0] >= end:
                    self._queue = sorted([item, *today, *added])
                    break
                self._now, _, _, event = item
                callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
                for callback in callbacks:
                    callback(event)
                if not event._ok and not hasattr(event, "_defused"):
                    raise event._value
        self._now = end

    def _turn(self) -> None:
        """To the next page that there is, once all of today has taken place."""
        if not self._queue and self._pages:
            day = heappop(self._pages.days)
            self._queue = self._pages.pop(day)
            self._queue.sort()
            self._midnight = (day + 1) / DAYS


class Sleeper(simpy.Event):
    """A process that waits for nothing but time: its steps yield the instants at which they go on,
    never an infinite one.
    What is a process and one event after another in SimPy is one event, again and again.
    ``urgent``: it goes on before all others of the same instant."""

    def __init__(self, calendar: Calendar, steps: Instants, *, urgent: bool = False) -> None:
        super().__init__(calendar)
        self._ok, self._value = True, None
        self._calendar, self._step = calendar, steps.__next__
        self._priority = URGENT if urgent else NORMAL
        self._again: list[Callable[[Any], None]] = [self._go_on]
        self._go_on(self)

    def _go_on(self, event: simpy.Event) -> None:  # noqa: ARG002 - a callback's
        try:
            instant = self._step()
        except StopIteration:
            return
        self.callbacks = self._again
        # As `Calendar.at`, which is written out here because most events pass here.
        calendar = self._calendar
        item = (instant, self._priority, next(calendar._eid), self)
        if instant < calendar._midnight:
            heappush(calendar._queue, item)
        else:
            calendar._pages[int(instant * DAYS)].append(item)
