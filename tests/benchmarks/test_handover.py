"""Leadership of a large group handed over: ours next to kazoo and tooz, in one run.

Each candidate follows the group, which changes all the while. One kind after the other: each
carries the load of its own way to follow.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.recipe.election import Election as KazooElection
from kazoo.recipe.watchers import ChildrenWatch
from pytest_benchmark.fixture import BenchmarkFixture
from tooz import ToozError

from bench.engines.live.provision import Deployment
from membership.backends.zookeeper import ZooKeeperMembership
from membership.recipes import Candidacy, Election
from membership.testing import ROOM
from tests.benchmarks.comparison import OURS, medians, shown
from tests.benchmarks.group import GROUP, SESSION, Group, kazoo, large_group, ours, tooz

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # tooz's dependencies have them
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

CANDIDATES = 3
HANDOVERS = 10
DEATHS = 3
LEASE = 6.0
"""Where leaders die: ours, and the session timeout of the others, of which it is the lease."""
CHURN = 50.0
"""Joins and leaves of the group a second."""
POLL = 0.05
"""Between two looks of a tooz candidate, in s; it has no other way."""


@pytest.fixture
def group(own_zookeeper: Deployment) -> Iterator[Group]:
    with large_group(own_zookeeper) as made:
        yield made


class Throne:
    """Who leads, as told by the candidates of one kind."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reigns = 0
        self._leader: str | None = None

    def taken(self, name: str) -> None:
        with self._changed:
            self._leader = name
            self._reigns += 1
            self._changed.notify_all()

    def seconds(self, end: Callable[[str], object], lead_in: float) -> float:
        """From the end of a reign, so long after it has been seen, until the next one's begin."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._leader is not None, ROOM)
            leader, before = self._leader, self._reigns
        assert leader is not None
        time.sleep(lead_in)
        begun = time.perf_counter()
        end(leader)
        with self._changed:
            assert self._changed.wait_for(lambda: self._reigns > before, LEASE + ROOM)
        return time.perf_counter() - begun


@dataclass(frozen=True)
class Candidates:
    """Of one kind; both functions take a leader's name."""

    throne: Throne
    stand_down: Callable[[str], object]
    die: Callable[[str], object]


Stand = Callable[[ExitStack, Group, int, float], Candidates]
"""Has so many stand, with sessions of that timeout."""


