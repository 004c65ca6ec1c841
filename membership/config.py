"""Typed settings, one class a backend. Durations are seconds; each field says what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from membership.errors import InvalidValue

DRIFT = 0.01
"""By how much two machines' monotonic clocks may disagree: far more than a quartz does."""


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not value > 0:
            raise InvalidValue(f"{name} is {value!r}: it has to be more than 0 seconds")


@dataclass(frozen=True, slots=True)
class MassLoss:
    """When a view says ``mass_loss``: a share of the group went within a window. It costs nothing
    and withholds nothing; what acts on failures should look at it first."""

    share: float = 0.3
    """Of those who were members when the window began; more than 0, at most 1."""
    window: float = 60.0
    """Seconds. The view says so until that share hasn't gone within the last so many."""
    at_least: int = 3
    """Fewer departures than this are never a mass."""

    def __post_init__(self) -> None:
        _positive(self, "window")
        if not 0 < self.share <= 1:
            raise InvalidValue(f"share is {self.share!r}: it has to be more than 0, at most 1")


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """For ``memory://``: members live in this process, shared by the connections to one URL."""

    timeout: float = 1.0
    """How long the members of a connection that died unclosed stay. Nobody renews: it is free."""
    mass_loss: MassLoss = MassLoss()

    def __post_init__(self) -> None:
        _positive(self, "timeout")


@dataclass(frozen=True, slots=True)
class SqlConfig:
    """For ``sqlite:///…`` and ``postgresql+psycopg://…``."""

    profile: Literal["nova", "tuned"] = "tuned"
    """``tuned``: one statement a beat, database clock; PostgreSQL pushes its changes (NOTIFY), for
    which those that come together wait for each other: on a busy machine a ramp of joins took up to
    1.8 times as long as without. ``nova``: what OpenStack Nova does."""
    interval: float = 2.0
    """Between two beats of a member. The database pays members / interval updates a second."""
    timeout: float = 10.0
    """Without a beat for this long a member is dead. Less is faster, and forgives less."""
    poll: float | Literal["read"] = 1.0
    """Between two reads of a watch; each reads the group. ``read`` (``nova`` only): all rows are
    read once an interval, and each one again at the instant at which it would expire."""
    synchronous_commit: bool = False
    """Whether a *beat* waits for the disk. Joins, leaves, tokens and cells always do."""
    pool_size: int = 2
    """Connections that one `Membership` may hold, at least 2: one is the heartbeats' own, the
    rest are for calls and reads. On PostgreSQL, ``tuned`` watches take one more, to listen on."""
    connect_timeout: float = 5.0
    """How long one attempt to reach the database may take."""
    drift: float = DRIFT
    mass_loss: MassLoss = MassLoss()
    wall_clock: Callable[[], float] = field(default=time.time, repr=False)
    """Seconds since 1970, as this process believes. Only ``nova`` ever asks."""

    def __post_init__(self) -> None:
        _positive(self, "interval", "timeout", "connect_timeout")
        if self.profile not in ("nova", "tuned"):
            raise InvalidValue(f"profile is {self.profile!r}: it is 'nova' or 'tuned'")
        if self.pool_size < 2:
            raise InvalidValue(f"pool_size is {self.pool_size}: it has to be at least 2")
        if self.timeout <= self.interval:
            raise InvalidValue(
                f"timeout {self.timeout} s is no longer than interval {self.interval} s: "
                "every member would be dead between two beats"
            )
        if self.poll == "read":
            if self.profile != "nova":
                raise InvalidValue("poll 'read' belongs to the profile 'nova'")
        else:
            _positive(self, "poll")


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS: paths of PEM files.

    The server has to show a certificate for the host that the URL names. A handshake costs each
    connection some milliseconds and two round trips, what follows a few per cent of CPU.
    """

    ca: str | None = None
    """The authorities that servers' certificates have to come from; None: the system's."""
    certificate: str | None = None
    """Our own certificate, for servers that ask for one."""
    key: str | None = None
    """Its key, not encrypted; None: it is in the same file."""

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise InvalidValue("a key without a certificate: name both")


@dataclass(frozen=True, slots=True)
class ZooKeeperConfig:
    """For ``zookeeper://host:port,…/namespace``."""

    session_timeout: float = 10.0
    """Asked of the server, which grants 2 to 20 of its ticks. A third of it is the ping period."""
    connect_timeout: float = 10.0
    """How long `connect` waits for the first session."""
    digest: str | None = field(default=None, repr=False)
    """``user:password``, told to each server. Every node is then created for this identity only:
    all connections to one namespace need the same. Without TLS it crosses the network readable.
    ZooKeeper takes any password; a wrong one shows in the first call, as a refusal."""
    world_readable: bool = False
    """With ``digest``: let everybody read, as observers without the password need."""
    tls: Tls | None = None
    """Speak TLS; the URL's ports have to be the servers' secure ones."""
    drift: float = DRIFT
    mass_loss: MassLoss = MassLoss()

    def __post_init__(self) -> None:
        _positive(self, "session_timeout", "connect_timeout")
        if self.digest is not None and not all(self.digest.partition(":")):
            raise InvalidValue("digest has to be of the form user:password")


Config = MemoryConfig | SqlConfig | ZooKeeperConfig
