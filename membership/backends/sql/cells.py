"""Cells: one row each, changed under its lock."""

from __future__ import annotations

from collections.abc import Callable

from membership.api import Cell, CellWatch, Fence
from membership.backends.sql import queries
from membership.backends.sql.database import Database
from membership.backends.sql.reading import Reader
from membership.errors import Conflict, InvalidValue
from membership.model import CellState

CELL_BYTES = 64 * 1024


def read_cell(database: Database, name: str) -> CellState:
    """The committed state. Raises: Disconnected."""
    with database.reading() as connection:
        row = connection.execute(queries.cell_read, {"cell": name}).one_or_none()
    return CellState() if row is None else CellState(bytes(row[0]), row[1])


class SqlCell(Cell):
    """See `membership.api.Cell`. A row of version 0 is a cell that was never written."""

    def __init__(
        self, database: Database, reader: Reader, name: str, check_open: Callable[[], None]
    ) -> None:
        self.name = name
        self._database = database
        self._reader = reader
        self._check_open = check_open

    def get(self) -> CellState:
        self._check_open()
        return read_cell(self._database, self.name)

    def compare_and_set(
        self, value: bytes, version: int, *, under: Fence | None = None
    ) -> CellState:
        self._check_open()
        if len(value) > CELL_BYTES:
            raise InvalidValue(f"the value has {len(value)} bytes: a cell holds {CELL_BYTES}")
        make = queries.cell_make(self._database.dialect)
        # in one order everywhere, so that two writers can't wait for each other
        locked = {self.name} if under is None else {self.name, under.cell}
        with self._database.transaction() as connection:
            found = {}
            for name in sorted(locked):
                # a row to lock, so that nobody can make the cell in between either
                connection.execute(make, {"cell": name})
                found[name] = connection.execute(queries.cell_lock, {"cell": name}).scalar_one()
            if found[self.name] != version:
                raise Conflict(f"cell {self.name!r} is at {found[self.name]}, not at {version}")
            if under is not None and found[under.cell] != under.version:
                raise Conflict(
                    f"fence {under.cell!r} is at {found[under.cell]}, not at {under.version}"
                )
            connection.execute(
                queries.cell_write, {"cell": self.name, "expected": version, "content": value}
            )
        return CellState(bytes(value), version + 1)

    def watch(self) -> CellWatch:
        self._check_open()
        return self._reader.watch_cell(self.name)
