"""What a run asks of its servers, and the words in which they are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import MachineError

Kind = Literal["sql", "zookeeper"]

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
    sessions: int = 0
    """ZooKeeper: how many there will be at once. One server alone must be able to hold them all,
    since that is where the others' deaths may drive them."""
    synchronous_commit: bool = True
    """PostgreSQL's default for transactions that don't say otherwise themselves."""
    max_connections: int = 200
    """PostgreSQL: how many there may be at once."""
    image: str | None = None
    """Docker image; None is heartbench's own, built on demand."""
    port: int | None = None
    """Listen on this port and those above it, one for each socket; None is any free ones."""
    host: str = LOOPBACK
    """Listen for clients on this address of this machine. Whoever reaches it is trusted."""

    def __post_init__(self) -> None:
        if self.servers < 1 or self.servers % 2 == 0:
            raise ValueError(f"{self.servers} servers: ZooKeeper wants an odd number")
        if self.kind == "sql" and self.servers != 1:
            raise ValueError(f"{self.servers} servers: PostgreSQL runs as one")


@dataclass(frozen=True)
class Lack:
    """Something that this machine hasn't got, and the command that mends it."""

    what: str
    why: str
    command: str


class ProvisionError(MachineError):
    """No servers. The message says why, and what to do. Nothing of them is left."""
