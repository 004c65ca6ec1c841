"""Database connections that a shard's wire services share, and the library's statements on them.

psycopg makes the connections. Statements go to its libpq directly: prepared, with one write and one
read each, and no cursor in between.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.errors import error_from_result
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from membership import SqlConfig

RETRY_SECONDS = (0.1, 1.0)
"""The shortest and the longest pause while the database doesn't answer, as the library has it."""

LOST = (OSError, psycopg.OperationalError)
"""What is raised where the server went away, or isn't up yet; a TimeoutError is an OSError."""

DIALECT = PGDialect_psycopg(paramstyle="numeric_dollar")
"""The library's, with the parameters numbered, as psycopg numbers them for the server."""

DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


@dataclass(frozen=True)
class Statement:
    """A statement of the library's, as the server is to see it."""

    text: bytes
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, element: sa.sql.elements.ClauseElement) -> Statement:
        compiled = element.compile(dialect=DIALECT)
        return cls(str(compiled).encode(), tuple(getattr(compiled, "positiontup", None) or ()))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement led to."""

    _result: pq.abc.PGresult

    @property
    def empty(self) -> bool:
        """Whether it returned no row."""
        return self._result.ntuples == 0

    @property
    def changed(self) -> int:
        """How many rows it changed."""
        return self._result.command_tuples or 0

    def number(self, column: int = 0) -> int:
        """In that column of the first row that it returned."""
        value = self._result.get_value(0, column)
        assert value is not None
        return int(value)


class Line:
    """One connection, with its prepared statements, for one exchange at a time.

    Everything raises `psycopg.Error`: one of `LOST` where the connection has ended.
    """

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        # A file of our own: libpq closes its own wherever it finds the connection broken, even when
        # it sends, and the loop would watch nothing, or another line that got the number.
        self._socket = os.dup(self._libpq.socket)
        self._prepared: dict[bytes, bytes] = {}
        self._result: pq.abc.PGresult | None = None
        self._awaited: asyncio.Future[pq.abc.PGresult] | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    async def run(self, statement: Statement, values: Mapping[str, object]) -> Answer:
        """Execute it; the first time it is prepared."""
        if (name := self._prepared.get(statement.text)) is None:
            name = b"s%d" % len(self._prepared)
            self._libpq.send_prepare(name, statement.text)
            await self._answer()
            self._prepared[statement.text] = name
        given = [_written(values[parameter]) for parameter in statement.parameters]
        self._libpq.send_query_prepared(name, given)
        return Answer(await self._answer())

    def transaction(self) -> Transaction:
        """It commits at the end; after an error nothing does, and the line has to be given up."""
        return Transaction(self)

    async def command(self, text: bytes) -> None:
        """One without parameters or rows."""
        self._libpq.send_query(text)
        await self._answer()

    async def _answer(self) -> pq.abc.PGresult:
        """To what was just sent, once it is complete."""
        self._awaited = self._loop.create_future()
        result = await self._awaited
        if result.status not in DONE:
            raise error_from_result(result)
        return result

    def _read(self) -> None:
        try:
            self._libpq.consume_input()
            while not self._libpq.is_busy():
                if (result := self._libpq.get_result()) is not None:
                    self._result = result
                    continue
                if self._awaited is not None and self._result is not None:
                    if not self._awaited.done():  # by those who wait no longer
                        self._awaited.set_result(self._result)
                    self._awaited = self._result = None
                return
        except psycopg.OperationalError as error:
            self.terminate()
            if self._awaited is not None and not self._awaited.done():
                self._awaited.set_exception(error)

    def terminate(self) -> None:
        """End the connection at once."""
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._socket)
            os.close(self._socket)
            self._libpq.finish()


def _written(value: object) -> bytes | None:
    """As the server reads it."""
    if value is None:
        return None
    if isinstance(value, list):
        return b"{%b}" % b",".join(str(each).encode() for each in value)
    return str(value).encode()


class Transaction:
    """For as long as an ``async with`` lasts."""

    __slots__ = ("_line",)

    def __init__(self, line: Line) -> None:
        self._line = line

    async def __aenter__(self) -> None:
        await self._line.command(b"BEGIN")

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            await self._line.command(b"COMMIT")


class Loan:
    """A line for as long as an ``async with`` lasts, and no longer than the timeout."""

    __slots__ = ("_line", "_lines", "_timeout")

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def __aenter__(self) -> Line:
        self._line = await self._lines.take()
        self._timeout = self._lines.limit()
        await self._timeout.__aenter__()
        return self._line

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        finally:
            self._lines.give_back(self._line, whole=error is None)


class Lines:
    """A pool: a line is lent to one at a time, in the order in which they asked.

    A line is opened when more are wanted than there are, however long the database is away; who
    asked takes whichever comes first, that one or one that another gives back.
    """

    def __init__(self, url: sa.URL, size: int, config: SqlConfig, *, durable: bool) -> None:
        self._url = url
        self._size = size
        self._config = config
        self._durable = durable
        # asyncio's queues send whoever was overtaken back to the end: some would wait for ever.
        self._free: list[Line] = []
        self._waiting: deque[asyncio.Future[Line]] = deque()
        self._open: set[Line] = set()
        self._opening: set[asyncio.Task[Line]] = set()

    def lend(self) -> Loan:
        """For one exchange, which may take as long as the timeout. Raises: TimeoutError."""
        return Loan(self)

    async def take(self) -> Line:
        """A line that is nobody else's until it is given back."""
        if self._free:
            return self._free.pop()
        turn: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._open_another()
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come just then
                self._hand_on(turn.result())
            raise

    def _open_another(self) -> None:
        if len(self._open) + len(self._opening) < self._size:
            opening = asyncio.create_task(self._connect_at_last())
            self._opening.add(opening)
            opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[Line]) -> None:
        self._opening.discard(opening)
        if opening.cancelled():
            return
        if (error := opening.exception()) is not None:  # nothing that time would mend
            while self._waiting:
                if not (turn := self._waiting.popleft()).done():
                    turn.set_exception(error)
            return
        line = opening.result()
        self._open.add(line)
        self._hand_on(line)

    def _hand_on(self, line: Line) -> None:
        while self._waiting:
            if not (turn := self._waiting.popleft()).done():
                turn.set_result(line)
                return
        self._free.append(line)

    def limit(self) -> asyncio.Timeout:
        """Of one exchange, from now on."""
        return asyncio.timeout(self._config.timeout)

    def give_back(self, line: Line, *, whole: bool) -> None:
        """Not ``whole``: cut off in the middle of an exchange. Nobody else can use what is left."""
        if whole:
            self._hand_on(line)
            return
        self._open.discard(line)
        line.terminate()
        if self._waiting:
            self._open_another()

    async def _connect_at_last(self) -> Line:
        pause, longest = RETRY_SECONDS
        while True:
            try:
                return await self._connect()
            except LOST:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _connect(self) -> Line:
        async with asyncio.timeout(self._config.connect_timeout):
            connection = await psycopg.AsyncConnection.connect(
                host=self._url.host,
                port=self._url.port,
                user=self._url.username,
                password=self._url.password,
                dbname=self._url.database,
                application_name="heartbench",
                options=f"-c synchronous_commit={'on' if self._durable else 'off'}",
            )
        return Line(connection)

    def terminate(self) -> None:
        """End every connection at once."""
        for opening in self._opening:
            opening.cancel()
        for line in self._open:
            line.terminate()
