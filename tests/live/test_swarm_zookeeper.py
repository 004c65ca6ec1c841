"""On ZooKeeper nobody can tell a wire service from one that runs the library."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

import pytest
from kazoo.client import KazooClient

from bench.engines.live.muster import WORKERS
from bench.engines.live.provision import Deployment
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import Action, Event, Order, ShardPlan
from bench.kind import Kind
from membership import ZooKeeperConfig
from membership.testing import eventually
from tests.live.tap import PING, Conversation, Tap, tapped

pytestmark = pytest.mark.alone

SPACES = {"wire": "space-w", "library": "space-l"}
"""The namespace of each kind; all of the same length, so that frames are."""
TIMEOUT = 4.5
PERIOD = TIMEOUT / 3
EARLIEST, LATEST = PERIOD - 0.40, PERIOD - 0.01
"""kazoo's cadence: between these, in s after the last request."""
COUNT = 12
NAMES = tuple(f"compute-{number:06d}" for number in range(COUNT))
LOOKED_AT = 6
"""So many pings of each."""
CLOSE = -11


@dataclass
class Half:
    """The services of one kind, behind a tap of their own, as others see them."""

    space: str
    tap: Tap
    shard: HostedShard
    events: list[Event] = field(default_factory=list)

    def path(self, name: str) -> str:
        return f"/{self.space}/groups/compute/{name}"

    def conversations(self, name: str) -> list[Conversation]:
        """One for each connection on which the service spoke of its node."""
        path = self.path(name).encode()
        return [
            each
            for each in self.tap.conversations
            if any(path in request.body for request in each.requests)
        ]

    def said(self, name: str, connection: int) -> list[tuple[int, bytes]]:
        """The service's requests on one of its connections, without the pings."""
        return [
            (request.kind, request.body.replace(self.space.encode(), b"space"))
            for request in self.conversations(name)[connection].requests
            if request.kind != PING
        ]

    def pings(self, name: str) -> int:
        """How many the service has sent on its latest connection."""
        conversations = self.conversations(name)
        return sum(each.kind == PING for each in conversations[-1].requests) if conversations else 0

    def joins(self, name: str) -> list[Event]:
        """Every life of a service."""
        return [each for each in self.told(Kind.JOINED) if each.subject == name]

    def closed(self, name: str) -> bool:
        """Whether the service's latest connection has ended."""
        return self.conversations(name)[-1].closed

    def told(self, kind: Kind) -> list[Event]:
        """What the shard has logged of a kind."""
        self.events += self.shard.drain().events
        return [event for event in self.events if event.kind == kind]

    def order(self, action: Action, name: str) -> None:
        self.shard.carry_out(Order(action, (name,), (monotonic(),)))


@dataclass(frozen=True)
class Swarm:
    """As many services of either kind."""

    wire: Half
    library: Half
    client: KazooClient
    """Somebody who looks."""

    @property
    def halves(self) -> tuple[Half, Half]:
        return self.wire, self.library

    def standing(self, name: str) -> int:
        """How many of the two nodes of this name there are."""
        return sum(self.client.exists(half.path(name)) is not None for half in self.halves)

    def connections(self, name: str) -> list[int]:
        """On how many each of the two services has spoken of its node."""
        return [len(half.conversations(name)) for half in self.halves]

    def all_live(self) -> bool:
        return all(half.shard.status().live == COUNT for half in self.halves)


@pytest.fixture
def swarm(zookeeper: Deployment) -> Iterator[Swarm]:
    """All have joined, and none is hit yet."""
    (server,) = zookeeper.servers
    with ExitStack() as stack:

        def half(kind: str) -> Half:
            tap: Tap = stack.enter_context(tapped(server.host, server.port))
            plan = ShardPlan(
                name=f"{kind}-0",
                url=f"zookeeper://127.0.0.1:{tap.port}/{SPACES[kind]}",
                config=ZooKeeperConfig(session_timeout=TIMEOUT),
                group="compute",
                services=NAMES,
                # the first makes the group, before any other comes
                join_at=(0.0, *(1.5 + 0.1 * number for number in range(COUNT - 1))),
            )
            shard = stack.enter_context(hosted(WORKERS["zookeeper", kind], plan))
            return Half(SPACES[kind], tap, shard)

        client = KazooClient(f"{server.host}:{server.port}")
        client.start()
        stack.callback(client.close)
        stack.callback(client.stop)
        for space in SPACES.values():
            client.delete(f"/{space}", recursive=True)
        found = Swarm(half("wire"), half("library"), client)
        epoch = monotonic()
        for each in found.halves:
            each.shard.begin(epoch)
        eventually(found.all_live, 30)
        # Before its first ping a service has said all that there is to say.
        eventually(lambda: all(half.pings(name) for half in found.halves for name in NAMES), 30)
        yield found
        for each in found.halves:
            each.shard.close(goodbye=True)


