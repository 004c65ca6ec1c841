"""The first moments of a server: a port of its own, and the wait until it answers."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.engines.live.provision.spec import LOOPBACK, ProvisionError

START_TIMEOUT = 90.0
"""Three JVMs start in 4 s on two idle cores; a busy machine may take its time."""

_LOWEST = 10_000


class PortTakenError(ProvisionError):
    """Somebody else listens on a port that the server was to have."""


def ports(count: int, first: int | None, host: str = LOOPBACK) -> list[int]:
    """As many ports, free at this moment at `host` and on loopback: from `first` upwards, or any.

    Any ones lie below the kernel's range for outgoing connections. Otherwise one of a run's
    thousands of clients could be given the port that a server listens on only now and then,
    such as a follower's quorum port, which it needs on the day that it becomes the leader.
    """
    if first is not None:
        wanted = list(range(first, first + count))
        for port in wanted:
            if not _free(port, host):
                raise PortTakenError(
                    f"port {port} on {host} is in use{_by_whom(port)}; "
                    "stop that program or choose another port"
                )
        return wanted
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(_LOWEST, outgoing) if outgoing > 2 * _LOWEST else range(_LOWEST, 65_536)
    found: list[int] = []
    # Not the run's random numbers: these only keep two runs on one machine apart.
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        if _free(port, host):
            found.append(port)
        if len(found) == count:
            return sorted(found)
    raise ProvisionError(f"fewer than {count} free ports on {host}; stop what listens there")


def wait_until(ready: Callable[[], bool], check: Callable[[], None], what: str) -> None:
    """Returns once `ready`; `check` raises when waiting on has become pointless."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        check()
        if ready():
            return
        if time.monotonic() > deadline:
            raise ProvisionError(
                f"{what} did not answer within {START_TIMEOUT:.0f} s; "
                "is the machine overloaded, or out of memory?"
            )
        time.sleep(0.05)


def _free(port: int, host: str) -> bool:
    for address in {host, LOOPBACK}:
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _by_whom(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens and connection.pid:  # unknown for other users' processes
            return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
