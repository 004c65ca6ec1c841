"""What a ZooKeeper server says of itself, by its four-letter word ``mntr``."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from bench.engines.live.meters import Meter, Reading

COUNTERS = {
    "zk_packets_received": ("packets_received", "packets"),
    "zk_packets_sent": ("packets_sent", "packets"),
    "zk_num_alive_connections": ("connections", "connections"),
    "zk_outstanding_requests": ("outstanding_requests", "requests"),
    "zk_watch_count": ("watches", "watches"),
    "zk_ephemerals_count": ("ephemerals", "nodes"),
    "zk_avg_latency": ("latency_avg_ms", "ms"),
    "zk_max_latency": ("latency_max_ms", "ms"),
}
PATIENCE = 2.0


def mntr(source: str, host: str, port: int) -> Meter:
    """A meter of that server."""

    def read() -> Iterator[Reading]:
        for line in _ask(host, port).splitlines():
            key, _, value = line.partition("\t")
            if key in COUNTERS:
                metric, unit = COUNTERS[key]
                yield Reading(source, metric, float(value), unit)

    return read


def _ask(host: str, port: int) -> str:
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(b"mntr")
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer.decode(errors="replace")
