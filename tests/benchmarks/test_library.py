"""A large group on ZooKeeper, read, watched and led: ours next to kazoo and tooz, in one run.

Each of them reads and writes its own layout: ours and kazoo's `Party`-like clients the same nodes,
tooz nodes of the same names and metadata below its own path. What is read is equal, and compared.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.recipe.election import Election as KazooElection
from kazoo.recipe.watchers import ChildrenWatch
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table
from tooz import coordination
from tooz.utils import dumps

from bench.engines.live.provision import Deployment
from membership import EventKind, Membership, ZooKeeperConfig, connect
from membership.backends.zookeeper import paths
from membership.encoding import decode_metadata, encode_metadata
from membership.recipes import Election
from membership.testing import ROOM, take

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # tooz's dependencies have them
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

MEMBERS = 10_000
READS = 3
CHANGES = 20
HANDOVERS = 10
CANDIDATES = 3
CHURN = 50.0
"""Joins and leaves of the group a second while leadership is handed over."""
SESSION = 30.0
GROUP = "compute"
POLL = 0.05
"""Between two looks of a tooz candidate, in s; it has no other way."""

Content = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Group:
    """Two copies of one group, whose members one session holds."""

    url: str
    hosts: str
    path: str
    """Where ours and kazoo's members stand."""
    tooz_path: str
    content: Content
    owner: KazooClient

    def join(self, name: str) -> None:
        metadata = {"zone": name}
        self.owner.create(f"{self.path}/{name}", encode_metadata(metadata), ephemeral=True)
        self.owner.create(f"{self.tooz_path}/{name}", dumps(metadata), ephemeral=True)

    def leave(self, name: str) -> None:
        self.owner.delete(f"{self.path}/{name}")
        self.owner.delete(f"{self.tooz_path}/{name}")


@pytest.fixture
def group(own_zookeeper: Deployment) -> Iterator[Group]:
    url = f"{own_zookeeper.url.rpartition('/')[0]}/library"
    address = paths.parse(url)
    hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
    content: Content = {
        f"service-{n:05}": {"zone": f"az{n % 3}", "address": f"10.0.{n // 256}.{n % 256}:8774"}
        for n in range(MEMBERS)
    }
    with kazoo(hosts) as owner:
        path, tooz_path = paths.group_path(address.namespace, GROUP), f"/tooz/{GROUP}"
        for folder in (path, tooz_path):
            owner.ensure_path(folder)
        joins = [
            (f"{folder}/{name}", encoded(metadata))
            for name, metadata in content.items()
            for folder, encoded in ((path, encode_metadata), (tooz_path, dumps))
        ]
        for start in range(0, len(joins), 500):
            some = joins[start : start + 500]
            for answer in [owner.create_async(*join, ephemeral=True) for join in some]:
                answer.get(ROOM)
        yield Group(url, hosts, path, tooz_path, content, owner)


@contextmanager
def kazoo(hosts: str) -> Iterator[KazooClient]:
    client = KazooClient(hosts, timeout=SESSION)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


@contextmanager
def tooz(hosts: str, name: str) -> Iterator[Any]:
    coordinator = coordination.get_coordinator(
        f"zookeeper://{hosts}", name.encode(), timeout=SESSION
    )
    coordinator.start()
    try:
        yield coordinator
    finally:
        coordinator.stop()
        coordinator._coord.close()  # type: ignore[attr-defined]  # it leaves kazoo's sockets open


def ours(url: str) -> Membership:
    return connect(url, ZooKeeperConfig(session_timeout=SESSION))


# --- reading it all


def test_reading_a_large_group_with_its_metadata(
    benchmark: BenchmarkFixture, group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        ours(group.url) as membership,
        kazoo(group.hosts) as client,
        tooz(group.hosts, "reader") as coordinator,
    ):
        seconds = measured(
            benchmark,
            {
                "membership": lambda: _ours_read(membership),
                "kazoo, one by one": lambda: _kazoo_read(client, group.path),
                "kazoo, all in flight": lambda: _kazoo_read_ahead(client, group.path),
                "tooz": lambda: _tooz_read(coordinator),
            },
            READS,
            lambda content: content == group.content,
        )
    shown(capsys, f"reading {MEMBERS:,} members with their metadata", seconds)
    assert slower_than_ours(seconds)


def _ours_read(membership: Membership) -> Content:
    return {member.name: dict(member.metadata) for member in membership.members(GROUP)}


def _kazoo_read(client: KazooClient, path: str) -> Content:
    names = client.get_children(path)
    return {name: dict(decode_metadata(client.get(f"{path}/{name}")[0])) for name in names}


