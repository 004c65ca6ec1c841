"""Cells: one row each, changed under its lock."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import bindparam

from membership.api import Absent, Cell, CellWatch, Condition, Fence
from membership.backends.sql.database import Database
from membership.backends.sql.dialects import CELLS, announced, insert
from membership.backends.sql.profile import Profile
from membership.backends.sql.reading import Reader
from membership.backends.sql.schema import cells
from membership.errors import Conflict, InvalidValue
from membership.model import CellState

CELL_BYTES = 64 * 1024

_named = cells.c.name == bindparam("cell", type_=sa.String)
_read = sa.select(cells.c.value, cells.c.version).where(_named)
_lock = sa.select(cells.c.version).where(_named).with_for_update()
_write = (
    cells.update()
    .where(_named)
    .values(
        value=bindparam("content", type_=sa.LargeBinary),
        version=cells.c.version + sa.literal_column("1"),
    )
    .returning(announced(CELLS, cells.c.name))
)


def read_cell(database: Database, name: str) -> CellState:
    """The committed state. Raises: Disconnected."""
    with database.reading() as connection:
        row = connection.execute(_read, {"cell": name}).one_or_none()
    return CellState() if row is None else CellState(bytes(row[0]), row[1])


class SqlCell(Cell):
    """See `membership.api.Cell`. A row of version 0 is a cell that was never written."""

    def __init__(
        self,
        database: Database,
        profile: Profile,
        reader: Reader,
        name: str,
        check_open: Callable[[], None],
    ) -> None:
        self.name = name
        self._database = database
        self._profile = profile
        self._reader = reader
        self._check_open = check_open

    def get(self) -> CellState:
        self._check_open()
        return read_cell(self._database, self.name)

    def compare_and_set(self, value: bytes, version: int, *under: Condition) -> CellState:
        self._check_open()
        if len(value) > CELL_BYTES:
            raise InvalidValue(f"the value has {len(value)} bytes: a cell holds {CELL_BYTES}")
        wanted = {Fence(self.name, version)}
        wanted.update(each for each in under if isinstance(each, Fence))
        away = {each for each in under if isinstance(each, Absent)}
        with self._database.transaction() as connection:
            # in one order everywhere, so that two writers can't wait for each other
            for fence in sorted(wanted, key=lambda fence: fence.cell):
                found = self._locked(connection, fence.cell)
                if found != fence.version:
                    raise Conflict(f"cell {fence.cell!r} is at {found}, not at {fence.version}")
            for absent in sorted(away, key=lambda absent: (absent.group, absent.name)):
                dead = self._reader.dead(absent.group)
                if not self._profile.is_absent(connection, absent.group, absent.name, dead):
                    raise Conflict(f"{absent.name!r} may be a live member of {absent.group!r}")
            connection.execute(_write, {"cell": self.name, "content": value})
        return CellState(bytes(value), version + 1)

    def _locked(self, connection: sa.Connection, name: str) -> int:
        # a row to lock, so that nobody can make the cell in between either
        made = insert(cells, connection.dialect.name).values(name=name, value=b"", version=0)
        connection.execute(made.on_conflict_do_nothing())
        version: int = connection.execute(_lock, {"cell": name}).scalar_one()
        return version

    def watch(self) -> CellWatch:
        self._check_open()
        return self._reader.watch_cell(self.name)
