"""Where a mirror writes: the ``is_up`` column of a table of services, behind a fence row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError

from membership.backends.sql.database import Database
from membership.config import SqlConfig
from membership.errors import Conflict, InvalidValue

_metadata = sa.MetaData()

fences = sa.Table(
    "membership_fence",
    _metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False, comment="The largest that has written"),
)


class SqlLivenessSink:
    """A `LivenessSink` in a table that is there already, one row a service or more.

    Rows are found by the column ``host``; ``only`` narrows them, as in
    ``{"binary": "nova-compute", "deleted": 0}``. ``changed_at`` is stamped by the database's
    clock, in UTC where the column has no time zone; None: there is no such column. Each call
    locks the row ``fence`` of the table ``membership_fence``, made here, in its own transaction:
    tokens smaller than the largest seen are refused, by the database and in any process.

    Raises: InvalidValue where the table or a column isn't there; Disconnected.
    """

    def __init__(
        self,
        url: str,
        *,
        table: str = "services",
        host: str = "host",
        is_up: str = "is_up",
        changed_at: str | None = "changed_at",
        only: Mapping[str, object] | None = None,
        fence: str | None = None,
        config: SqlConfig | None = None,
    ) -> None:
        self._fence = table if fence is None else fence
        self._database = Database(url, SqlConfig() if config is None else config)
        try:
            rows = self._reflected(table)
            self._host = self._column(rows, host)
            self._is_up = self._column(rows, is_up)
            self._rows = [self._column(rows, name) == value for name, value in (only or {}).items()]
            self._stamp: dict[sa.Column[Any], sa.ColumnElement[Any]] = {}
            if changed_at is not None:
                column = self._column(rows, changed_at)
                self._stamp[column] = self._now(column)
            self._update = (
                sa.update(rows)
                .where(self._host.in_(sa.bindparam("names", expanding=True)), *self._rows)
                .values({self._is_up: sa.bindparam("up"), **self._stamp})
                .returning(self._host)
            )
            with self._database.transaction() as connection:
                _metadata.create_all(connection)
        except BaseException:
            self._database.dispose()
            raise

    def _reflected(self, table: str) -> sa.Table:
        with self._database.reading() as connection:
            try:
                return sa.Table(table, sa.MetaData(), autoload_with=connection)
            except NoSuchTableError:
                raise InvalidValue(f"{self._database.name} has no table {table!r}") from None

    def _column(self, rows: sa.Table, name: str) -> sa.Column[Any]:
        if name not in rows.c:
            raise InvalidValue(
                f"the table {rows.name!r} has no column {name!r}; it has {', '.join(rows.c.keys())}"
            )
        return rows.c[name]

    def _now(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        if not self._database.postgres or getattr(column.type, "timezone", False):
            return sa.func.current_timestamp()  # SQLite's is UTC
        return sa.func.timezone("UTC", sa.func.now())

    def read(self, token: int) -> dict[str, bool | None]:
        """See `LivenessSink.read`."""
        with self._database.transaction() as connection:
            self._raise_fence(connection, token)
            rows = connection.execute(sa.select(self._host, self._is_up).where(*self._rows))
            return {host: None if up is None else bool(up) for host, up in rows}

    def write(self, states: Mapping[str, bool], token: int) -> Collection[str]:
        """See `LivenessSink.write`. One statement for those that are up, one for the others."""
        found: set[str] = set()
        with self._database.transaction() as connection:
            self._raise_fence(connection, token)
            for up in (False, True):
                if names := [name for name, state in states.items() if state is up]:
                    rows = connection.execute(self._update, {"names": names, "up": up})
                    found.update(rows.scalars())
        return states.keys() - found

    def close(self) -> None:
        """Let go of every connection."""
        self._database.dispose()

    def _raise_fence(self, connection: sa.Connection, token: int) -> None:
        """Lock the fence, refuse an older token, remember a newer one."""
        ours = fences.c.name == self._fence
        locked = sa.select(fences.c.token).where(ours).with_for_update()
        seen = connection.execute(locked).scalar()
        if seen is None:
            # no row to lock yet: of two first writers, one waits here for the other's commit
            connection.execute(
                sa.text(
                    "INSERT INTO membership_fence (name, token) VALUES (:name, :token)"
                    " ON CONFLICT (name) DO NOTHING"
                ),
                {"name": self._fence, "token": token},
            )
            seen = connection.execute(locked).scalar_one()
        if seen > token:
            raise Conflict(
                f"fence {self._fence!r} has seen token {seen}, this writer's is {token}: another "
                "one leads (or the election's cells were lost; then remove the fence's row)"
            )
        if seen < token:
            connection.execute(sa.update(fences).where(ours).values(token=token))