def test_both_join_alike(swarm: Swarm) -> None:
    """Byte by byte, the first with the nodes above its own; the same nodes come of it."""
    for name in NAMES:
        wire, library = (half.said(name, 0) for half in swarm.halves)
        assert wire == library
        # create, exists; the first makes namespace, groups and group, and tries again
        assert len(wire) == (6 if name == NAMES[0] else 2)
        openings = {half.conversations(name)[0].opening for half in swarm.halves}
        assert len(openings) == 1
        _expect_same_node(swarm, name)


def test_both_ping_alike(swarm: Swarm) -> None:
    """Sooner or later: while the machine is busy with something else, nobody can tell."""

    def alike() -> bool:
        if not all(half.pings(name) > LOOKED_AT for half in swarm.halves for name in NAMES):
            return False
        intervals = [_intervals(half) for half in swarm.halves]
        medians = [statistics.median(each) for each in intervals]
        # Of 72 draws each the median has a standard deviation of 0.017.
        return abs(medians[0] - medians[1]) < 0.08 and all(
            statistics.quantiles(each, n=10)[0] > EARLIEST - 0.02
            and statistics.quantiles(each, n=10)[-1] < LATEST + 0.05
            for each in intervals
        )

    eventually(alike, 60, lambda: [statistics.quantiles(_intervals(h)) for h in swarm.halves])


def _expect_same_node(swarm: Swarm, name: str) -> None:
    found = [swarm.client.get(half.path(name)) for half in swarm.halves]
    acls = [swarm.client.get_acls(half.path(name))[0] for half in swarm.halves]
    assert acls[0] == acls[1]
    (wire, wire_stat), (library, library_stat) = found
    assert wire == library == b"{}"
    for half, stat in zip(swarm.halves, (wire_stat, library_stat), strict=True):
        assert stat.ephemeralOwner != 0
        assert (stat.version, stat.numChildren) == (0, 0)
        [joined] = [each for each in half.told(Kind.JOINED) if each.subject == name]
        assert joined.incarnation == stat.czxid


def _intervals(half: Half) -> list[float]:
    """How long after the request before it each of the last pings came."""
    return [
        after.t - before.t
        for name in NAMES
        for before, after in pairwise(half.conversations(name)[-1].requests[-LOOKED_AT - 1 :])
        if after.kind == PING
    ]


def test_both_come_back_alike_after_a_broken_connection(swarm: Swarm) -> None:
    """With their sessions; and they look whether their node still stands."""
    for half in swarm.halves:
        half.tap.cut()
    eventually(lambda: all(swarm.connections(name) == [2, 2] for name in NAMES), 20)
    for name in NAMES:
        wire, library = (half.said(name, 1) for half in swarm.halves)
        assert wire == library
        assert [kind for kind, _ in wire] == [3]  # exists
        for half in swarm.halves:
            stat = swarm.client.exists(half.path(name))
            opening = half.conversations(name)[1].opening
            assert stat.ephemeralOwner.to_bytes(8, "big") in opening
            assert len(opening) == len(half.conversations(name)[0].opening)
    assert swarm.all_live()
    for half in swarm.halves:
        assert len(half.told(Kind.JOINED)) == COUNT
        assert half.told(Kind.LOST) == []


