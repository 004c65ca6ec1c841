"""The watch that every backend hands out: it is told what is so, and makes events of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from membership.api import CellWatch, Stream, Watch
from membership.config import MassLoss
from membership.liveness import LossMeter
from membership.model import CellState, EventKind, Freshness, Member, MemberEvent, View

T_co = TypeVar("T_co", covariant=True)


def difference(
    before: Mapping[str, Member], after: Mapping[str, Member]
) -> Iterator[tuple[EventKind, Member]]:
    """The events that lead from one membership to another; departures first."""
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.token != old.token:
            yield EventKind.LEFT, old
    for name, new in after.items():
        known = before.get(name)
        if known is None or known.token != new.token:
            yield EventKind.JOINED, new
        elif known is not new and known.metadata != new.metadata:
            yield EventKind.UPDATED, new


class _Fed(Stream[T_co]):
    """What the feeds have in common: who waits for news, and the end."""

    def __init__(self, on_close: Callable[[Any], None]) -> None:
        self._on_close = on_close
        self._changed = threading.Condition()
        self._call: Callable[[], None] = _nothing
        self._closed = False

    def notify(self, call: Callable[[], None]) -> None:
        with self._changed:
            self._call = call
            call()

    def _tell(self) -> None:
        """There is news; `_changed` is held."""
        self._changed.notify_all()
        self._call()

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._tell()
        self._on_close(self)


def _nothing() -> None:
    """What is called where nobody has asked for a call."""


class Feed(_Fed[MemberEvent], Watch):
    """A `Watch` for a backend to feed.

    The backend calls `replace`, `put`, `remove`, `confirm` and `distrust`, from one thread at a
    time; the consumer calls the rest. What was delivered is kept beside what is known, so a
    consumer that fell behind is brought up to date from the difference, not from a log.
    """

    def __init__(
        self,
        group: str,
        on_close: Callable[[Feed], None],
        *,
        limit: int = 100_000,
        mass_loss: MassLoss = MassLoss(),  # noqa: B008  frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(on_close)
        self.group = group
        self._limit = limit
        self._clock = clock
        self._known: dict[str, Member] = {}
        self._delivered: dict[str, Member] = {}
        self._queue: deque[MemberEvent] = deque()
        self._overrun = False
        self._version = 0
        self._confirmed = clock()
        self._freshness = Freshness.STALE
        self._unconfirmed: frozenset[str] = frozenset()
        self._losses = LossMeter(mass_loss.share, mass_loss.window, mass_loss.at_least)

    # --- the backend's side

    def replace(
        self, members: Iterable[Member], *, gap: bool, unconfirmed: frozenset[str] = frozenset()
    ) -> None:
        """The whole group, as just read. ``gap``: changes may have been missed before it."""
        after = {member.name: member for member in members}
        with self._changed:
            if gap:
                self._emit(EventKind.RESYNCED, None)
            for kind, member in list(difference(self._known, after)):
                self._apply(kind, member)
            self._unconfirmed = unconfirmed
            self._confirm()

    def put(self, member: Member) -> None:
        """This member is there, with these metadata."""
        with self._changed:
            known = self._known.get(member.name)
            before = {} if known is None else {member.name: known}
            for kind, changed in difference(before, {member.name: member}):
                self._apply(kind, changed)
            self._confirm()

    def remove(self, name: str) -> None:
        """No member of that name is there any more."""
        with self._changed:
            if (known := self._known.get(name)) is not None:
                self._apply(EventKind.LEFT, known)
            self._confirm()

    def confirm(self) -> None:
        """The servers vouch for what is known, as of now."""
        with self._changed:
            self._confirm()

    def distrust(self, freshness: Freshness) -> None:
        """The servers can't be asked: what is known stays, and says so."""
        with self._changed:
            self._freshness = freshness

    def _confirm(self) -> None:
        self._confirmed = self._clock()
        self._freshness = Freshness.FRESH

    def _apply(self, kind: EventKind, member: Member) -> None:
        if kind is EventKind.LEFT:
            del self._known[member.name]
            self._unconfirmed -= {member.name}
            self._losses.lost(self._clock())
        else:
            self._known[member.name] = member
        self._version += 1
        self._emit(kind, member)

    def _emit(self, kind: EventKind, member: Member | None) -> None:
        if self._overrun:
            return
        if len(self._queue) >= self._limit:
            self._queue.clear()
            self._overrun = True
        else:
            self._queue.append(MemberEvent(kind, self.group, member, self._version))
        self._tell()

    # --- the consumer's side

    @property
    def view(self) -> View:
        with self._changed:
            return View(
                group=self.group,
                members=MappingProxyType(dict(self._known)),
                version=self._version,
                age=max(0.0, self._clock() - self._confirmed),
                freshness=Freshness.DISCONNECTED if self._closed else self._freshness,
                unconfirmed=self._unconfirmed,
                mass_loss=self._losses.is_mass(self._clock(), len(self._known)),
            )

    def next(self, timeout: float | None = None) -> MemberEvent | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._queue or self._overrun, timeout)
            if self._overrun:
                self._catch_up()
            if self._closed or not self._queue:
                return None
            event = self._queue.popleft()
            if event.member is not None:
                if event.kind is EventKind.LEFT:
                    del self._delivered[event.member.name]
                else:
                    self._delivered[event.member.name] = event.member
            return event

    def _catch_up(self) -> None:
        self._overrun = False
        missed = [(EventKind.RESYNCED, None), *difference(self._delivered, self._known)]
        self._queue.extend(
            MemberEvent(kind, self.group, member, self._version) for kind, member in missed
        )


class CellFeed(_Fed[CellState], CellWatch):
    """A `CellWatch` for a backend to feed: it keeps the latest state only."""

    def __init__(self, on_close: Callable[[CellFeed], None]) -> None:
        super().__init__(on_close)
        self._state: CellState | None = None
        self._delivered = -1

    def put(self, state: CellState) -> None:
        """The cell's state, as just read; an older one than is known is passed over."""
        with self._changed:
            if self._state is None or state.version > self._state.version:
                self._state = state
                self._tell()

    def next(self, timeout: float | None = None) -> CellState | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._news() is not None, timeout)
            state = self._news()
            if self._closed or state is None:
                return None
            self._delivered = state.version
            return state

    def _news(self) -> CellState | None:
        state = self._state
        return state if state is not None and state.version > self._delivered else None
