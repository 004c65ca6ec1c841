"""ZooKeeper, wherever it runs: its settings, and what it answers to four-letter words."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from bench.engines.live.provision.control import Body, Control
from bench.engines.live.provision.spec import LOOPBACK, Lack, ServerSpec
from bench.engines.live.provision.startup import ports

INIT_LIMIT = 10
SYNC_LIMIT = 5
"""Ticks a follower may take to sync with its leader, and to answer it: ZooKeeper's sample file."""

BACKLOG = 4096
"""Connections that may wait to be accepted; 50 by default, and a ramp stalls for 1 s steps."""

ANSWER_TIMEOUT = 5.0

_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")

Mode = Literal["leader", "follower", "observer", "standalone"]


@dataclass(frozen=True)
class Sockets:
    """Where one server of an ensemble listens: for clients, and on loopback for its peers."""

    host: str
    client: int
    quorum: int
    election: int

    @property
    def member(self) -> str:
        """The right-hand side of the server's line in `zoo.cfg`."""
        return f"{LOOPBACK}:{self.quorum}:{self.election};{self.host}:{self.client}"


def missing(spec: ServerSpec) -> list[Lack]:
    """What this machine's kernel doesn't let a server have that so many sessions need."""
    wanted = min(BACKLOG, spec.sessions)
    allowed = int(_SOMAXCONN.read_text()) if _SOMAXCONN.exists() else wanted
    if allowed >= wanted:
        return []
    return [
        Lack(
            f"room for connections that wait: {allowed:,}, {wanted:,} wanted",
            f"ZooKeeper would keep some of {spec.sessions:,} joining sessions waiting in 1 s steps",
            f"sudo sysctl -w net.core.somaxconn={BACKLOG}",
        )
    ]


def sockets(spec: ServerSpec) -> tuple[Sockets, ...]:
    """Free ones for each server; the client ports come first, so they are neighbours."""
    count = spec.servers
    found = ports(3 * count, first=spec.port, host=spec.host)
    client, quorum, election = found[:count], found[count : 2 * count], found[2 * count :]
    return tuple(Sockets(spec.host, *three) for three in zip(client, quorum, election, strict=True))


def control(body: Body, sockets: Sockets) -> Control:
    """What can be done to the server that listens there."""
    return Control(
        body,
        serves=lambda: mode(sockets.host, sockets.client) is not None,
        peer_ports=(sockets.quorum, sockets.election),
    )


def heap_megabytes(spec: ServerSpec) -> int:
    """The official image's default, of which 10,000 sessions use 600; more for more of them."""
    return max(1000, 400 + spec.sessions * 60 // 1000)


def settings(spec: ServerSpec) -> dict[str, str]:
    """The `zoo.cfg` that makes a server fit for thousands of sessions; sockets and folders apart.

    Writes are durable: `forceSync` keeps its default. So does `jute.maxbuffer`: it bounds what a
    client sends and what the close of a session deletes, here one node each, not a list of
    children that is read.
    """
    chosen = {
        "tickTime": _milliseconds(spec.tick),
        "initLimit": str(INIT_LIMIT),
        "syncLimit": str(SYNC_LIMIT),
        "maxClientCnxns": "0",  # all clients of a run share one address
        "clientPortListenBacklog": str(BACKLOG),
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


def members(ensemble: Sequence[Sockets]) -> dict[str, str]:
    """The `server.N` lines, the same on each server."""
    return {f"server.{number}": one.member for number, one in enumerate(ensemble, start=1)}


def url(addresses: Sequence[tuple[str, int]]) -> str:
    return f"zookeeper://{','.join(f'{host}:{port}' for host, port in addresses)}/heartbench"


def ask(host: str, port: int, word: str, patience: float = ANSWER_TIMEOUT) -> str:
    """The server's answer to a four-letter word; `OSError` when there is none for so many s."""
    with socket.create_connection((host, port), timeout=patience) as connection:
        connection.sendall(word.encode("ascii"))
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks).decode("utf-8", "replace")


def mode(host: str, port: int, patience: float = ANSWER_TIMEOUT) -> Mode | None:
    """The server's part in its ensemble; None while it doesn't serve, or doesn't say so in time."""
    try:
        word = _pairs(ask(host, port, "srvr", patience), ":").get("Mode")
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
