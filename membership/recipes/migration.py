"""From one backend to another while everything runs: be a member of both, read either.

A service that hands `Both` where it handed a connection is seen by the readers of either backend.
Whose members it reads itself is switched at run time, there and back.

* Tokens are each backend's own. A registration says the one of the side that is read; so a switch
  gives every member another token, which a watch tells as ``left`` and at once ``joined``,
  after one ``resynced``.
* Cells are on one side for good, ``cells``: two copies of a seat would elect two leaders.
  ``Absent`` is judged there too.
* Both sides are needed to join, and to change what one is a member with; from then on each heals
  itself. What is read, and whether one is a member, is the matter of one side alone.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

from membership.api import Callback, Cell, Membership, Registration, Watch
from membership.errors import Closed, Disconnected, InvalidValue, MembershipError
from membership.model import EventKind, Member, MemberEvent, Metadata, View
from membership.recipes.settings import Setting

Side = Literal["old", "new"]
_SIDES: tuple[Side, Side] = ("old", "new")
_RETRY = 1.0

_logger = logging.getLogger("membership.migration")


@dataclass(frozen=True, slots=True)
class Difference:
    """How two views of one group differ, by name; tokens are never compared. False: not at all."""

    only_old: frozenset[str]
    only_new: frozenset[str]
    metadata_differs: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.only_old or self.only_new or self.metadata_differs)


def difference(old: View, new: View) -> Difference:
    """What is in one view and not in the other."""
    return Difference(
        only_old=frozenset(old.members.keys() - new.members.keys()),
        only_new=frozenset(new.members.keys() - old.members.keys()),
        metadata_differs=frozenset(
            name
            for name in old.members.keys() & new.members.keys()
            if old.members[name].metadata != new.members[name].metadata
        ),
    )


class Both(Membership):
    """Two connections as one. It owns them: `close` closes both.

    What isn't said here is as `Membership` promises, of the side that is read.
    """

    def __init__(
        self, old: Membership, new: Membership, *, read: Side = "old", cells: Side = "old"
    ) -> None:
        self._sides: dict[Side, Membership] = {"old": old, "new": new}
        self._read = _checked(read)
        self._cells = self._sides[_checked(cells)]
        self._switching = threading.Lock()
        self._watches: set[_BothWatch] = set()
        self._closing = threading.Event()
        self._following: threading.Thread | None = None
        self._describe()

    def _describe(self) -> None:
        sides = [self._sides[side].traits for side in _SIDES]
        self.traits = replace(
            self._sides[self._read].traits,
            metadata_bytes=min(traits.metadata_bytes for traits in sides),
            cell_bytes=self._cells.traits.cell_bytes,
            exempt=frozenset().union(*(traits.exempt for traits in sides)),
        )

    # --- the migration

    @property
    def read(self) -> Side:
        """The side that is read."""
        return self._read

    @property
    def sides(self) -> tuple[Membership, Membership]:
        """The old connection and the new one."""
        return self._sides["old"], self._sides["new"]

    def switch(self, side: Side) -> None:
        """Read that side from now on; open watches go over to it. The same side: nothing is done.

        Raises: Disconnected where that side doesn't answer: then all stays as it was.
        """
        _checked(side)
        with self._switching:
            if side == self._read:
                return
            opened: list[tuple[_BothWatch, Watch]] = []
            with ExitStack() as undo:
                for watch in list(self._watches):
                    source = self._sides[side].watch(watch.group, limit=watch.limit)
                    undo.callback(source.close)
                    opened.append((watch, source))
                undo.pop_all()
            self._read = side
            self._describe()
            for watch, source in opened:
                watch.follow(source)

    def obey(self, setting: Setting) -> None:
        """Read the side that the setting names, now and whenever it changes, until `close`.

        The setting's value is ``"old"`` or ``"new"``; another is logged and passed over. A switch
        that fails is tried again. Put the setting on the side of the cells.

        Raises: InvalidValue where it follows one already.
        """
        if self._following is not None:
            raise InvalidValue("this connection obeys a setting already")
        self._following = threading.Thread(
            target=self._obey, args=(setting,), name="membership-migration", daemon=True
        )
        self._following.start()

    def _obey(self, setting: Setting) -> None:
        while not self._closing.is_set():
            try:
                for _ in setting.changes():
                    while not self._obeyed(setting) and not self._closing.wait(_RETRY):
                        pass
            except Disconnected:
                self._closing.wait(_RETRY)
            except Closed:
                return

    def _obeyed(self, setting: Setting) -> bool:
        """Whether we read what the setting says now, or it says nothing that can be read."""
        try:
            side = setting.get().value
            self.switch(cast(Side, side))
        except InvalidValue as error:
            _logger.warning("%s is still read: %s", self._read, error)
        except Disconnected as error:
            _logger.warning("%s is still read: %s", self._read, error)
            return False
        return True

    def compare(self, group: str) -> Difference:
        """Read the group on both sides, and tell how they differ now.

        Who joins, leaves or changes meanwhile may be on one side only: what differs twice, some
        seconds apart, differs. Raises: Disconnected.
        """
        return difference(*(self._sides[side].members(group) for side in _SIDES))

    # --- the contract

    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,
        on_rejoined: Callback | None = None,
    ) -> Registration:
        """Become a member on both sides. The callbacks tell of the side that is read then.

        Raises: as `Membership.join`; where one side refuses, the other is left again.
        """
        registration = _BothRegistration(self, group, name)
        with ExitStack() as undo:
            for side in _SIDES:
                joined = self._sides[side].join(
                    group,
                    name,
                    metadata=metadata,
                    on_lost=registration.told_by(side, on_lost),
                    on_rejoined=registration.told_by(side, on_rejoined),
                )
                undo.callback(_leave_quietly, joined)
                registration.sides[side] = joined
            undo.pop_all()
        return registration

    def members(self, group: str) -> View:
        return self._sides[self._read].members(group)

    def member(self, group: str, name: str) -> Member | None:
        return self._sides[self._read].member(group, name)

    def groups(self) -> tuple[str, ...]:
        return self._sides[self._read].groups()

    def watch(self, group: str, *, limit: int = 100_000) -> Watch:
        with self._switching:
            source = self._sides[self._read].watch(group, limit=limit)
            watch = _BothWatch(source, limit, self._watches.discard)
            self._watches.add(watch)
            return watch

    def force_down(self, group: str, name: str, reason: str = "") -> None:
        """See `Membership.force_down`; on both sides."""
        _all([partial(side.force_down, group, name, reason) for side in self._sides.values()])

    def lift(self, group: str, name: str) -> None:
        """See `Membership.lift`; on both sides."""
        _all([partial(side.lift, group, name) for side in self._sides.values()])

    def forced_down(self, group: str) -> Mapping[str, str]:
        return self._sides[self._read].forced_down(group)

    def cell(self, name: str) -> Cell:
        return self._cells.cell(name)

    def close(self) -> None:
        self._closing.set()
        for watch in list(self._watches):
            watch.close()
        for side in _SIDES:
            self._sides[side].close()
        if self._following is not None:
            self._following.join()


class _BothRegistration(Registration):
    def __init__(self, both: Both, group: str, name: str) -> None:
        self.group = group
        self.name = name
        self.sides: dict[Side, Registration] = {}
        self._both = both

    def told_by(self, side: Side, callback: Callback | None) -> Callback | None:
        """That side's callback; it is silent while the other one is read."""
        if callback is None:
            return None

        def tell(registration: Registration) -> None:
            self.sides.setdefault(side, registration)  # `join` may not have returned yet
            if side == self._both.read:
                callback(self)

        return tell

    @property
    def _seen(self) -> Registration:
        return self.sides[self._both.read]

    @property
    def token(self) -> int:
        return self._seen.token

    @property
    def metadata(self) -> Metadata:
        return self._seen.metadata

    @property
    def is_member(self) -> bool:
        return self._seen.is_member

    def update(self, metadata: Metadata) -> None:
        _all([partial(side.update, metadata) for side in self.sides.values()])

    def leave(self) -> None:
        _all([side.leave for side in self.sides.values()])


