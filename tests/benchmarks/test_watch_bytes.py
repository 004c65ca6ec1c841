"""What each change of a large group costs an observer on the wire, as its kernel counts it."""

from __future__ import annotations

import socket
import statistics
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.recipe.watchers import ChildrenWatch
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

from bench.engines.live.conductor import LEAD, TICK
from bench.engines.live.muster import WORKERS
from bench.engines.live.provision import Deployment
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import Action, Order, ShardPlan, monotonic
from membership import EventKind, Watch, ZooKeeperConfig, connect
from membership.backends.zookeeper import ZooKeeperMembership, paths
from membership.testing import eventually, take

MEMBERS = 5_000
OBSERVERS = 10
LEAVES = 100
APART = 0.1
"""Between two leaves, in s: a `ChildrenWatch` that keeps up reads the whole list for each."""
GROUP = "compute"
CONFIG = ZooKeeperConfig(session_timeout=10.0)
RAMP = 1_000.0
"""Joins a second."""
RAMP_SECONDS = 60.0

TCPI_BYTES_RECEIVED = 128
"""Where Linux keeps ``tcpi_bytes_received`` in its ``struct tcp_info``."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Received by each observer for each change; pings included, which are some 20 bytes each
    and a handful."""

    ours: tuple[float, ...]
    kazoo: tuple[float, ...]
    kazoo_reads: tuple[int, ...]
    """How often each `ChildrenWatch` has read the list in that time."""


class Children:
    """What a `ChildrenWatch` was last told, and how often."""

    def __init__(self) -> None:
        self.count = 0
        self.reads = 0

    def __call__(self, children: Sequence[str]) -> None:
        self.count = len(children)
        self.reads += 1


def test_a_change_of_a_large_group_costs_an_observer_200_bytes_and_a_children_watch_20_times_that(
    benchmark: BenchmarkFixture, own_zookeeper: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    cost: Bytes = benchmark.pedantic(_measure, args=(own_zookeeper.url,))
    benchmark.extra_info.update(asdict(cost))
    with capsys.disabled():
        _show({"membership": cost.ours, "ChildrenWatch": cost.kazoo}, cost.kazoo_reads)
    assert len(cost.ours) == len(cost.kazoo) == OBSERVERS
    assert all(0 < each <= 200 for each in cost.ours)
    assert 20 * max(cost.ours) <= min(cost.kazoo)


def _measure(url: str) -> Bytes:
    """The same leaves of the same group, seen by both kinds of observers at once."""
    names = tuple(f"service-{n:05}" for n in range(MEMBERS))
    join_at = tuple(n / RAMP for n in range(MEMBERS))
    plan = ShardPlan("wire", url, CONFIG, GROUP, names, join_at)
    with hosted(WORKERS["zookeeper", "wire"], plan) as shard, ExitStack() as stack:
        _ramp(shard)
        memberships, watches = _observers(stack, url)
        clients, told = _children_watches(stack, url)

        ours = [received(membership.client) for membership in memberships]
        theirs = [received(client) for client in clients]
        reads = [children.reads for children in told]
        first = monotonic() + LEAD
        at = tuple(first + n * APART for n in range(LEAVES))
        shard.carry_out(Order(Action.LEAVE, names[:LEAVES], at))
        for watch in watches:
            events = take(watch, LEAVES, within=LEAVES * APART)
            assert {event.kind for event in events} == {EventKind.LEFT}
            assert {event.member.name for event in events if event.member} == {*names[:LEAVES]}
        eventually(lambda: all(children.count == MEMBERS - LEAVES for children in told))

        return Bytes(
            ours=_per_change(ours, [received(membership.client) for membership in memberships]),
            kazoo=_per_change(theirs, [received(client) for client in clients]),
            kazoo_reads=tuple(
                children.reads - before for before, children in zip(reads, told, strict=True)
            ),
        )


def received(client: Any) -> int:
    """Bytes that the present connection of this client, kazoo's or ours, has received."""
    connection: socket.socket = client._connection._socket
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (count,) = struct.unpack_from("=Q", info, TCPI_BYTES_RECEIVED)
    return int(count)


def _per_change(before: Sequence[int], after: Sequence[int]) -> tuple[float, ...]:
    return tuple((b - a) / LEAVES for a, b in zip(before, after, strict=True))


def _ramp(shard: HostedShard) -> None:
    shard.begin(monotonic() + LEAD)
    deadline = monotonic() + RAMP_SECONDS
    while (status := shard.status()).live < MEMBERS:
        assert monotonic() < deadline, f"only {status.live} members; {status.failed}"
        time.sleep(TICK)


def _observers(stack: ExitStack, url: str) -> tuple[list[ZooKeeperMembership], list[Watch]]:
    memberships: list[ZooKeeperMembership] = []
    watches: list[Watch] = []
    for _ in range(OBSERVERS):
        membership = stack.enter_context(connect(url, CONFIG))
        assert isinstance(membership, ZooKeeperMembership)
        watch = stack.enter_context(membership.watch(GROUP))
        take(watch, MEMBERS)
        memberships.append(membership)
        watches.append(watch)
    return memberships, watches


def _children_watches(stack: ExitStack, url: str) -> tuple[list[KazooClient], list[Children]]:
    address = paths.parse(url)
    hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
    clients: list[KazooClient] = []
    told: list[Children] = []
    for _ in range(OBSERVERS):
        client = KazooClient(hosts, timeout=CONFIG.session_timeout)
        stack.callback(client.close)
        stack.callback(client.stop)
        client.start()
        children = Children()
        ChildrenWatch(client, paths.group_path(address.namespace, GROUP), children)
        assert children.count == MEMBERS
        clients.append(client)
        told.append(children)
    return clients, told


def _show(bytes_per_change: Mapping[str, Sequence[float]], reads: Sequence[int]) -> None:
    table = Table(
        title=f"{MEMBERS:,} members, {OBSERVERS} observers of each kind, {LEAVES} leaves",
        caption=f"each ChildrenWatch read the list {min(reads)} to {max(reads)} times",
    )
    table.add_column("")
    for column in ("bytes a change: least", "mean", "most"):
        table.add_column(column, justify="right")
    for kind, costs in bytes_per_change.items():
        row = (min(costs), statistics.fmean(costs), max(costs))
        table.add_row(kind, *(f"{cost:,.1f}" for cost in row))
    console = Console()
    console.print()
    console.print(table)
