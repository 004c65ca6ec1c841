"""What harnesses that are dead have left on this machine, and its removal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import MachineError


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that no living harness owns."""

    what: str
    """In words, with the name by which it is known: `container heartbench-3f2a-zk-1`."""
    owner: int
    """The process id of the harness that made it."""


def clean() -> Iterator[Leftover]:
    """Remove whatever dead harnesses left; each is handed on once it is gone.

    What belongs to a living harness is never touched. What vanishes by itself meanwhile is no
    error. Raises MachineError, saying which and why, where something can't be removed.
    """
    from bench.engines.live import provision, racks  # they make leftovers of their own, from here

    for room in (racks, provision):
        for leftover in room.leftovers():
            try:
                room.remove(leftover)
            except OSError as error:
                raise MachineError(f"{leftover.what} can't be removed: {error}") from error
            yield leftover
