"""A group's membership, written into somebody else's records: on change only, by one writer.

The writer is elected on the source's own cells, and each of its writes carries the leadership's
token, which the sink checks and remembers in the same transaction: once a new writer has read,
an older one's writes are refused. A new writer reads everything once and writes the differences,
so nothing is missed between two of them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Protocol

from membership.api import Membership, Watch
from membership.model import EventKind
from membership.recipes.duty import Duty
from membership.recipes.election import Leadership, LeadershipSource

_LOOK = 0.25
"""Seconds between two looks at whether the writer still leads."""


class LivenessSink(Protocol):
    """Records of who is up. Both calls are one transaction each, and raise Conflict, with nothing
    written, once a larger token was seen; Disconnected where the outcome is unknown."""

    def read(self, token: int) -> Mapping[str, bool | None]:
        """What every record says; None where it says nothing. Older tokens are refused from now
        on."""

    def write(self, states: Mapping[str, bool], token: int) -> Collection[str]:
        """Record these. Returns the names of which there are no records."""


class Mirror:
    """Keeps a sink equal to a group. All durations are seconds.

    ``gather``: for how long a change waits for others to share its transaction; ``batch``: the
    most that one transaction changes. A member without a record is tried again each ``retry``.
    """

    def __init__(
        self,
        membership: Membership,
        group: str,
        sink: LivenessSink,
        *,
        gather: float = 0.02,
        batch: int = 500,
        retry: float = 5.0,
    ) -> None:
        self._membership = membership
        self._group = group
        self._sink = sink
        self._gather = gather
        self._batch = batch
        self._retry = retry

    def run(self, source: LeadershipSource) -> Duty:
        """Write whenever that source, a `Candidacy` for one, says that this process leads; until
        the duty is closed."""

        def work(leadership: Leadership) -> None:
            with self._membership.watch(self._group) as watch:
                difference = _Difference(watch, self._sink.read(leadership.token), self._retry)
                while duty.lasts(leadership):
                    if states := difference.take(self._batch, time.monotonic()):
                        rowless = self._sink.write(states, leadership.token)
                        difference.written(states, rowless, time.monotonic())
                    else:
                        difference.listen(_LOOK, self._gather)

        duty = Duty(f"mirror-{self._group}", source, work)
        duty.start()
        return duty


class _Difference:
    """What the records lack of what the watch says."""

    def __init__(self, watch: Watch, recorded: Mapping[str, bool | None], retry: float) -> None:
        self._watch = watch
        self._recorded = dict(recorded)
        self._retry = retry
        self._rowless: dict[str, float] = {}
        """Members without a record, and when to try again."""
        view = watch.view
        self._since = view.version
        """Events until then are in the view already."""
        self._up = set(view.members)
        self._doubtful = set(view.unconfirmed)
        """Whom this watch can't vouch for yet: the last writer may have known better."""
        self._changed = (self._up | recorded.keys()) - self._doubtful

    def listen(self, patience: float, gather: float) -> None:
        """Take in the next event, and those that follow on its heels."""
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            event = self._watch.next(left)
            if event is None:
                time.sleep(max(0.0, end - time.monotonic()))  # only where the watch was closed
                return
            if event.member is None or event.version <= self._since:
                continue
            if not self._changed:
                end = time.monotonic() + gather
            name = event.member.name
            if event.kind is EventKind.LEFT:
                self._up.discard(name)
                self._doubtful.discard(name)
            else:
                self._up.add(name)
            if name not in self._doubtful:
                self._changed.add(name)

    def take(self, most: int, now: float) -> dict[str, bool]:
        """Up to so many records that have to change."""
        if self._doubtful:
            settled = self._doubtful - self._watch.view.unconfirmed
            self._doubtful -= settled
            self._changed |= settled
        self._changed.update(name for name, due in self._rowless.items() if due <= now)
        states: dict[str, bool] = {}
        while self._changed and len(states) < most:
            name = self._changed.pop()
            up = name in self._up
            if not up:
                self._rowless.pop(name, None)
            if self._recorded.get(name, False) is not up:
                states[name] = up
        return states

    def written(self, states: Mapping[str, bool], rowless: Collection[str], now: float) -> None:
        """These were recorded, but for those without a record."""
        for name, up in states.items():
            if name in rowless:
                self._rowless[name] = now + self._retry
            else:
                self._recorded[name] = up
                self._rowless.pop(name, None)
