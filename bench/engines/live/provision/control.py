"""What can be done to one server, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import psutil

from bench.engines.live.provision import cgroup, firewall
from bench.engines.live.provision.firewall import Count, Rule
from bench.engines.live.provision.startup import wait_until
from bench.errors import InvalidRun

CONFIRMATION = 10.0
"""Seconds for what was done to show. Members of an ensemble speak every half tick."""


class Body(Protocol):
    """A server's process and its children, or its container. Each verb returns once it is so."""

    @property
    def name(self) -> str: ...

    def pids(self) -> tuple[int, ...]:
        """The processes at the root of the tree, as this machine numbers them; cheap."""

    def launch(self) -> None:
        """Start it, on the data that it left; it doesn't serve yet."""

    def expect_running(self) -> None:
        """Raises ProvisionError with its last words, if it has ended."""

    def kill(self) -> None: ...

    def stop(self) -> None: ...

    def pause(self) -> None: ...

    def go_on(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Control:
    """The server keeps its name, its ports and its data through all of this.

    Each verb returns once its effect is confirmed, does nothing to a server that is so already,
    and raises InvalidRun where it has no effect. Safe from any thread.
    """

    body: Body
    serves: Callable[[], bool]
    """Whether it answers clients now."""
    peer_ports: tuple[int, ...] = ()
    """Where it listens for the other servers, on the loopback interface."""

    @property
    def name(self) -> str:
        return self.body.name

    def pids(self) -> tuple[int, ...]:
        """The root of its processes as it is now, for meters; empty while it is down."""
        return self.body.pids()

    def kill(self) -> None:
        """End all its processes with SIGKILL; the kernel closes their connections."""
        self.body.kill()

    def stop(self) -> None:
        """End it in order."""
        self.body.stop()

    def pause(self) -> None:
        """All its processes stand still; the kernel goes on taking connections and bytes."""
        self.body.pause()

    def go_on(self) -> None:
        """Its processes run again."""
        self.body.go_on()

    def launch(self) -> None:
        """Start it on its data; it doesn't serve yet."""
        self.body.launch()

    def expect_running(self) -> None:
        """Raises ProvisionError with its last words, if it has ended."""
        self.body.expect_running()

    def start(self) -> None:
        """Start it on its data, and return once it serves.

        A member of an ensemble waits for a majority. Raises ProvisionError if it ends instead, or
        doesn't serve in time.
        """
        self.launch()
        wait_until(self.serves, self.expect_running, self.name)

    @contextmanager
    def cut(self, others: Sequence[Control]) -> Iterator[float]:
        """No packet passes between this server and those others, as far as they run now; clients
        reach all of them.

        Yields since when, on the monotonic clock; by then packets have been dropped.
        """
        running = [other for other in others if other.pids()]
        pairs = [(self, other) for other in running] + [(other, self) for other in running]
        # First none of them can connect any more, then what is connected is cut.
        with (
            firewall.rules(leaving=[_no_new(pair) for pair in pairs]) as refused,
            firewall.rules(arriving=list(chain.from_iterable(map(_cut, pairs)))) as dropped,
        ):
            since = time.monotonic()
            self._expect_drops(lambda: refused() + dropped())
            yield since

    def _expect_drops(self, counts: Callable[[], Sequence[Count]]) -> None:
        deadline = time.monotonic() + CONFIRMATION
        while not any(count.packets for count in counts()):
            if time.monotonic() > deadline:
                raise InvalidRun(
                    f"{self.name} was cut off, but had nothing to say to the others for "
                    f"{CONFIRMATION:g} s; did all of them serve?"
                )
            time.sleep(0.02)


def _no_new(pair: tuple[Control, Control]) -> Rule:
    """Drops what would open a connection from one server to the other.

    At the sender, the only place where a packet is known to be a server's: of all its packets,
    those that open a connection are the ones whose sender isn't told about it.
    """
    one, other = pair
    [pid] = one.pids()
    own = cgroup.path(pid)
    assert own is not None, "lacks_control() has looked"
    return [
        *("-o", "lo", "-p", "tcp", "--syn", "-m", "multiport", "--dports", _listed(other)),
        *("-m", "cgroup", "--path", own, "-j", "DROP"),
    ]


def _cut(pair: tuple[Control, Control]) -> Iterator[Rule]:
    """Drops what arrives, either way, on the connections that one server has to the other."""
    one, other = pair
    [pid] = one.pids()
    for connection in psutil.Process(pid).net_connections("tcp"):
        if connection.raddr and connection.raddr.port in other.peer_ports:
            here, there = str(connection.laddr.port), str(connection.raddr.port)
            for source, destination in ((here, there), (there, here)):
                ports = ("--sport", source, "--dport", destination)
                yield ["-i", "lo", "-p", "tcp", *ports, "-j", "DROP"]


def _listed(server: Control) -> str:
    return ",".join(map(str, server.peer_ports))
