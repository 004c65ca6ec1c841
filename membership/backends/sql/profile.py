"""What the two profiles have to say differently: how a member beats, and who is alive.

The threads, the healing and the watches around it are the same for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import sqlalchemy as sa

from membership.encoding import decode_metadata
from membership.model import Member

Beat: TypeAlias = tuple[int, int]
"""A life's token, and how often it has beaten."""


@dataclass(frozen=True, slots=True)
class Life:
    """One incarnation of a member of ours, and the row that it beats."""

    group: str
    name: str
    token: int
    row: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A group as a complete read found it."""

    members: Collection[Member]
    unconfirmed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """What a look at some of a group's rows found."""

    present: Collection[Member]
    gone: Collection[str]


class Claim(ABC):
    """One endeavour to hold a name, step by step: the wait in between is the caller's."""

    @abstractmethod
    def attempt(self, metadata: str) -> Life | None:
        """The new life; None: it isn't known yet whether the holder lives, try again soon.

        Raises: NameTaken, the holder lives; Disconnected.
        """


class Follower(ABC):
    """One group as a watch reads it again and again. Used by one thread at a time."""

    period: float
    """Between two complete reads, in s."""

    dead: Mapping[str, Beat] = MappingProxyType({})
    """Who was found dead by the last read, at which beat; replaced as a whole at each read."""

    @abstractmethod
    def read(self) -> Whole:
        """Read all of it. Raises: Disconnected."""

    @abstractmethod
    def expiry(self) -> float:
        """The monotonic instant at which to `look`; infinity where the next read will do."""

    @abstractmethod
    def look(self) -> Whole | Part:
        """Read again what may have expired by now. Raises: Disconnected."""


class Profile(ABC):
    """The statements and the rules of one way to beat. Every method may raise Disconnected."""

    batches: bool
    """Whether `beat` takes any number of lives at the price of one."""

    @abstractmethod
    def first_beat(self) -> float:
        """How long after its join a member beats first, in s."""

    @abstractmethod
    def claim(self, group: str, name: str) -> Claim:
        """Begin to join."""

    @abstractmethod
    def beat(self, lives: Sequence[Life]) -> list[Life]:
        """Beat for each; return those that are over."""

    @abstractmethod
    def update(self, life: Life, metadata: str) -> bool:
        """Replace the metadata; False if the life is over."""

    @abstractmethod
    def leave(self, lives: Sequence[Life]) -> None:
        """End them, as far as they aren't over."""

    @abstractmethod
    def read(self, group: str) -> Whole:
        """The group, as one read without a history can tell."""

    @abstractmethod
    def read_one(self, group: str, name: str) -> Member | None:
        """The same of one member."""

    @abstractmethod
    def groups(self) -> tuple[str, ...]:
        """The groups with members, sorted."""

    @abstractmethod
    def follow(self, group: str) -> Follower:
        """Begin to watch."""

    @abstractmethod
    def force_down(self, group: str, name: str, reason: str) -> None:
        """Have readers take the name for no member, until `lift`."""

    @abstractmethod
    def lift(self, group: str, name: str) -> None:
        """Undo it, if it was done."""

    @abstractmethod
    def forced_down(self, group: str) -> dict[str, str]:
        """The names that are forced down, each with its reason."""

    @abstractmethod
    def is_absent(
        self, connection: sa.Connection, group: str, name: str, dead: Mapping[str, Beat] | None
    ) -> bool:
        """Whether nobody of that name is a live member; if so, until the transaction is over.

        ``dead``: whom a watch of this connection found dead; None where none watches the group.
        """

    @abstractmethod
    def purge(self, older_than: float) -> int:
        """Delete what has been dead for so long, in s; how many rows of members that were."""


Document: TypeAlias = tuple[int, int, str]
"""A life's token, the revision of its metadata, and they themselves."""


class Documents:
    """A group's members with their metadata, read only where they are new."""

    def __init__(self, group: str, fetch: Callable[[list[int]], Iterable[Document]]) -> None:
        self._group = group
        self._fetch = fetch
        self._known: dict[int, tuple[int, Member]] = {}
        """By token: revision and member."""

    def members(self, rows: Iterable[tuple[str, int, int]], *, complete: bool) -> list[Member]:
        """The members of these rows (name, token, revision); one that ended meanwhile is missing.

        ``complete``: whoever isn't among them may be forgotten.
        """
        before = self._known
        known = {} if complete else before
        found: list[Member] = []
        new: dict[int, str] = {}
        for name, token, revision in rows:
            entry = before.get(token)
            if entry is not None and entry[0] == revision:
                known[token] = entry
                found.append(entry[1])
            else:
                new[token] = name
        for token, revision, metadata in self._fetch(list(new)) if new else ():
            member = Member(self._group, new[token], token, decode_metadata(metadata))
            known[token] = (revision, member)
            found.append(member)
        self._known = known
        return found
