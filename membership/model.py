"""The values that the library hands out: frozen, plain, the same on every backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Metadata: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Member:
    """One life of one member.

    ``token`` is the member's incarnation: it only grows within a group, so another token is
    another life, and the larger one is the later one.
    """

    group: str
    name: str
    token: int
    metadata: Metadata = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy can't be pickled
        return Member, (self.group, self.name, self.token, dict(self.metadata))


class Freshness(StrEnum):
    """How far a view may be trusted."""

    FRESH = "fresh"
    """The servers confirmed it within the backend's stated delay."""
    STALE = "stale"
    """The servers don't answer at the moment: this is the last that they confirmed."""
    DISCONNECTED = "disconnected"
    """The session is gone or closed: nothing will be noticed before it is made anew."""


@dataclass(frozen=True, slots=True)
class View:
    """A group as one reader knows it: a cache with a statement about itself.

    ``version`` counts the changes that this reader has seen and compares only with other views
    of the same watch. ``age`` is the time since the servers last confirmed the content, in
    seconds. ``unconfirmed`` names the members whose being alive or dead this reader has not
    watched for long enough to vouch for; they are listed as members. ``mass_loss`` says that
    a large share of the group went within a short window; nothing is withheld for it.
    """

    group: str
    members: Mapping[str, Member]
    version: int = 0
    age: float = 0.0
    freshness: Freshness = Freshness.FRESH
    unconfirmed: frozenset[str] = frozenset()
    mass_loss: bool = False

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members.values())

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name: object) -> bool:
        return name in self.members


class EventKind(StrEnum):
    """What a `MemberEvent` tells."""

    JOINED = "joined"
    """The token may be one that has left: lifted again, or called dead and found alive."""
    LEFT = "left"
    UPDATED = "updated"
    RESYNCED = "resynced"
    """A gap ends here: what follows is the net difference; a short life may have gone unseen."""


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """One change of a group. ``member`` is the life that it concerns; none for ``resynced``.

    ``version`` is the view's version once the change is applied.
    """

    kind: EventKind
    group: str
    member: Member | None
    version: int


@dataclass(frozen=True, slots=True)
class CellState:
    """What a cell holds. Version 0 is the cell that was never written; its value is empty."""

    value: bytes = b""
    version: int = 0
