"""What is planned to go wrong in a run: whom it hits, when, and for how long.

Instants are seconds since t0, the end of the ramp, ascending. Arrays are read-only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indexes = NDArray[np.int32]

_NOBODY: Indexes = np.empty(0, dtype=np.int32)
_NOBODY.setflags(write=False)


@dataclass(frozen=True, eq=False)
class OnServices:
    """A fault of services themselves. The arrays have one entry for each victim."""

    kind: Literal["crash", "power-loss", "freeze", "leave", "restart", "flap", "skew"]
    victims: Indexes
    """Services by index, in the order in which they are hit."""
    at: Floats
    duration: Floats
    """How long each is hit, in s; infinite: for good. flap: how long each of its stops is.
    restart: from the end of the old process to the beginning of the new one."""
    times: int = 1
    """How often each victim is hit: flap, in turns with `up`."""
    up: float = 0.0
    """flap: seconds that a victim runs between two stops."""
    offset: float = 0.0
    """skew: seconds by which the wall clock is off; positive: ahead."""
    orderly: bool = False
    """restart: the old process leaves, as in a rolling restart; else it is killed."""

    @property
    def onsets(self) -> int:
        """How many confirmed onsets it leaves behind, if it takes hold."""
        return len(self.victims) * self.times

    def plain(self, name: Callable[[int], str]) -> dict[str, Any]:
        """As JSON has it, services by name; null: for good."""
        own = {"times": self.times, "up": self.up, "offset": self.offset, "orderly": self.orderly}
        return {
            "on": "services",
            "kind": self.kind,
            "victims": [name(index) for index in self.victims.tolist()],
            "at": self.at.tolist(),
            "duration": [_finite(seconds) for seconds in self.duration.tolist()],
            **own,
        }


@dataclass(frozen=True, eq=False)
class OnLinks:
    """A fault of the network between whole racks and everybody else, servers included."""

    kind: Literal["cut", "loss", "delay"]
    racks: tuple[int, ...]
    victims: Indexes
    """All services of these racks."""
    at: Floats
    """One instant."""
    duration: float
    """Seconds; infinite: to the end of the run."""
    direction: Literal["in", "out", "both"]
    """Of the packets concerned: `in` is towards the racks' services."""
    rate: float = 0.0
    """loss: the share of packets that is lost, of each direction concerned."""
    delay: float = 0.0
    """delay: seconds that are added to the way, of each direction concerned."""
    jitter: float = 0.0
    """delay: seconds by which it varies to either side."""

    @property
    def onsets(self) -> int:
        """How many confirmed onsets it leaves behind, if it takes hold."""
        return len(self.victims)

    def plain(self, name: Callable[[int], str]) -> dict[str, Any]:
        """As JSON has it, services by name; null: to the end."""
        return {
            "on": "links",
            "kind": self.kind,
            "racks": list(self.racks),
            "victims": [name(index) for index in self.victims.tolist()],
            "at": self.at.tolist(),
            "duration": _finite(self.duration),
            "direction": self.direction,
            "rate": self.rate,
            "delay": self.delay,
            "jitter": self.jitter,
        }


@dataclass(frozen=True, eq=False)
class OnServers:
    """A fault of the servers of the backend."""

    kind: Literal["kill", "pause", "restart", "cut"]
    servers: Literal["leader", "follower", "any", "majority", "all"] | tuple[int, ...]
    """By what they are when it strikes, or by number from 1."""
    at: Floats
    """One instant."""
    duration: float
    """Seconds; infinite: to the end of the run. restart: from its end to its start."""
    choice: float
    """From 0 to 1, drawn from the seed: which one `any`, `follower` and `majority` are."""
    onsets: int
    """How many servers it hits, and so how many confirmed onsets it leaves behind."""

    @property
    def victims(self) -> Indexes:
        """No service in particular."""
        return _NOBODY

    def plain(self, name: Callable[[int], str]) -> dict[str, Any]:  # noqa: ARG002  it has none
        """As JSON has it; null: to the end."""
        return {
            "on": "servers",
            "kind": self.kind,
            "servers": self.servers if isinstance(self.servers, str) else list(self.servers),
            "at": self.at.tolist(),
            "duration": _finite(self.duration),
            "onsets": self.onsets,
        }


PlannedFault: TypeAlias = OnServices | OnLinks | OnServers


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
