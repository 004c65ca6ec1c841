"""ZooKeeper, wherever it runs: its settings, and what it answers to four-letter words."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

if TYPE_CHECKING:
    from bench.engines.live.provision.deployment import ServerSpec

HEAP_MEGABYTES = 1000
"""10,000 sessions were seen to need 600; the official image's default is the same."""

INIT_LIMIT = 10
SYNC_LIMIT = 5
"""Ticks a follower may take to sync with its leader, and to answer it: ZooKeeper's sample file."""

ANSWER_TIMEOUT = 5.0

Mode = Literal["leader", "follower", "observer", "standalone"]


@dataclass(frozen=True)
class Place:
    """The sockets of one server of an ensemble."""

    host: str
    client: int
    quorum: int
    election: int

    PORTS = 3

    @property
    def member(self) -> str:
        """The right-hand side of the server's line in `zoo.cfg`."""
        return f"{self.host}:{self.quorum}:{self.election};{self.host}:{self.client}"


def places(host: str, ports: Sequence[int]) -> tuple[Place, ...]:
    """One place for each three ports; the client ports come first, so they are neighbours."""
    count = len(ports) // Place.PORTS
    return tuple(
        Place(host, client, quorum, election)
        for client, quorum, election in zip(
            ports[:count], ports[count : 2 * count], ports[2 * count :], strict=True
        )
    )


def settings(spec: ServerSpec) -> dict[str, str]:
    """The `zoo.cfg` that makes a server fit for thousands of sessions; sockets and folders apart.

    Writes are durable: `forceSync` keeps its default.
    """
    chosen = {
        "tickTime": _milliseconds(spec.tick),
        "initLimit": str(INIT_LIMIT),
        "syncLimit": str(SYNC_LIMIT),
        "maxClientCnxns": "0",  # all clients of a run share one address
        "clientPortListenBacklog": "4096",  # 50 by default, and a ramp stalls for 1 s steps
        "standaloneEnabled": "true" if spec.servers == 1 else "false",
        "extendedTypesEnabled": "true",
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "*",
    }
    if spec.min_session_timeout is not None:
        chosen["minSessionTimeout"] = _milliseconds(spec.min_session_timeout)
    if spec.max_session_timeout is not None:
        chosen["maxSessionTimeout"] = _milliseconds(spec.max_session_timeout)
    return chosen


def members(ensemble: Sequence[Place]) -> dict[str, str]:
    """The `server.N` lines, the same on each server."""
    return {f"server.{number}": place.member for number, place in enumerate(ensemble, start=1)}


def url(addresses: Sequence[tuple[str, int]]) -> str:
    return f"zookeeper://{','.join(f'{host}:{port}' for host, port in addresses)}/heartbench"


def ask(host: str, port: int, word: str) -> str:
    """The server's answer to a four-letter word; `OSError` when there is none within 5 s."""
    with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT) as connection:
        connection.sendall(word.encode("ascii"))
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks).decode("utf-8", "replace")


def mode(host: str, port: int) -> Mode | None:
    """The server's part in its ensemble; None while it doesn't serve."""
    try:
        word = _pairs(ask(host, port, "srvr"), ":").get("Mode")
    except OSError:
        return None
    return cast("Mode", word) if word in get_args(Mode) else None


def serving(addresses: Sequence[tuple[str, int]]) -> bool:
    """Whether all of the servers serve, as one ensemble: one leader, the others follow."""
    modes = [mode(host, port) for host, port in addresses]
    if len(modes) == 1:
        return modes[0] is not None
    return modes.count("leader") == 1 and None not in modes and "standalone" not in modes


def configuration(host: str, port: int) -> dict[str, str]:
    """The version and settings in effect; fewer where the server's whitelist lacks `conf`."""
    version = _pairs(ask(host, port, "srvr"), ":").get("Zookeeper version", "unknown")
    asked = _pairs(ask(host, port, "conf"), "=")
    # Its data folders say nothing about how a server behaves.
    kept = {key: value for key, value in asked.items() if not key.startswith("data")}
    # Last, because an ensemble's `version` counts its reconfigurations.
    return kept | {"version": re.split("[-,]", version)[0]}


def _pairs(answer: str, separator: str) -> Mapping[str, str]:
    lines = (line.partition(separator) for line in answer.splitlines())
    return {key.strip(): value.strip() for key, found, value in lines if found}


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
