"""What a run asks of its servers, and what it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.engines.live.provision import zookeeper
from bench.errors import MachineError

Kind = Literal["sql", "zookeeper"]
Role = zookeeper.Mode | Literal["primary"]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServerSpec:
    """The servers that one backend of a scenario needs. Times are seconds."""

    kind: Kind
    servers: int = 1
    """ZooKeeper: how many; an odd number. One runs standalone, more are an ensemble."""
    tick: float = 2.0
    """ZooKeeper's `tickTime`: the grain of its session expiry."""
    min_session_timeout: float | None = None
    """ZooKeeper clamps session timeouts from below; None is its own 2 ticks."""
    max_session_timeout: float | None = None
    """ZooKeeper clamps session timeouts from above; None is its own 20 ticks."""
    synchronous_commit: bool = True
    """PostgreSQL's default for transactions that don't say otherwise themselves."""
    max_connections: int = 200
    image: str | None = None
    """Docker image; None is heartbench's own, built on demand."""
    port: int | None = None
    """Listen on this port and those above it, one for each socket; None is any free ones."""

    def __post_init__(self) -> None:
        if self.servers < 1 or self.servers % 2 == 0:
            raise ValueError(f"{self.servers} servers: ZooKeeper wants an odd number")
        if self.kind == "sql" and self.servers != 1:
            raise ValueError(f"{self.servers} servers: PostgreSQL runs as one")


@dataclass(frozen=True)
class Server:
    """One server that answers."""

    kind: Kind
    name: str
    host: str
    port: int
    pids: tuple[int, ...] = ()
    """This machine's processes at the root of the server's tree; none for external servers."""
    log: Path | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    """The settings in effect, as far as the server tells them. Never a secret."""

    def role(self) -> Role:
        """The part that the server plays right now.

        A ZooKeeper server is asked each time, since leadership moves; `ConnectionError` says that
        it gave no answer or isn't serving. PostgreSQL is the primary: nothing else is provisioned.
        """
        if self.kind == "sql":
            return "primary"
        mode = zookeeper.mode(self.host, self.port)
        if mode is None:
            raise ConnectionError(f"{self.name} at {self.host}:{self.port} is not serving")
        return mode


@dataclass(frozen=True)
class Deployment:
    """Servers ready for use, and the URL with which the library connects to them."""

    url: str = field(repr=False)
    """May hold an external server's password: for connecting, never for showing."""
    servers: tuple[Server, ...]
    where: Literal["local", "docker", "external"]


@dataclass(frozen=True)
class Lack:
    """Something that this machine hasn't got, and the command that mends it."""

    what: str
    why: str
    command: str


class ProvisionError(MachineError):
    """No servers. The message says why, and what to do. Nothing of them is left."""