class _BothWatch(Watch):
    """The watch of the side that is read. What its consumer was told is kept, so that a switch
    is told as what it changes."""

    def __init__(self, source: Watch, limit: int, on_close: Callable[[_BothWatch], None]) -> None:
        self.group = source.group
        self.limit = limit
        self._on_close = on_close
        self._source = source
        self._lock = threading.Lock()
        self._queue: deque[MemberEvent] = deque()
        self._delivered: dict[str, Member] = {}
        self._earlier = 0
        """Versions that the sources before this one have used up."""
        self._call: Callable[[], None] | None = None
        self._closed = False

    @property
    def view(self) -> View:
        with self._lock:
            view = self._source.view
            return replace(view, version=self._earlier + view.version)

    def follow(self, source: Watch) -> None:
        """Go over to this source; its first events, the members that it has, are still to come."""
        with self._lock:
            before = self._source
            if not self._closed:
                self._source = source
                self._earlier += before.view.version + 1
                present = source.view.members
                gone = [each for name, each in self._delivered.items() if name not in present]
                self._queue.clear()  # the net difference takes its place
                self._put(EventKind.RESYNCED, None)
                for member in gone:
                    self._put(EventKind.LEFT, member)
                if self._call is not None:
                    source.notify(self._call)
        (source if self._closed else before).close()

    def _put(self, kind: EventKind, member: Member | None, version: int = 0) -> None:
        self._queue.append(MemberEvent(kind, self.group, member, self._earlier + version))

    def next(self, timeout: float | None = None) -> MemberEvent | None:
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                if self._closed:
                    return None
                if self._queue:
                    return self._deliver(self._queue.popleft())
                source = self._source
            left = None if timeout is None else max(0.0, end - time.monotonic())
            event = source.next(left)
            with self._lock:
                if source is not self._source:
                    continue  # what the new one has takes the place of what came
                if event is None:
                    return None
                self._take(event)

    def notify(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._call = call
            self._source.notify(call)

    def _take(self, event: MemberEvent) -> None:
        member = event.member
        if event.kind is EventKind.JOINED and member is not None:
            before = self._delivered.get(member.name)
            if before is not None:  # by the other side's token
                self._put(EventKind.LEFT, before, event.version)
        self._put(event.kind, member, event.version)

    def _deliver(self, event: MemberEvent) -> MemberEvent:
        if event.member is not None:
            if event.kind is EventKind.LEFT:
                self._delivered.pop(event.member.name, None)
            else:
                self._delivered[event.member.name] = event.member
        return event

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._source.close()
        self._on_close(self)


def _checked(side: Side) -> Side:
    if side not in _SIDES:
        raise InvalidValue(f"{side!r} is neither 'old' nor 'new'")
    return side


def _all(calls: Iterable[Callable[[], None]]) -> None:
    """Make every call. Raises: what the first one that failed raised."""
    errors: list[MembershipError] = []
    for call in calls:
        try:
            call()
        except MembershipError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _leave_quietly(registration: Registration) -> None:
    with suppress(Disconnected):  # they will notice by their timeout
        registration.leave()