def test_both_come_back_alike_from_a_freeze_that_cost_them_the_session(swarm: Swarm) -> None:
    """They learn of it from the server, and join again in the same words, as another life."""
    name = NAMES[0]
    for half in swarm.halves:
        half.order(Action.FREEZE, name)
    eventually(lambda: not swarm.standing(name), 20)
    for half in swarm.halves:
        half.order(Action.RESUME, name)
    eventually(lambda: swarm.standing(name) == 2, 20)
    eventually(lambda: swarm.connections(name) == [2, 2], 20)
    eventually(lambda: all(half.pings(name) for half in swarm.halves), 20)
    for half in swarm.halves:
        before, after = [each for each in half.told(Kind.JOINED) if each.subject == name]
        [lost] = half.told(Kind.LOST)
        assert (lost.subject, lost.incarnation) == (name, before.incarnation)
        assert before.incarnation is not None
        assert after.incarnation is not None
        assert after.incarnation > before.incarnation
    wire, library = (half.said(name, 1) for half in swarm.halves)
    assert wire == library
    assert len(wire) == 2  # create, exists
    assert len({half.conversations(name)[1].opening for half in swarm.halves}) == 1


def test_both_restart_alike_after_a_crash(swarm: Swarm) -> None:
    """A new process finds the node of the dead session, waits until it has gone, and takes its
    place; in the same words, however often it has to look."""
    name = NAMES[2]
    for half in swarm.halves:
        half.order(Action.CRASH, name)
        half.order(Action.START, name)
    eventually(lambda: all(len(half.joins(name)) == 2 for half in swarm.halves), 30)
    eventually(lambda: swarm.connections(name) == [2, 2], 20)
    eventually(lambda: all(half.pings(name) for half in swarm.halves), 20)
    for half in swarm.halves:
        [crashed], [restarted] = half.told(Kind.CRASHED), half.told(Kind.RESTARTED)
        old, new = half.joins(name)
        assert crashed.t <= restarted.t < new.t
        assert new.t - crashed.t > PERIOD
        assert old.incarnation is not None
        assert new.incarnation is not None
        assert new.incarnation > old.incarnation
        assert half.told(Kind.LOST) == []
    wire, library = (half.said(name, 1) for half in swarm.halves)
    assert wire == library
    assert [kind for kind, _ in wire] == [15, 4, 15, 3]  # create, get, create, exists


def test_a_service_without_power_keeps_its_connection_and_says_nothing(swarm: Swarm) -> None:
    """Until the server gives it up; one that crashed has closed its own."""
    for half in swarm.halves:
        half.order(Action.POWER_LOSS, NAMES[3])
        half.order(Action.CRASH, NAMES[4])
    eventually(lambda: all(half.told(Kind.POWER_LOST) for half in swarm.halves), 20)
    said = [half.said(NAMES[3], 0) for half in swarm.halves]
    pings = [half.pings(NAMES[3]) for half in swarm.halves]
    eventually(lambda: all(half.closed(NAMES[4]) for half in swarm.halves), 10)
    assert not any(half.closed(NAMES[3]) for half in swarm.halves)
    eventually(lambda: not swarm.standing(NAMES[3]), 20)
    assert [half.said(NAMES[3], 0) for half in swarm.halves] == said
    assert [half.pings(NAMES[3]) for half in swarm.halves] == pings


def test_both_leave_alike(swarm: Swarm) -> None:
    name = NAMES[-1]
    for half in swarm.halves:
        half.order(Action.LEAVE, name)
    eventually(lambda: all(half.said(name, 0)[-1][0] == CLOSE for half in swarm.halves), 20)
    assert swarm.standing(name) == 0
    wire, library = (half.said(name, 0) for half in swarm.halves)
    assert wire == library
    assert [kind for kind, _ in wire[-2:]] == [2, CLOSE]  # delete, and the session's end


def test_both_die_without_a_word(swarm: Swarm) -> None:
    """The server keeps the node until the session has run out."""
    name = NAMES[1]
    before = [half.said(name, 0) for half in swarm.halves]
    for half in swarm.halves:
        half.order(Action.CRASH, name)
    eventually(lambda: all(half.told(Kind.CRASHED) for half in swarm.halves), 20)
    assert swarm.standing(name) == 2
    eventually(lambda: not swarm.standing(name), 20)
    assert [half.said(name, 0) for half in swarm.halves] == before
    assert swarm.connections(name) == [1, 1]
