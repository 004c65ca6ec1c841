"""How a backend is put to the checks, and what it has to supply."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from membership.api import Membership
from membership.errors import InvalidValue
from membership.testing.waiting import eventually


class Subject(Protocol):
    """What a backend's author supplies: fresh servers, or a fresh namespace on them."""

    def connect(self) -> Membership:
        """Another connection to the same servers and namespace."""

    def crash(self, membership: Membership) -> None:
        """End that connection as SIGKILL would: nothing said to the servers, nothing left here."""

    def silence(self) -> AbstractContextManager[None]:
        """The servers stand still while the block runs, for as long as it takes a call to raise
        Disconnected. Where they can't, as with no servers at all: nothing."""

    def sessions(self) -> int:
        """How many sessions or connections the servers hold from `connect` now."""


Check = Callable[[Subject], None]
_checks: list[tuple[str | None, Check]] = []


def promise(name: str | None = None) -> Callable[[Check], Check]:
    """Register a check; ``name`` is the promise that a backend's traits may exempt it from."""

    def register(check: Check) -> Check:
        _checks.append((name, check))
        return check

    return register


def checks(exempt: frozenset[str] = frozenset()) -> list[Check]:
    """The checks that a backend with these exemptions has to pass."""
    unknown = exempt - {name for name, _ in _checks}
    if unknown:
        raise InvalidValue(f"no promise is called {', '.join(sorted(unknown))}")
    return [check for name, check in _checks if name not in exempt]


def run(check: Check, subject: Subject) -> None:
    """Run one check, then show that it left no thread and no session behind."""
    threads, sessions = set(threading.enumerate()), subject.sessions()
    check(subject)

    def left() -> str:
        stray = [thread.name for thread in threading.enumerate() if thread not in threads]
        more = subject.sessions() - sessions
        return f"threads {stray}, {more} sessions" if stray or more > 0 else ""

    eventually(lambda: not left(), why=lambda: f"left behind: {left()}")
