"""The bytes that each server receives and sends, counted by rules on its ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.engines.live.meters import Meter, Reading
from bench.engines.live.provision import Server, firewall
from bench.errors import MachineError

PERIOD = 2.0
"""One reading starts a program, which takes 2 ms."""


@contextmanager
def traffic(servers: Sequence[Server]) -> Iterator[list[Meter]]:
    """One meter for those of the servers that run on this machine; none where this user may not
    set rules. Then the loopback interface's counter is all there is (`processes.machine`).

    ``client_bytes_received``, ``client_bytes_sent``: with clients, meters included.
    ``peer_bytes_received``, ``peer_bytes_sent``: on the ports where it listens for other servers;
    what goes over a connection is counted at the one that listens. With headers of IP and TCP.
    """
    ports = {
        (server.name, role): ",".join(map(str, listening))
        for server in servers
        if server.control is not None
        for role, listening in (("client", (server.port,)), ("peer", server.control.peer_ports))
        if listening
    }
    with ExitStack() as stack:
        try:
            counted = stack.enter_context(
                firewall.rules(
                    arriving=[_tcp("--dports", listed) for listed in ports.values()],
                    leaving=[_tcp("--sports", listed) for listed in ports.values()],
                )
            )
        except (MachineError, OSError):
            yield []
            return

        def read() -> Iterator[Reading]:
            counts = counted()
            received, sent = counts[: len(ports)], counts[len(ports) :]
            for (source, role), came, went in zip(ports, received, sent, strict=True):
                yield Reading(source, f"{role}_bytes_received", came.bytes, "bytes")
                yield Reading(source, f"{role}_bytes_sent", went.bytes, "bytes")

        yield [Meter("network", read, PERIOD)] if ports else []


def _tcp(side: str, ports: str) -> list[str]:
    return ["-p", "tcp", "-m", "multiport", side, ports]
