"""Fault by fault, what a database's bad day does to 200 live members: `nova` beside `tuned`.

No member fails here, so every departure is a mistake. Both profiles' members and readers live
through the same faults of one server, at the same timings; the test prints what each reader said.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

import pytest

from bench.engines.live.provision import Control, Deployment
from membership import (
    Disconnected,
    EventKind,
    Freshness,
    MassLoss,
    Membership,
    Registration,
    SqlConfig,
    Watch,
    connect,
)
from membership.testing import ROOM, eventually
from tests.live.sessions import frozen

pytestmark = pytest.mark.alone

PROFILES: tuple[Literal["nova", "tuned"], ...] = ("nova", "tuned")
MEMBERS = 200
INTERVAL, TIMEOUT = 1.0, 4.0
OUTAGE = TIMEOUT + 2.0
MASS = MassLoss().share


class Clock:
    """The wall clock of the readers: it can be wrong."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@contextmanager
def restarted(server: Control) -> Iterator[None]:
    """Shut down in order, and started again on its data."""
    server.stop()
    try:
        yield
    finally:
        server.start()


class Camp:
    """One profile: 200 members on two connections, and a reader."""

    def __init__(self, url: str, profile: Literal["nova", "tuned"], stack: ExitStack) -> None:
        self.profile = profile
        self.clock = Clock()
        self._url = url
        self._stack = stack
        beats = self._config(time.time)
        hosts = [stack.enter_context(connect(url, beats)) for _ in range(2)]
        self.members: list[Registration] = [
            hosts[number % 2].join("compute", f"host-{number}") for number in range(MEMBERS)
        ]
        self.tokens = [member.token for member in self.members]
        reader = stack.enter_context(connect(url, self._config(self.clock)))
        self.watch: Watch = stack.enter_context(reader.watch("compute"))
        self.departures()
        self._late: list[int] = []

    def _config(self, clock: Callable[[], float]) -> SqlConfig:
        return SqlConfig(
            profile=self.profile,
            interval=INTERVAL,
            timeout=TIMEOUT,
            poll=0.1,
            connect_timeout=3.0,
            wall_clock=clock,
        )

    def settled(self) -> bool:
        """Whether all is well again, and known to be."""
        view = self.watch.view
        return (
            all(member.is_member for member in self.members)
            and len(view) == MEMBERS
            and view.freshness is Freshness.FRESH
            and not view.unconfirmed
        )

    def state(self) -> str:
        """For messages."""
        standing = sum(member.is_member for member in self.members)
        return f"{self.profile}: {standing} members stand, the reader has {self.watch.view}"

    def departures(self) -> int:
        """How many members the reader has said left, since it was last asked."""
        said: Counter[EventKind] = Counter()
        while (event := self.watch.next(0.0)) is not None:
            said[event.kind] += 1
        return said[EventKind.LEFT]

    def newcomer(self) -> threading.Thread:
        """A reader that starts now, and tries until the database lets it."""

        def come() -> None:
            while True:
                try:
                    membership: Membership = connect(self._url, self._config(time.time))
                except Disconnected:
                    continue
                with membership, suppress(Disconnected), membership.watch("compute") as watch:
                    self._late.append(MEMBERS - len(watch.view))
                    return

        thread = threading.Thread(target=come)
        thread.start()
        return thread

    def missing(self) -> int:
        """Whom the newcomers' first views lacked."""
        total, self._late = sum(self._late), []
        return total


def test_a_databases_bad_day_is_novas_mass_death_and_nobodys_with_tuned(
    mortal_postgres: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    (server,) = mortal_postgres.servers
    stopped = restarted(mortal_postgres.control(server.name))
    told: dict[tuple[str, str], int] = {}
    with ExitStack() as stack:
        camps = [Camp(mortal_postgres.url, profile, stack) for profile in PROFILES]

        def after(fault: str, newcomers: list[threading.Thread]) -> None:
            for thread in newcomers:
                thread.join(OUTAGE + ROOM)
            for camp in camps:
                eventually(camp.settled, 3 * TIMEOUT, why=camp.state)
                told[fault, camp.profile] = camp.departures()
                if newcomers:
                    told[f"{fault}: missing to a new reader", camp.profile] = camp.missing()

        after("nothing", [])
        for fault, outage in (("restart", stopped), ("pause", frozen(mortal_postgres))):
            with outage:
                time.sleep(OUTAGE - 1.0)
                newcomers = [camp.newcomer() for camp in camps]
                time.sleep(1.0)
            after(fault, newcomers)
        for camp in camps:
            camp.clock.ahead = 2 * TIMEOUT
        time.sleep(1.0)
        for camp in camps:
            camp.clock.ahead = 0.0
        after("reader's clock step", [])
        kept = [member.token for member in camps[1].members] == camps[1].tokens

    faults = list(dict.fromkeys(fault for fault, _ in told))
    table = [f"{f'{MEMBERS} live members, called dead':46}{'nova':>8}{'tuned':>8}"]
    table += [f"  {fault:44}{told[fault, 'nova']:8}{told[fault, 'tuned']:8}" for fault in faults]
    with capsys.disabled():
        print("", *table, sep="\n")  # noqa: T201  a finding, to be read
    assert kept
    assert sum(told[fault, "tuned"] for fault in faults) == 0
    for fault in ("restart", "pause", "reader's clock step"):
        assert told[fault, "nova"] >= MASS * MEMBERS, fault
