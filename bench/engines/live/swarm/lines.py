"""Database connections that a shard's wire services share, and the library's statements on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import sqlalchemy as sa

from membership import SqlConfig

RETRY_SECONDS = (0.1, 1.0)
"""The shortest and the longest pause while the database doesn't answer, as the library has it."""

LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # it shuts down, or isn't up yet
    asyncpg.TooManyConnectionsError,
)
"""What asyncpg raises where the server went away."""


@dataclass(frozen=True)
class Statement:
    """A statement of the library's, compiled for the shard's driver."""

    text: str
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, element: sa.sql.elements.ClauseElement) -> Statement:
        compiled = element.compile(dialect=DIALECT)
        return cls(str(compiled), tuple(getattr(compiled, "positiontup", None) or ()))


DIALECT = sa.make_url("postgresql+asyncpg://").get_dialect()()


class Line:
    """One connection, with its prepared statements."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._prepared: dict[str, Any] = {}

    async def run(
        self, statement: Statement, values: Mapping[str, object]
    ) -> asyncpg.Record | None:
        """The first row that the statement returns."""
        prepared = await self._prepare(statement)
        row: asyncpg.Record | None = await prepared.fetchrow(
            *(values[name] for name in statement.parameters)
        )
        return row

    async def change(self, statement: Statement, values: Mapping[str, object]) -> int:
        """How many rows the statement changed."""
        prepared = await self._prepare(statement)
        await prepared.fetch(*(values[name] for name in statement.parameters))
        return int(prepared.get_statusmsg().rpartition(" ")[2])

    async def _prepare(self, statement: Statement) -> Any:
        if (prepared := self._prepared.get(statement.text)) is None:
            prepared = await self._connection.prepare(statement.text)
            self._prepared[statement.text] = prepared
        return prepared

    def transaction(self) -> Any:
        return self._connection.transaction()

    def terminate(self) -> None:
        self._connection.terminate()


class Lines:
    """A pool: a line is lent to one at a time. One that broke is replaced when it is asked for,
    however long the database is away: those who want one wait."""

    def __init__(self, url: sa.URL, size: int, config: SqlConfig, *, durable: bool) -> None:
        self._url = url
        self._config = config
        self._durable = durable
        self._free: asyncio.LifoQueue[Line | None] = asyncio.LifoQueue()
        self._open: set[Line] = set()
        for _ in range(size):
            self._free.put_nowait(None)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Line]:
        line = await self._free.get()
        try:
            if line is None:
                line = await self._connect_at_last()
            yield line
        except BaseException:
            # Cut off in the middle of an exchange: nobody else can use what is left of it.
            if line is not None:
                self._open.discard(line)
                line.terminate()
                line = None
            raise
        finally:
            self._free.put_nowait(line)

    async def _connect_at_last(self) -> Line:
        pause, longest = RETRY_SECONDS
        while True:
            try:
                return await self._connect()
            except LOST:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _connect(self) -> Line:
        connection = await asyncpg.connect(
            host=self._url.host,
            port=self._url.port or 5432,
            user=self._url.username,
            password=self._url.password,
            database=self._url.database,
            timeout=self._config.connect_timeout,
            command_timeout=self._config.timeout,
            server_settings={
                "application_name": "heartbench",
                "synchronous_commit": "on" if self._durable else "off",
            },
        )
        line = Line(connection)
        self._open.add(line)
        return line

    def terminate(self) -> None:
        for line in self._open:
            line.terminate()
