"""What a history is made of. Every instant is the machine's monotonic clock, in seconds.

One clock serves all processes of a machine, so instants of different processes compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Verb = Literal["joined", "left", "updated", "killed", "frozen", "resumed", "stalled"]
"""What a member did or suffered. ``stalled``: its process, or the servers' answer to it, was late
by the machine's doing; `Deed.until` says until when."""

Change = Literal["joined", "left", "updated"]


@dataclass(frozen=True, slots=True)
class Deed:
    """Ground truth about one member.

    A ``joined`` spans the call, from ``t`` to ``until``; a ``left``'s ``t`` is before its call.
    """

    t: float
    verb: Verb
    name: str
    token: int = 0
    until: float = 0.0
    value: int = 0
    """The metadata's counter that was joined with or updated to."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What an observer was told, when its consumer got it. ``value``: the metadata's counter."""

    t: float
    observer: str
    change: Change
    name: str
    token: int
    value: int
    asked: float | None = None
    """When the read was sent that showed it; None where servers tell unasked."""


@dataclass(frozen=True, slots=True)
class Outage:
    """From when until when a server couldn't be relied upon, recovery included; or, with a
    ``blinded`` observer, from when until when that one couldn't be."""

    t: float
    until: float
    what: str


@dataclass(frozen=True, slots=True)
class Belief:
    """A member took itself for one, without asking anybody: sampled between ``t`` and ``until``."""

    t: float
    until: float
    name: str
    token: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """A member's renewal, sent at ``t``, was answered at ``until``."""

    t: float
    name: str
    until: float


@dataclass(frozen=True, slots=True)
class Tenure:
    """A leadership as its holder knew it.

    It is believed in from ``t``, the first sample that said so, until ``until``: the local
    deadline at the last such sample, or earlier when it was told that it is deposed.
    """

    election: str
    seat: int
    token: int
    holder: str
    t: float
    until: float


@dataclass(frozen=True, slots=True)
class Write:
    """A write under a leadership's fence that the servers accepted, in the resource's order."""

    version: int
    token: int
    holder: str


@dataclass(frozen=True)
class History:
    """One run."""

    deeds: tuple[Deed, ...] = ()
    sights: tuple[Sight, ...] = ()
    outages: tuple[Outage, ...] = ()
    beliefs: tuple[Belief, ...] = ()
    renewals: tuple[Renewal, ...] = ()
    tenures: tuple[Tenure, ...] = ()
    writes: tuple[Write, ...] = ()
    seats: Mapping[str, int] = field(default_factory=dict)
    """How many leaders each election may have."""
    finally_live: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Token and value of each member, as it knows itself once everything was healed."""
    finally_seen: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    """The same for each observer, as its view has it then."""