def _kazoo_read_ahead(client: KazooClient, path: str) -> Content:
    names = client.get_children(path)
    answers = [client.get_async(f"{path}/{name}") for name in names]
    return {
        name: dict(decode_metadata(answer.get()[0]))
        for name, answer in zip(names, answers, strict=True)
    }


def _tooz_read(coordinator: Any) -> Content:
    found: Mapping[bytes, dict[str, Any]] = coordinator.get_members_with_capabilities(
        GROUP.encode()
    ).get()
    return {name.decode(): metadata for name, metadata in found.items()}


# --- seeing one change


def test_seeing_one_change_of_a_large_group(
    benchmark: BenchmarkFixture, group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the join until the observer has the newcomer's name and metadata."""
    numbers = itertools.count()
    with ExitStack() as stack:
        observers: dict[str, Callable[[str], dict[str, Any]]] = {
            "membership": _our_observer(stack, group),
            "kazoo's ChildrenWatch": _kazoo_observer(stack, group),
            "tooz, asked at once": _tooz_observer(stack, group),
        }

        def change(see: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
            return see(f"newcomer-{next(numbers)}")

        seconds = measured(
            benchmark,
            {name: partial(change, see) for name, see in observers.items()},
            CHANGES,
            lambda metadata: metadata["zone"].startswith("newcomer-"),
        )
    shown(capsys, f"one join of {MEMBERS:,} members seen with its metadata", seconds)
    assert slower_than_ours(seconds)


def _our_observer(stack: ExitStack, group: Group) -> Callable[[str], dict[str, Any]]:
    watch = stack.enter_context(stack.enter_context(ours(group.url)).watch(GROUP))
    take(watch, MEMBERS)

    def see(name: str) -> dict[str, Any]:
        while (event := watch.next(0.0)) is not None:
            assert event.member is not None  # another observer's newcomer
        group.owner.create(f"{group.path}/{name}", encode_metadata({"zone": name}), ephemeral=True)
        (event,) = take(watch, 1)
        assert event.kind is EventKind.JOINED
        assert event.member is not None
        assert event.member.name == name
        return dict(event.member.metadata)

    return see


def _kazoo_observer(stack: ExitStack, group: Group) -> Callable[[str], dict[str, Any]]:
    client = stack.enter_context(kazoo(group.hosts))
    known: set[str] = set()
    seen: dict[str, threading.Event] = {}

    def told(children: Sequence[str]) -> None:
        for name in set(children) - known:
            known.add(name)
            if (event := seen.get(name)) is not None:
                event.set()

    ChildrenWatch(client, group.path, told)

    def see(name: str) -> dict[str, Any]:
        seen[name] = threading.Event()
        path = f"{group.path}/{name}"
        group.owner.create(path, encode_metadata({"zone": name}), ephemeral=True)
        assert seen[name].wait(ROOM)
        return dict(decode_metadata(client.get(path)[0]))

    return see


def _tooz_observer(stack: ExitStack, group: Group) -> Callable[[str], dict[str, Any]]:
    coordinator = stack.enter_context(tooz(group.hosts, "observer"))
    told: list[str] = []
    coordinator.watch_join_group(
        GROUP.encode(), lambda event: told.append(event.member_id.decode())
    )
    coordinator.run_watchers()

    def see(name: str) -> dict[str, Any]:
        told.clear()
        group.owner.create(f"{group.tooz_path}/{name}", dumps({"zone": name}), ephemeral=True)
        coordinator.run_watchers()
        assert told == [name]
        metadata: dict[str, Any] = coordinator.get_member_capabilities(
            GROUP.encode(), name.encode()
        ).get()
        return metadata

    return see


# --- leading it


def test_handing_leadership_over_while_a_large_group_changes(
    benchmark: BenchmarkFixture, group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the leader's standing down until another leads, of three candidates that each follow
    the group. One kind after the other: each carries the load of its own way to follow.

    kazoo's best is below ours: its candidates queue beforehand, so one committed write hands
    over, without a token and without a deadline. Ours are three, one after the other: the seat is
    freed, its bell rung, and the next token minted as the seat is taken. Whose median is below
    depends on the machine, so nothing is asserted of it.
    """
    kinds = {
        "membership": _our_leaders,
        "kazoo's Election": _kazoo_leaders,
        f"tooz, every {POLL * 1e3:.0f} ms": _tooz_leaders,
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}

    def hand_over() -> None:
        for name, candidates in kinds.items():
            with ExitStack() as stack:
                next_leads = candidates(stack, group)
                stack.enter_context(churning(group))
                for _ in range(HANDOVERS):
                    begun = time.perf_counter()
                    assert next_leads(), name
                    seconds[name].append(time.perf_counter() - begun)

    benchmark.pedantic(hand_over)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(medians(seconds))
    shown(capsys, f"leadership handed over, {CHURN:.0f} changes a second", seconds)


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

    def leader(self) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: self._leader is not None, ROOM)
            assert self._leader is not None
            return self._leader

    def next_reign(self, stand_down: Callable[[str], object]) -> bool:
        leader = self.leader()
        before = self._reigns
        stand_down(leader)
        with self._changed:
            return self._changed.wait_for(lambda: self._reigns > before, ROOM)


def _told(throne: Throne, name: str, _: object) -> None:
    throne.taken(name)


Handover = Callable[[], bool]


def _our_leaders(stack: ExitStack, group: Group) -> Handover:
    throne = Throne()
    candidacies = {}
    for number in range(CANDIDATES):
        membership = stack.enter_context(ours(group.url))
        stack.enter_context(membership.watch(GROUP))
        name = f"candidate-{number}"
        registration = membership.join("candidates", name)
        election = Election(membership, "benchmark")
        candidacies[name] = stack.enter_context(
            election.run(registration, on_elected=partial(_told, throne, name))
        )
    return lambda: throne.next_reign(lambda leader: candidacies[leader].stand_down())


def _kazoo_leaders(stack: ExitStack, group: Group) -> Handover:
    throne = Throne()
    resign = {f"candidate-{number}": threading.Event() for number in range(CANDIDATES)}
    ended = threading.Event()

    def reign(name: str) -> None:
        throne.taken(name)
        resign[name].wait()
        resign[name].clear()

    def stand(client: KazooClient, name: str) -> None:
        election = KazooElection(client, "/benchmark", name)
        while not ended.is_set():
            election.run(reign, name)

    for name, event in resign.items():
        client = stack.enter_context(kazoo(group.hosts))
        ChildrenWatch(client, group.path, lambda _: None)
        thread = threading.Thread(target=stand, args=(client, name), name=name)
        thread.start()
        stack.callback(thread.join)
        stack.callback(event.set)
    stack.callback(ended.set)

    def end() -> None:
        for event in resign.values():
            event.set()

    stack.callback(end)
    return lambda: throne.next_reign(lambda leader: resign[leader].set())


def _tooz_leaders(stack: ExitStack, group: Group) -> Handover:
    throne = Throne()
    stop = threading.Event()
    elected = b"elected"
    resign = {f"candidate-{number}": threading.Event() for number in range(CANDIDATES)}

    def stand(coordinator: Any, name: str) -> None:
        while not stop.wait(POLL):
            if resign[name].is_set():
                resign[name].clear()
                coordinator.stand_down_group_leader(elected)
                stop.wait(2 * POLL)  # else it takes the seat again itself
            coordinator.run_watchers()

    for name in resign:
        coordinator = stack.enter_context(tooz(group.hosts, name))
        if name == "candidate-0":
            coordinator.create_group(elected).get()
        coordinator.watch_join_group(GROUP.encode(), lambda _: None)
        coordinator.watch_elected_as_leader(elected, partial(_told, throne, name))
        thread = threading.Thread(target=stand, args=(coordinator, name), name=name)
        thread.start()
        stack.callback(thread.join)
    stack.callback(stop.set)
    return lambda: throne.next_reign(lambda leader: resign[leader].set())


# --- measuring


def measured(
    benchmark: BenchmarkFixture,
    ways: Mapping[str, Callable[[], Any]],
    rounds: int,
    right: Callable[[Any], bool],
) -> dict[str, list[float]]:
    """Seconds that each way took, in turns, so that what the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}

    def one_round() -> None:
        for name, way in ways.items():
            begun = time.perf_counter()
            answer = way()
            seconds[name].append(time.perf_counter() - begun)
            assert right(answer), name

    benchmark.pedantic(one_round, rounds=rounds)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(medians(seconds))
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(each) for name, each in seconds.items()}


def slower_than_ours(seconds: Mapping[str, Sequence[float]]) -> bool:
    """Whether each of the peers' medians is above ours."""
    peers = medians(seconds)
    mine = peers.pop("membership")
    return all(mine < theirs for theirs in peers.values())


def shown(
    capsys: pytest.CaptureFixture[str], title: str, seconds: Mapping[str, Sequence[float]]
) -> None:
    table = Table(title=title)
    table.add_column("")
    for column in ("least, ms", "median, ms", "most, ms", "ratio"):
        table.add_column(column, justify="right")
    middle = medians(seconds)
    for name, each in seconds.items():
        median, mine = middle[name], middle["membership"]
        figures = (min(each) * 1e3, median * 1e3, max(each) * 1e3)
        table.add_row(name, *(f"{figure:,.1f}" for figure in figures), f"{median / mine:.2f}")
    with capsys.disabled():
        console = Console(width=100)
        console.print()
        console.print(table)
