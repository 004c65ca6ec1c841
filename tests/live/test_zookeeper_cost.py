"""What a change costs each observer on the wire, as its kernel counts it."""

from __future__ import annotations

import itertools
import socket
import struct
from time import monotonic

from kazoo.client import KazooClient

from membership import ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.connection import MultiRead
from membership.backends.zookeeper.paths import group_path, member_path, parse
from membership.backends.zookeeper.watching import IN_FLIGHT_ALONE, PAUSE
from membership.testing import take
from tests.live.tap import tapped

CHANGES = 100
GET, MULTI_READ = 4, MultiRead.type
_RECEIVED = 128  # where `struct tcp_info` keeps `tcpi_bytes_received`


def received(membership: ZooKeeperMembership) -> int:
    """Bytes that its connection has read so far."""
    connection = membership.client._connection._socket
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (count,) = struct.unpack_from("Q", info, _RECEIVED)
    assert isinstance(count, int)
    return count


def connect(url: str) -> ZooKeeperMembership:
    return ZooKeeperMembership(parse(url), ZooKeeperConfig(5.0), lambda *_: None)


def test_a_change_costs_an_observer_at_most_200_bytes(zookeeper_url: str) -> None:
    with connect(zookeeper_url) as ours, connect(zookeeper_url) as theirs:
        members = [
            ours.join("compute", f"host-{number}", metadata={"zone": "az1"})
            for number in range(CHANGES)
        ]
        with theirs.watch("compute") as watch:
            take(watch, CHANGES)
            steps = [received(theirs)]
            for me in members:
                me.update({"zone": "az2"})
            take(watch, CHANGES, theirs.traits.detection)
            steps.append(received(theirs))
            for me in members:
                me.leave()
            take(watch, CHANGES, theirs.traits.detection)
            steps.append(received(theirs))
            for me in members:
                ours.join("compute", me.name, metadata={"zone": "az3"})
            take(watch, CHANGES, theirs.traits.detection)
            steps.append(received(theirs))
        costs = [(after - before) / CHANGES for before, after in itertools.pairwise(steps)]
        assert all(0 < cost <= 200 for cost in costs), costs
        assert costs[1] < 100, f"a leave costs {costs[1]} bytes: it needs no read"


def test_a_watch_that_is_closed_costs_nothing_more(zookeeper_url: str) -> None:
    with connect(zookeeper_url) as ours, connect(zookeeper_url) as theirs:
        first = theirs.watch("compute")
        second = theirs.watch("compute")
        ours.join("compute", "one")
        assert len(take(first, 1)) == len(take(second, 1)) == 1
        first.close()
        ours.join("compute", "two")
        take(second, 1)
        second.close()
        theirs.member("compute", "one")  # the server has read what was sent before this
        before = received(theirs)
        for number in range(CHANGES):
            ours.join("compute", f"host-{number}")
        assert theirs.member("compute", f"host-{CHANGES - 1}") is not None
        assert received(theirs) - before < CHANGES * 10


def test_a_crowd_that_trickles_in_is_read_in_handfuls(zookeeper_url: str) -> None:
    [(host, port)] = parse(zookeeper_url).hosts
    with tapped(host, port) as tap, connect(zookeeper_url) as ours:
        behind = zookeeper_url.replace(f"{host}:{port}", f"127.0.0.1:{tap.port}")
        with connect(behind) as theirs, theirs.watch("compute") as watch:
            began = monotonic()
            for number in range(CHANGES):
                ours.join("compute", f"host-{number}")
            take(watch, CHANGES)
            pauses = (monotonic() - began) / PAUSE
            (conversation,) = tap.conversations
            reads = [each for each in conversation.requests if each.kind in (GET, MULTI_READ)]
            assert 0 < len(reads) <= pauses + 1


def test_a_group_larger_than_the_window_of_reads_is_read_whole(zookeeper_url: str) -> None:
    count = 2 * IN_FLIGHT_ALONE + 1
    hosts = ",".join(f"{host}:{port}" for host, port in parse(zookeeper_url).hosts)
    crowd = KazooClient(hosts)  # quicker than joining one after another
    crowd.start()
    try:
        with connect(zookeeper_url) as theirs:
            crowd.ensure_path(group_path(theirs.namespace, "compute"))
            made = [
                crowd.create_async(
                    member_path(theirs.namespace, "compute", f"host-{number}"),
                    b"{}",
                    ephemeral=True,
                )
                for number in range(count)
            ]
            for one in made:
                one.get(timeout=30)
            with theirs.watch("compute") as watch:
                assert len(watch.view) == count
                assert len(theirs.members("compute")) == count
                assert {event.member for event in take(watch, count)} == set(watch.view)
    finally:
        crowd.stop()
        crowd.close()
