"""A large group on ZooKeeper, read and watched: ours next to kazoo and tooz, in one run.

What is read is equal, and compared.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.recipe.watchers import ChildrenWatch
from pytest_benchmark.fixture import BenchmarkFixture
from tooz.utils import dumps

from bench.engines.live.provision import Deployment
from membership import EventKind, Membership
from membership.encoding import decode_metadata, encode_metadata
from membership.testing import ROOM, take
from tests.benchmarks.comparison import OURS, measured, shown, slower_than_ours
from tests.benchmarks.group import (
    GROUP,
    MEMBERS,
    Content,
    Group,
    kazoo,
    large_group,
    ours,
    tooz,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # tooz's dependencies have them
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

READS = 3
CHANGES = 20


@pytest.fixture
def group(own_zookeeper: Deployment) -> Iterator[Group]:
    with large_group(own_zookeeper) as made:
        yield made


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
                OURS: lambda: _ours_read(membership),
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
            OURS: _our_observer(stack, group),
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
