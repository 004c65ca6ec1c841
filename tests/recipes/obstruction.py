"""A connection whose calls on cells can be stopped, or made to fail, around each write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from membership import (
    Cell,
    CellState,
    CellWatch,
    Condition,
    Member,
    Membership,
    Metadata,
    Registration,
    View,
    Watch,
)
from membership.api import Callback

Step = Callable[[str, str, bytes], None]
"""Told of each step: ``read``, or ``before`` and ``after`` a write; the cell's name and what is
written. It may block or raise."""


class ObstructedCell(Cell):
    """The real cell; every call passes the step first."""

    def __init__(self, cell: Cell, step: Step) -> None:
        self.name = cell.name
        self._cell = cell
        self._step = step

    def get(self) -> CellState:
        self._step("read", self.name, b"")
        return self._cell.get()

    def compare_and_set(self, value: bytes, version: int, *under: Condition) -> CellState:
        self._step("before", self.name, value)
        state = self._cell.compare_and_set(value, version, *under)
        self._step("after", self.name, value)
        return state

    def watch(self) -> CellWatch:
        return self._cell.watch()


class Obstructed(Membership):
    """The real connection, but for its cells."""

    def __init__(self, membership: Membership, step: Step) -> None:
        self.real = membership
        self.traits = membership.traits
        self._step = step

    def cell(self, name: str) -> Cell:
        return ObstructedCell(self.real.cell(name), self._step)

    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,
        on_rejoined: Callback | None = None,
    ) -> Registration:
        return self.real.join(
            group, name, metadata=metadata, on_lost=on_lost, on_rejoined=on_rejoined
        )

    def members(self, group: str) -> View:
        return self.real.members(group)

    def member(self, group: str, name: str) -> Member | None:
        return self.real.member(group, name)

    def groups(self) -> tuple[str, ...]:
        return self.real.groups()

    def watch(self, group: str, *, limit: int = 100_000) -> Watch:
        return self.real.watch(group, limit=limit)

    def force_down(self, group: str, name: str, reason: str = "") -> None:
        self.real.force_down(group, name, reason)

    def lift(self, group: str, name: str) -> None:
        self.real.lift(group, name)

    def forced_down(self, group: str) -> Mapping[str, str]:
        return self.real.forced_down(group)

    def close(self) -> None:
        self.real.close()
