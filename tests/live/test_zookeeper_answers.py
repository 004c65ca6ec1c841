"""Answers that come in another order than the questions cost a connection, and nothing more:
kazoo's thread ends over them for good, and its client never says so. Those that come in pieces, or
several at once, cost nothing.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

from bench.engines.live.provision import Deployment
from membership import (
    EventKind,
    MemberEvent,
    Membership,
    Watch,
    ZooKeeperConfig,
    connect,
)
from tests.live.tap import Tap, relaying

GROUP = "compute"
CONFIG = ZooKeeperConfig(session_timeout=5.0, connect_timeout=20.0)


class Shuffling(Tap):
    """Swaps two answers whenever it is told to."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.wanted = threading.Event()
        self.times = 0

    async def _down(self, server: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        back.write(await _read(server))  # the session
        held = b""
        while True:
            frame = await _read(server)
            (xid,) = struct.unpack_from(">i", frame, 4)
            if xid > 0 and not held and self.wanted.is_set():
                self.wanted.clear()
                held = frame
                continue
            back.write(frame)
            if xid > 0 and held:
                back.write(held)
                held = b""
                self.times += 1


class Chopping(Tap):
    """Hands on what the server says in pieces that have nothing to do with its messages."""

    async def _down(self, server: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while said := await server.read(1 << 16):
            await asyncio.sleep(random.choice((0.0, 0.03)))  # more comes meanwhile
            while said:
                size = random.choice((1, 3, 7, 1000))
                back.write(said[:size])
                said = said[size:]
                await asyncio.sleep(0)


async def _read(server: asyncio.StreamReader) -> bytes:
    head = await server.readexactly(4)
    return head + await server.readexactly(int.from_bytes(head, "big"))


def test_answers_in_another_order_cost_a_connection_and_no_life(zookeeper: Deployment) -> None:
    """Whoever waited for one of them gets the right one; the member stays what it was."""
    (server,) = zookeeper.servers
    with relaying(Shuffling(server.host, server.port)) as relay:
        url = f"zookeeper://127.0.0.1:{relay.port}/answers"
        with connect(url, CONFIG) as ours, ThreadPoolExecutor(4) as pool:
            me = ours.join(GROUP, "me", metadata={"n": 1})
            token = me.token
            for time in range(3):
                relay.wanted.set()
                asked = [pool.submit(_all_there_is, ours) for _ in range(4)]
                assert [each.result() for each in asked] == [({"me": {"n": 1}}, ("compute",))] * 4
                assert relay.times == time + 1
                assert len(relay.conversations) == time + 2
            assert (me.is_member, me.token) == (True, token)
            me.update({"n": 2})
            assert ours.members(GROUP).members["me"].metadata == {"n": 2}


def test_messages_are_read_however_they_are_cut_up(zookeeper: Deployment) -> None:
    """Joins, leaves, lists and pings through a relay that cuts and glues; no connection is lost."""
    (server,) = zookeeper.servers
    names = {f"member-{number}" for number in range(60)}
    with (
        relaying(Chopping(server.host, server.port)) as relay,
        connect(f"zookeeper://127.0.0.1:{relay.port}/pieces", CONFIG) as ours,
        connect(f"zookeeper://{server.host}:{server.port}/pieces", CONFIG) as theirs,
        ours.watch(GROUP) as watch,
    ):
        stays = ours.join(GROUP, "stays")
        coming = [theirs.join(GROUP, name) for name in sorted(names)]
        assert {event.member and event.member.name for event in _events(watch, 61)} == names | {
            "stays"
        }
        assert {member.name for member in ours.members(GROUP)} == names | {"stays"}
        for member in coming:
            member.leave()
        assert {event.kind for event in _events(watch, 60)} == {EventKind.LEFT}
        assert stays.is_member
        assert [member.name for member in ours.members(GROUP)] == ["stays"]
        assert len(relay.conversations) == 1


def _events(watch: Watch, count: int) -> list[MemberEvent]:
    events = [watch.next(30) for _ in range(count)]
    return [event for event in events if event is not None]


def _all_there_is(membership: Membership) -> tuple[dict[str, object], tuple[str, ...]]:
    members = {member.name: dict(member.metadata) for member in membership.members(GROUP)}
    return dict(members), membership.groups()
