"""The roster of a group: who has to be missed if nobody leads when he goes, and whose end is
being acted upon. It lies in a fixed number of cells, each member's by the hash of its name."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from membership.api import Cell, Condition, Membership

BUCKETS = 64
"""For ever: another number would look for members where they aren't."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A life's end that is being acted upon, under that leadership's token."""

    token: int
    leadership: int


class Bucket:
    """One cell of the roster, as last read; to be read again where a write's outcome is unknown."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._version: int | None = None
        self.alive: Mapping[str, int] = {}
        self.claimed: Mapping[str, Claim] = {}

    @property
    def stale(self) -> bool:
        """Whether it has to be read before anything is done."""
        return self._version is None

    def read(self) -> None:
        """Raises: Disconnected."""
        state = self._cell.get()
        content = json.loads(state.value or b"{}")
        self.alive = content.get("alive", {})
        self.claimed = {name: Claim(*claim) for name, claim in content.get("claimed", {}).items()}
        self._version = state.version

    def write(
        self, alive: Mapping[str, int], claimed: Mapping[str, Claim], *under: Condition
    ) -> None:
        """Replace it, in one step, if it is still as read and the conditions hold.

        Raises: Conflict, Disconnected; it is stale then. InvalidValue where so many don't fit.
        """
        version, self._version = self._version, None
        assert version is not None, "read it first"
        content = {
            "alive": alive,
            "claimed": {name: [claim.token, claim.leadership] for name, claim in claimed.items()},
        }
        value = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        self._version = self._cell.compare_and_set(value, version, *under).version
        self.alive, self.claimed = dict(alive), dict(claimed)


class Roster:
    """All buckets of one reaction."""

    def __init__(self, membership: Membership, prefix: str) -> None:
        self._buckets = [Bucket(membership.cell(f"{prefix}/{i}")) for i in range(BUCKETS)]

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._buckets)

    def bucket(self, name: str) -> Bucket:
        """The one that a member of that name is in."""
        return self._buckets[zlib.crc32(name.encode()) % BUCKETS]
