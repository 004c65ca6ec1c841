"""What a run gets of its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.engines.live.provision import zookeeper
from bench.engines.live.provision.control import Control
from bench.engines.live.provision.spec import Kind

Role = zookeeper.Mode | Literal["primary"]


@dataclass(frozen=True)
class Server:
    """One server, which answered when it was made."""

    kind: Kind
    name: str
    host: str
    port: int
    log: Path | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    """The settings in effect, as far as the server tells them. Never a secret."""
    control: Control | None = field(default=None, repr=False, compare=False)
    """None for external servers."""

    @property
    def pids(self) -> tuple[int, ...]:
        """This machine's processes at the root of the server's tree, as they are now.

        None for external servers, and for one that is down.
        """
        return self.control.pids() if self.control else ()

    def role(self, patience: float = zookeeper.ANSWER_TIMEOUT) -> Role:
        """The part that the server plays right now.

        A ZooKeeper server is asked each time, since leadership moves; `ConnectionError` says that
        it gave no answer within `patience` s or isn't serving. PostgreSQL is the primary: nothing
        else is provisioned.
        """
        if self.kind == "sql":
            return "primary"
        mode = zookeeper.mode(self.host, self.port, patience)
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

    def control(self, name: str) -> Control:
        """What can be done to the server of that name.

        External servers have none: `lacks_control` refuses faults of theirs beforehand.
        """
        [server] = (server for server in self.servers if server.name == name)
        assert server.control is not None, "lacks_control() has looked"
        return server.control
