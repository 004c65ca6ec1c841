"""What checks and tests wait with, bounded, with room for a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from membership.api import Watch
from membership.errors import MembershipError
from membership.model import Member, MemberEvent

T = TypeVar("T")

ROOM = 20.0
"""Seconds that a busy machine may add to any wait; a wait that succeeds ends at once."""


def eventually(
    holds: Callable[[], T], within: float = 0.0, why: Callable[[], object] = lambda: ""
) -> T:
    """The first true value of ``holds`` within that many seconds (and the room of a busy machine).

    Raises: AssertionError.
    """
    end = time.monotonic() + within + ROOM
    while not (value := holds()):
        assert time.monotonic() < end, f"still not so after {within + ROOM:.0f} s: {why()}"
        time.sleep(0.01)
    return value


def take(watch: Watch, count: int, within: float = 0.0) -> list[MemberEvent]:
    """The next ``count`` events."""
    events: list[MemberEvent] = []
    end = time.monotonic() + within + ROOM
    while len(events) < count:
        event = watch.next(max(0.0, end - time.monotonic()))
        assert event is not None, f"{len(events)} of {count} events came: {told(events)}"
        events.append(event)
    return events


def told(events: list[MemberEvent]) -> list[tuple[str, str | None]]:
    """Kind and member's name of each event."""
    return [(event.kind.value, event.member.name if event.member else None) for event in events]


def quiet(watch: Watch, seconds: float) -> None:
    """Nothing more comes. Raises: AssertionError."""
    event = watch.next(seconds)
    assert event is None, f"unexpected: {event}"


def refused(error: type[MembershipError], call: Callable[[], object]) -> None:
    """The call raises that. Raises: AssertionError."""
    try:
        call()
    except error:
        return
    raise AssertionError(f"it was done: {error.__name__} should have been raised")


def the_member(event: MemberEvent) -> Member:
    """Whom it is about; for any event but ``resynced``."""
    assert event.member is not None
    return event.member
