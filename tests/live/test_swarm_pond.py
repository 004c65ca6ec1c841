"""Sockets and timers that thousands of wire sessions share."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

import uvloop

from bench.engines.live.swarm import jute
from bench.engines.live.swarm.connection import Connection, connected
from bench.engines.live.swarm.pond import Pond
from bench.engines.live.swarm.shard import monotonic
from bench.engines.live.swarm.slots import SLOT, Slots

PONG = struct.pack(">iiqi", 16, jute.PING_XID, 7, 0)
EVENT = struct.pack(">iiqiiii", 28, jute.WATCH_XID, -1, 0, 3, 3, 0)
"""A change of a node's data, but for its path."""


class Reader:
    """One end of a pair of sockets, in a pond."""

    def __init__(self, pond: Pond, stack: ExitStack) -> None:
        ours, self.peer = (stack.enter_context(each) for each in socket.socketpair())
        self.socket = ours
        self.got: list[bytes] = []
        self.then: Callable[[], None] = lambda: None
        pond.add(ours.fileno(), self)

    def read(self) -> None:
        self.got.append(self.socket.recv(100))
        self.then()


class Sleeper:
    """Remembers when it was woken, and what for."""

    def __init__(self, did: list[str] | None = None, *, willing: bool = True) -> None:
        self.woken: list[tuple[float, float]] = []
        self.did: list[str] = [] if did is None else did
        self.willing = willing

    def ready(self, due: float) -> bool:
        self.woken.append((due, monotonic()))
        return self.willing

    def send(self) -> None:
        self.did.append("sent")

    def note(self, due: float) -> None:
        self.did.append(f"noted {due}")


class Told:
    """What a connection told its session, in its order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sent(self) -> None:
        self.told.append("sent")

    def answered_request(self, *_: object) -> None:
        self.told.append("answered")

    def pinged(self) -> None:
        self.told.append("pinged")

    def watched(self) -> None:
        self.told.append("watched")

    def dropped(self, _: Connection) -> None:
        self.told.append("dropped")


async def a_connection(pond: Pond, stack: ExitStack) -> tuple[Connection, Told, socket.socket]:
    """One over TCP, as a pair of Unix sockets knows no low-water mark; and its other end."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    ours = await connected("127.0.0.1", listening.getsockname()[1], "")
    peer, _ = listening.accept()
    stack.enter_context(peer)
    session = Told()
    connection = Connection(session, ours, pond)
    stack.callback(connection.abort)
    return connection, session, peer


def run(test: Callable[[Pond, ExitStack], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        pond = Pond(asyncio.get_running_loop())
        with ExitStack() as stack:
            stack.callback(pond.close)
            await test(pond, stack)

    uvloop.run(whole())


async def turns() -> None:
    """Let the loop look at its files several times."""
    for _ in range(5):
        await asyncio.sleep(0.002)


def test_what_comes_is_read_at_once() -> None:
    async def test(pond: Pond, stack: ExitStack) -> None:
        first, second, third = (Reader(pond, stack) for _ in range(3))
        second.then = partial(pond.remove, second.socket.fileno())
        first.peer.send(b"a")
        second.peer.close()
        await turns()
        assert (first.got, second.got, third.got) == ([b"a"], [b""], [])

    run(test)


def test_a_socket_that_was_taken_out_is_left_alone_until_it_is_put_back() -> None:
    async def test(pond: Pond, stack: ExitStack) -> None:
        reader = Reader(pond, stack)
        reader.peer.send(b"a")
        for _ in range(2):
            pond.remove(reader.socket.fileno())
        await turns()
        assert reader.got == []
        for _ in range(2):
            pond.add(reader.socket.fileno(), reader)
        await turns()
        assert reader.got == [b"a"]

    run(test)


def test_who_is_taken_out_by_another_one_in_the_same_look_is_not_called() -> None:
    async def test(pond: Pond, stack: ExitStack) -> None:
        readers = [Reader(pond, stack) for _ in range(2)]
        for reader, other in zip(readers, reversed(readers), strict=True):
            reader.peer.send(b"a")
            reader.then = partial(pond.remove, other.socket.fileno())
        await turns()
        assert sorted(reader.got for reader in readers) == [[], [b"a"]]

    run(test)


def test_the_answer_to_an_idle_connections_ping_waits_until_it_is_read() -> None:
    async def test(pond: Pond, stack: ExitStack) -> None:
        connection, session, peer = await a_connection(pond, stack)
        connection.idle = True
        peer.send(PONG)
        await turns()
        assert session.told == []
        connection.read()
        assert session.told == ["pinged"]
        connection.idle = False
        peer.send(PONG)
        await turns()
        assert session.told == ["pinged", "pinged"]

    run(test)


def test_whatever_else_comes_to_an_idle_connection_is_read_at_once() -> None:
    async def test(pond: Pond, stack: ExitStack) -> None:
        connection, session, peer = await a_connection(pond, stack)
        connection.idle = True
        peer.send(PONG)
        peer.send(EVENT)
        await turns()
        assert session.told == ["pinged", "watched"]
        peer.close()
        await turns()
        assert session.told == ["pinged", "watched", "dropped"]

    run(test)


def test_a_sleeper_is_woken_in_the_middle_of_its_slot() -> None:
    async def test(_: Pond, stack: ExitStack) -> None:
        sleeper = Sleeper()
        slots = Slots(asyncio.get_running_loop(), 0.003)
        stack.callback(slots.close)
        wanted = monotonic() + 0.05
        due = slots.add(wanted, sleeper)
        assert abs(due - wanted) <= SLOT / 2 + 1e-9
        late = slots.add(wanted - 10.0, sleeper)  # a time long past: as soon as may be
        assert late - wanted < 0
        while len(sleeper.woken) < 2:
            await asyncio.sleep(SLOT)
        assert [planned for planned, _ in sleeper.woken] == [late, due]
        # a timer of the loop's may be a millisecond early
        assert all(woken >= planned - 0.002 for planned, woken in sleeper.woken)

    run(test)


def test_all_of_a_slot_have_sent_before_anything_else_is_done() -> None:
    async def test(_: Pond, stack: ExitStack) -> None:
        did: list[str] = []
        slots = Slots(asyncio.get_running_loop(), 0.0)
        stack.callback(slots.close)
        wanted = monotonic() + 0.05
        (due,) = {
            slots.add(wanted, sleeper)
            for sleeper in (Sleeper(did), Sleeper(did, willing=False), Sleeper(did))
        }
        while len(did) < 4:
            await asyncio.sleep(SLOT)
        assert did == ["sent", "sent", f"noted {due}", f"noted {due}"]

    run(test)


def test_slots_that_a_busy_loop_missed_are_made_up_for_at_once_and_in_their_order() -> None:
    """One a round would leave a loop that is kept busy behind for good, and sessions expire."""

    async def test(_: Pond, stack: ExitStack) -> None:
        sleepers = [Sleeper() for _ in range(5)]
        slots = Slots(asyncio.get_running_loop(), 0.0)
        stack.callback(slots.close)
        now = monotonic()
        due = [slots.add(now + 0.02 * number, each) for number, each in enumerate(sleepers, 1)]
        while monotonic() < now + 0.15:
            pass  # it stands still
        await asyncio.sleep(0.05)
        woken = [planned for each in sleepers for planned, _ in each.woken]
        assert woken == due

    run(test)
