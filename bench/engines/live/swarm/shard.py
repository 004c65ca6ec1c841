"""What a shard is given, told and asked; and the log that it keeps.

All times are seconds on the shard's own monotonic clock; the engine knows the offsets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from bench.kind import Kind
from membership import SqlConfig, ZooKeeperConfig


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The services of one shard. The sequences are parallel: one entry a service."""

    name: str
    url: str
    config: SqlConfig | ZooKeeperConfig
    group: str
    services: tuple[str, ...] = ()
    join_at: tuple[float, ...] = ()
    """When each joins, in s since the epoch that `Shard.begin` names."""
    seed: int = 0
    connections: int = 0
    """How many database connections the shard's wire services share; 0 where each has its own."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """``host:port`` -> the server's name."""
    source: str = ""
    """The local address that wire sessions of ZooKeeper come from, a set of ports of their own;
    empty: any."""
    stamp: Literal["service", "conductor"] = "service"
    """Whose wall clock stamps the beats of wire services on profile ``nova``."""
    skewable: bool = False
    """For library services: whether their wall clocks may be set off, which takes libfaketime.
    Those of wire services always may."""


class Action(StrEnum):
    """What can be done to a service."""

    CRASH = "crash"
    POWER_LOSS = "power-loss"
    """Fall silent for good, with the connections left open."""
    LEAVE = "leave"
    START = "start"
    """Join in a new process, after a crash or a leave."""
    FREEZE = "freeze"
    RESUME = "resume"
    SKEW = "skew"
    """Set the wall clock off by `Order.value` s; by 0 is the end of it."""


@dataclass(frozen=True, slots=True)
class Order:
    """One action on some services, each at its own instant. The sequences are parallel."""

    action: Action
    services: tuple[str, ...]
    at: tuple[float, ...]
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of the shard's services, as they are now."""

    joined: int = 0
    """So many have joined at least once."""
    live: int = 0
    """So many are members, as far as they know."""
    dead: int = 0
    """So many were killed, or left, on orders."""
    renewals: int = 0
    """So many beats or pings were sent."""
    failed: tuple[str, ...] = ()
    """What went wrong for good, in words; the first few."""


@dataclass(frozen=True)  # with slots this and the next take three times as long to pickle
class Event:
    """One thing that happened, on the shard's clock; see `bench.result.EVENTS`."""

    t: float
    kind: Kind
    subject: str
    client: str | None = None
    observer: str | None = None
    incarnation: int | None = None
    server: str | None = None
    value: float | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Measurement:
    """One measurement, on the shard's clock; see `bench.result.METRICS`."""

    t: float
    metric: str
    value: float
    unit: str
    count: int = 1
    """So many times."""


@dataclass(slots=True)
class Log:
    """What the shard has to tell; drained by the engine."""

    events: list[Event] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def drain(self) -> Log:
        """Everything so far, which is forgotten here."""
        taken = Log(self.events, self.measurements)
        self.events, self.measurements = [], []
        return taken


class Shard(Protocol):
    """A worker. Its methods are called one at a time, from any thread, and return at once."""

    def begin(self, epoch: float) -> None:
        """Join, each service at its own time after ``epoch``."""

    def carry_out(self, order: Order) -> None:
        """Do this, when it is time."""

    def status(self) -> Status:
        """How the services are."""

    def drain(self) -> Log:
        """What happened since the last call."""

    def clock(self) -> float:
        """This shard's clock, now."""

    def close(self, *, goodbye: bool) -> None:
        """End every service: with a clean leave, or at once and without a word."""


monotonic = time.monotonic
"""The shard's clock. Never an event loop's, which may be cached in steps of 1 ms."""