def test_standing_down_hands_over(
    benchmark: BenchmarkFixture, group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the call until another leads.

    kazoo's best is below ours, for the reason that is shown; whose median is depends on the
    machine, so nothing is asserted of it.
    """

    def hand_over(kind: Stand) -> list[float]:
        with ExitStack() as stack:
            candidates = kind(stack, group, CANDIDATES, SESSION)
            stack.enter_context(churning(group))
            return [candidates.throne.seconds(candidates.stand_down, 0.0) for _ in range(HANDOVERS)]

    seconds = measured(benchmark, hand_over)
    title = f"leadership handed over, {CHURN:.0f} changes a second"
    shown(
        capsys,
        title,
        seconds,
        "ours: two committed writes, one after the other, of which the second mints the token;\n"
        "kazoo: one, for its candidates queue beforehand, without a token and without a deadline",
    )


def test_a_dead_leader_is_followed(
    benchmark: BenchmarkFixture, group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the leader's death until another leads; it dies at other times between two renewals."""

    def follow(kind: Stand) -> list[float]:
        with ExitStack() as stack:
            candidates = kind(stack, group, DEATHS + 2, LEASE)
            stack.enter_context(churning(group))
            return [
                candidates.throne.seconds(candidates.die, (number + 0.5) / DEATHS * LEASE / 3)
                for number in range(DEATHS)
            ]

    seconds = measured(benchmark, follow)
    shown(
        capsys,
        f"dead leaders followed, leases and sessions of {LEASE:.0f} s",
        seconds,
        "ours: the lease, from when the last renewal was seen;\n"
        "kazoo and tooz: the session, from the last ping on, rounded up to the server's tick",
    )


def measured(
    benchmark: BenchmarkFixture, of_one_kind: Callable[[Stand], list[float]]
) -> dict[str, list[float]]:
    kinds: dict[str, Stand] = {
        OURS: _our_candidates,
        "kazoo's Election": _kazoo_candidates,
        f"tooz, every {POLL * 1e3:.0f} ms": _tooz_candidates,
    }
    seconds: dict[str, list[float]] = {}

    def each() -> None:
        seconds.update((name, of_one_kind(kind)) for name, kind in kinds.items())

    benchmark.pedantic(each)
    benchmark.extra_info.update(medians(seconds))
    return seconds


@contextmanager
def churning(group: Group) -> Iterator[None]:
    """Members come and go; ours, kazoo's and tooz's alike."""
    stop = threading.Event()

    def churn() -> None:
        for number in itertools.count():
            if stop.wait(1 / CHURN):
                return
            group.join(f"passing-{number}")
            group.leave(f"passing-{number}")

    thread = threading.Thread(target=churn, name="churn")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _told(throne: Throne, name: str, _: object) -> None:
    throne.taken(name)


def _our_candidates(stack: ExitStack, group: Group, count: int, session: float) -> Candidates:
    throne = Throne()
    candidacies: dict[str, Candidacy] = {}
    memberships: dict[str, ZooKeeperMembership] = {}
    for number in range(count):
        membership = stack.enter_context(ours(group.url, session))
        assert isinstance(membership, ZooKeeperMembership)
        stack.enter_context(membership.watch(GROUP))
        name = f"candidate-{number}"
        memberships[name] = membership
        candidacies[name] = stack.enter_context(
            Election(membership, f"benchmark-{session}", lease=session).run(
                membership.join("candidates", name), on_elected=partial(_told, throne, name)
            )
        )
    return Candidates(
        throne,
        stand_down=lambda leader: candidacies[leader].stand_down(),
        die=lambda leader: memberships[leader].abandon(),
    )


def _kazoo_candidates(stack: ExitStack, group: Group, count: int, session: float) -> Candidates:
    throne = Throne()
    resign = {f"candidate-{number}": threading.Event() for number in range(count)}
    clients = {name: stack.enter_context(kazoo(group.hosts, session)) for name in resign}
    ended = threading.Event()

    def reign(name: str) -> None:
        throne.taken(name)
        resign[name].wait()
        resign[name].clear()

    def stand(name: str) -> None:
        election = KazooElection(clients[name], f"/benchmark-{session}", name)
        with suppress(KazooException):  # as one dies of
            while not ended.is_set():
                election.run(reign, name)

    for name, client in clients.items():
        ChildrenWatch(client, group.path, lambda _: None)
        thread = threading.Thread(target=stand, args=(name,), name=name)
        thread.start()
        stack.callback(thread.join)
        stack.callback(resign[name].set)
    stack.callback(ended.set)

    def end() -> None:
        for event in resign.values():
            event.set()

    stack.callback(end)
    return Candidates(
        throne,
        stand_down=lambda leader: resign[leader].set(),
        die=lambda leader: _die(clients[leader]),
    )


def _tooz_candidates(stack: ExitStack, group: Group, count: int, session: float) -> Candidates:
    throne = Throne()
    stop = threading.Event()
    elected = f"elected-{session}".encode()
    resign = {f"candidate-{number}": threading.Event() for number in range(count)}
    clients: dict[str, KazooClient] = {}

    def stand(coordinator: Any, name: str) -> None:
        with suppress(ToozError, KazooException):  # as one dies of
            while not stop.wait(POLL):
                if resign[name].is_set():
                    resign[name].clear()
                    coordinator.stand_down_group_leader(elected)
                    stop.wait(2 * POLL)  # else it takes the seat again itself
                coordinator.run_watchers()

    for name in resign:
        coordinator = stack.enter_context(tooz(group.hosts, name, session))
        clients[name] = coordinator._coord
        if name == "candidate-0":
            coordinator.create_group(elected).get()
        coordinator.watch_join_group(GROUP.encode(), lambda _: None)
        coordinator.watch_elected_as_leader(elected, partial(_told, throne, name))
        thread = threading.Thread(target=stand, args=(coordinator, name), name=name)
        thread.start()
        stack.callback(thread.join)
    stack.callback(stop.set)
    return Candidates(
        throne,
        stand_down=lambda leader: resign[leader].set(),
        die=lambda leader: _die(clients[leader]),
    )


def _die(client: KazooClient) -> None:
    """As a killed process would, as far as the servers can tell: its connection is gone."""
    client._stopped.set()
    ending = threading.Thread(target=client._safe_close)
    ending.start()
    while ending.is_alive():
        with suppress(OSError, AttributeError):
            client._connection._socket.shutdown(socket.SHUT_RDWR)
        ending.join(0.05)
