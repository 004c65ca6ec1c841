"""The relay holds packets as told, in order, and ends with whoever controls it.

Here pairs of sockets stand for its TUN devices, which only root may make.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench.engines.live.racks.delays import PROGRAM
from bench.engines.live.racks.relay import ORDER

WAYS = 2
FORTH, BACK = range(WAYS)


class Relay:
    """One link's relay: what is sent at one end is received at the other."""

    def __init__(self, stack: ExitStack) -> None:
        pairs = [socket.socketpair(type=socket.SOCK_SEQPACKET) for _ in range(3)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
                end.settimeout(10)
        (self.control, *self.ends), theirs = zip(*pairs, strict=True)
        files = [end.fileno() for end in theirs]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), *map(str, files)], pass_fds=files
        )
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        for end in theirs:
            end.close()

    def hold(self, way: int, delay: float, jitter: float = 0.0) -> None:
        order = ORDER.pack(way, delay, jitter)
        self.control.send(order)
        assert self.control.recv(100) == order

    def send(self, way: int, *packets: bytes) -> None:
        for packet in packets:
            self.ends[way].send(packet)

    def receive(self, way: int, count: int) -> list[bytes]:
        return [self.ends[1 - way].recv(100) for _ in range(count)]


@pytest.fixture
def relay() -> Iterator[Relay]:
    with ExitStack() as stack:
        yield Relay(stack)


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


def test_packets_go_both_ways_unchanged(relay: Relay) -> None:
    for way in (FORTH, BACK):
        relay.send(way, b"a", b"bb", b"ccc")
        assert relay.receive(way, 3) == [b"a", b"bb", b"ccc"]


def test_one_way_is_held_and_the_other_is_not(relay: Relay) -> None:
    relay.hold(FORTH, delay=3600)
    relay.send(FORTH, b"late")
    relay.send(BACK, b"at once")
    assert relay.receive(BACK, 1) == [b"at once"]
    relay.ends[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        relay.receive(FORTH, 1)
    relay.ends[1].settimeout(10)
    relay.hold(FORTH, delay=0)
    assert relay.receive(FORTH, 1) == [b"late"]


def test_a_packet_is_held_as_long_as_told(relay: Relay) -> None:
    relay.hold(FORTH, delay=0.5)
    began = time.monotonic()
    relay.send(FORTH, b"late")
    assert relay.receive(FORTH, 1) == [b"late"]
    assert time.monotonic() - began >= 0.5


def test_no_packet_overtakes_another(relay: Relay) -> None:
    packets = numbered(100)
    relay.hold(FORTH, delay=0.1, jitter=0.1)
    relay.send(FORTH, *packets)
    assert relay.receive(FORTH, 100) == packets


def test_a_shorter_hold_applies_to_what_is_held_already(relay: Relay) -> None:
    """A link heals at once; what it held comes first."""
    relay.hold(FORTH, delay=3600)
    relay.send(FORTH, b"first", b"second")
    relay.hold(FORTH, delay=0)
    relay.send(FORTH, b"third")
    assert relay.receive(FORTH, 3) == [b"first", b"second", b"third"]


def test_it_ends_when_nobody_controls_it(relay: Relay) -> None:
    relay.hold(FORTH, delay=3600)
    relay.send(FORTH, b"never")
    relay.control.close()
    assert relay.process.wait(10) == 0
