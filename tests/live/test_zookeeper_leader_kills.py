"""The leader of three servers killed again and again: nobody is lost, nobody leads twice.

`LEADER_KILLS` says how often; 3 unless it is set.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from bench.engines.live.provision import Deployment, Server, zookeeper
from membership import EventKind, Freshness, MemberEvent, Registration, Watch, ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse
from membership.recipes.election import Candidacy, Election, Leadership
from membership.testing import eventually, take

pytestmark = pytest.mark.alone

KILLS = int(os.environ.get("LEADER_KILLS", "3"))
MEMBERS = 200
CANDIDATES = 3
LEASE = 2.0
SESSION = 10.0
GROUP = "compute"


def join_url(url: str) -> ZooKeeperMembership:
    config = ZooKeeperConfig(SESSION, connect_timeout=30.0)
    return ZooKeeperMembership(parse(url), config, lambda _name, _value: None)


class Ensemble:
    """Servers, and who of them leads."""

    def __init__(self, deployment: Deployment) -> None:
        self.servers = deployment.servers

    def wait_without(self, dead: Server) -> None:
        """Until the others serve, under a leader."""
        self._wait([server for server in self.servers if server is not dead])

    def wait_for_all(self) -> None:
        self._wait(self.servers)

    def _wait(self, servers: Sequence[Server]) -> None:
        addresses = [(server.host, server.port) for server in servers]
        eventually(lambda: zookeeper.serving(addresses), 3 * SESSION)

    def leader(self) -> Server:
        (leader,) = (server for server in self.servers if server.role() == "leader")
        return leader


class Overlaps:
    """Looks, without a pause, for two candidacies that lead at one instant.

    A leadership that is over stays so. One that is believed in before and after a look at the
    others was believed in during it, however long the look took.
    """

    def __init__(self, candidacies: Sequence[Candidacy]) -> None:
        self._candidacies = candidacies
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="overlaps")
        self.found: set[tuple[int, ...]] = set()
        """The tokens of those that led at one instant."""
        self.looks = 0

    def _look(self) -> None:
        while not self._stop.wait(0.001):
            leaderships = [candidacy.leadership for candidacy in self._candidacies]
            leading = [one for one in leaderships if one is not None]
            still = tuple(one.token for one in leading if one.is_leader)
            if len(leading) > 1 and len(still) > 1:
                self.found.add(still)
            self.looks += 1

    @contextmanager
    def looking(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def settle(watch: Watch) -> None:
    eventually(lambda: watch.view.freshness is Freshness.FRESH, 3 * SESSION)


def drain(watch: Watch) -> list[MemberEvent]:
    events = []
    while (event := watch.next(0.0)) is not None:
        events.append(event)
    return events


def test_a_leader_killed_again_and_again_costs_no_life_and_makes_no_second_leader(
    mortal_ensemble: Deployment,
) -> None:
    losses: list[str] = []
    elected: list[int] = []

    def lost(registration: Registration) -> None:
        losses.append(registration.name)

    def on_elected(leadership: Leadership) -> None:
        elected.append(leadership.token)

    with ExitStack() as stack:
        ensemble = Ensemble(mortal_ensemble)
        pool = stack.enter_context(ThreadPoolExecutor(16))
        namespace = parse(mortal_ensemble.url).namespace
        observers = [
            stack.enter_context(join_url(f"zookeeper://{server.host}:{server.port}/{namespace}"))
            for server in ensemble.servers
        ]
        watches = [stack.enter_context(observer.watch(GROUP)) for observer in observers]
        connections = list(pool.map(join_url, [mortal_ensemble.url] * (MEMBERS + CANDIDATES)))
        # together: one after another, the sessions of the last ones would have to wait
        stack.callback(lambda: list(pool.map(ZooKeeperMembership.close, connections)))
        members, candidates = connections[:MEMBERS], connections[MEMBERS:]
        registrations = list(
            pool.map(
                lambda pair: pair[1].join(GROUP, f"host-{pair[0]}", on_lost=lost),
                enumerate(members),
            )
        )
        tokens = {me.name: me.token for me in registrations}
        candidacies = [
            stack.enter_context(
                Election(candidate, "leader", lease=LEASE).run(
                    candidate.join("candidates", f"candidate-{number}", on_lost=lost),
                    on_elected=on_elected,
                )
            )
            for number, candidate in enumerate(candidates)
        ]
        for watch in watches:
            take(watch, MEMBERS, SESSION)
        eventually(lambda: elected, LEASE)
        overlaps = Overlaps(candidacies)
        stack.enter_context(overlaps.looking())

        def all_back() -> bool:
            connected = all(member.server is not None for member in members)
            return connected and all(me.is_member for me in registrations)

        for number in range(KILLS):
            victim = ensemble.leader()
            killed = time.monotonic()
            mortal_ensemble.control(victim.name).kill()
            ensemble.wait_without(victim)
            replaced = time.monotonic() - killed
            mortal_ensemble.control(victim.name).launch()
            eventually(all_back, 3 * SESSION)
            back = time.monotonic() - killed
            ensemble.wait_for_all()
            for watch in watches:
                settle(watch)
                assert {member.name: member.token for member in watch.view} == tokens
                assert {event.kind for event in drain(watch)} <= {EventKind.RESYNCED}
            eventually(lambda: any(candidacy.leadership for candidacy in candidacies), 3 * LEASE)
            print(  # noqa: T201
                f"kill {number + 1}: {victim.name}, a new leader after {replaced:.1f} s, "
                f"all {MEMBERS} members back after {back:.1f} s, {len(elected)} tenures so far"
            )

        assert {me.name: me.token for me in registrations} == tokens
        assert losses == []
        assert overlaps.found == set()
        assert overlaps.looks > 0
        assert elected == sorted(set(elected))
