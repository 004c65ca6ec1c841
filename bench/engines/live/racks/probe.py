"""Real packets over a rack's link, both ways, to see what becomes of them.

Both ends are held by this process, so each way is timed by itself, on one clock.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.engines.live.racks.namespaces import within
from bench.engines.live.racks.passage import WAYS, Passage, Sample, Way, packets
from bench.engines.live.swarm.shard import monotonic

QUIET = 0.2
"""A packet that may be lost has been, once nothing has arrived for so long, in s."""
PATIENCE = 3.0
"""How long packets that should arrive are waited for, in s."""

_BURST = 50
_ROOM = 8_000_000
"""Bytes of a socket's buffer: it holds every packet of a probe, so that it loses none itself."""
_SO_RCVBUFFORCE = 33
_PACKET = struct.Struct("!16sI")


@dataclass
class _Stream:
    """The packets that go one way."""

    source: socket.socket
    sink: socket.socket
    passage: Passage
    mark: bytes = field(default_factory=lambda: os.urandom(16))
    """Tells this probe's packets from an earlier one's, held up on their way."""
    sent: list[float] = field(default_factory=list)
    times: dict[int, float] = field(default_factory=dict)

    @property
    def unsent(self) -> int:
        return packets(self.passage) - len(self.sent)

    @property
    def outstanding(self) -> int:
        return len(self.sent) - len(self.times)

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent.append(monotonic())
            self.source.send(_PACKET.pack(self.mark, len(self.sent) - 1))

    def receive(self) -> int:
        """Take what has arrived; so many packets."""
        before = len(self.times)
        while True:
            try:
                packet = self.sink.recv(2048, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return len(self.times) - before
            mark, number = _PACKET.unpack(packet)
            if mark == self.mark:
                self.times[number] = monotonic() - self.sent[number]

    def sample(self) -> Sample:
        return Sample(len(self.sent), tuple(self.times.values()))


def probe(
    namespace: str, address: str, host: str, expected: Mapping[Way, Passage]
) -> dict[Way, Sample]:
    """What becomes of packets between ``host`` here and ``address`` in the namespace.

    ``expected`` says how many it takes, and which of them are worth waiting for.
    """
    with _ends(namespace, address, host) as (rack, here):
        streams = {
            "in": _Stream(here, rack, expected["in"]),
            "out": _Stream(rack, here, expected["out"]),
        }
        _exchange(list(streams.values()))
    return {way: streams[way].sample() for way in WAYS}


def _exchange(streams: list[_Stream]) -> None:
    held = max(stream.passage.delay + stream.passage.jitter for stream in streams)
    while any(stream.unsent for stream in streams):
        for stream in streams:
            stream.send(min(_BURST, stream.unsent))
            stream.receive()
    arrivals = select.poll()  # its files may have any number, unlike those of `select.select`
    for stream in streams:
        arrivals.register(stream.sink, select.POLLIN)
    latest = monotonic()
    deadline = latest + held + PATIENCE
    while any(stream.outstanding for stream in streams) and (now := monotonic()) < deadline:
        certain = any(stream.outstanding for stream in streams if stream.passage.loss == 0)
        until = deadline if certain else min(deadline, latest + held + QUIET)
        if now >= until:
            return
        arrivals.poll((until - now) * 1e3)
        if sum(stream.receive() for stream in streams):
            latest = monotonic()


@contextmanager
def _ends(namespace: str, address: str, host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    def datagrams() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        return made

    with within(namespace, datagrams) as rack, datagrams() as here:
        rack.bind((address, 0))
        here.bind((host, 0))
        rack.connect(here.getsockname())
        here.connect(rack.getsockname())
        yield rack, here
