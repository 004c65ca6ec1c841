"""Wire services on PostgreSQL: each beats its own row with the SQL that the library compiled.

They share the shard's few connections, as Nova's services share their conductors'. What is
counted as late is when a beat went out, so a pool that is too small shows.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import sqlalchemy as sa

from bench.engines.live.swarm.service import Service, ServiceShard, Station
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from membership import SqlConfig
from membership.backends.sql import queries
from membership.encoding import encode_metadata

JOINERS = 4
"""Connections for joins and leaves, which always wait for the disk."""
NOVA_FIRST_BEAT = 5.0
"""Nova's initial delay, in s."""
RETRY_SECONDS = (0.1, 1.0)
"""The shortest and the longest pause while the database doesn't answer, as the library has it."""
NEVER_SEEN = {"seen_token": 0, "seen_beat": -1}

LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, TimeoutError)
"""What asyncpg raises where the server went away."""


@dataclass(frozen=True)
class Statement:
    """A statement of the library's, compiled for the shard's driver."""

    text: str
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, element: sa.sql.elements.ClauseElement) -> Statement:
        compiled = element.compile(dialect=_DIALECT)
        return cls(str(compiled), tuple(getattr(compiled, "positiontup", None) or ()))


_DIALECT = sa.make_url("postgresql+asyncpg://").get_dialect()()
_PG = _DIALECT.name

NOVA_CLAIM = Statement.of(queries.nova_claim(_PG))
NOVA_LIVE = Statement.of(queries.nova_live(_PG))
NOVA_SELECT = Statement.of(queries.nova_select)
NOVA_BEAT = Statement.of(queries.nova_beat)
NOVA_LEAVE = Statement.of(queries.nova_leave)
TUNED_CLAIM = Statement.of(queries.tuned_claim(_PG))
TUNED_DOCUMENT = Statement.of(queries.tuned_document(_PG))
TUNED_BEAT = Statement.of(queries.tuned_beat)
TUNED_LEAVE = Statement.of(queries.tuned_leave)
TUNED_STANDING = Statement.of(queries.tuned_standing)

_METADATA = encode_metadata(None).decode()


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
    """A pool: a line is lent to one at a time; one that broke is replaced when it is asked for."""

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
                line = await self._connect()
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


@dataclass(frozen=True)
class Pools:
    """What the services of a shard share."""

    durable: Lines
    """For joins and leaves."""
    beats: Lines


class _Row(Service):
    """A service: one row, and a beat of it every interval."""

    def __init__(self, station: Station, name: str, config: SqlConfig, pools: Pools) -> None:
        super().__init__(station, name)
        self.server = next(iter(station.plan.servers.values()), None)
        self._config = config
        self._pools = pools
        self._due = 0.0
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None

    @abstractmethod
    async def claim(self, line: Line) -> int:
        """Make the row, in one transaction; the new life's token."""

    @abstractmethod
    def first_beat(self) -> float:
        """How long after its join a service beats for the first time, in s."""

    @abstractmethod
    async def beat(self, line: Line) -> bool:
        """Beat once; False where the life turned out to be over."""

    @abstractmethod
    async def withdraw(self, line: Line) -> None:
        """Take the row back."""

    # --- the life of a row

    async def join(self) -> None:
        async with self.station.joining:
            await self._join()

    async def _join(self) -> None:
        while not self.over:
            try:
                async with self._pools.durable.lend() as line:
                    sent = monotonic()
                    token = await self.claim(line)
            except LOST:
                await asyncio.sleep(RETRY_SECONDS[1])
                continue
            self.joined(token, sent)
            self._due = monotonic() + self.first_beat()
            self._schedule()
            return

    def _schedule(self) -> None:
        if not self.over and not self.frozen:
            delay = max(0.0, self._due - monotonic())
            self._timer = self.station.loop.call_later(delay, self._begin)

    def _begin(self) -> None:
        self._beating = self.station.spawn(self._beat())

    async def _beat(self) -> None:
        try:
            async with self._pools.beats.lend() as line:
                sent = monotonic()
                lives = await self.beat(line)
        except LOST:
            self._pause = min(max(RETRY_SECONDS[0], 2 * self._pause), RETRY_SECONDS[1])
            self._timer = self.station.loop.call_later(self._pause, self._begin)
            return
        self._pause = 0.0
        self.late(self._due, sent)
        self._beating = None
        if lives:
            self.answered(sent)
            missed = max(0.0, (monotonic() - self._due) // self._config.interval)
            self._due += (missed + 1) * self._config.interval
            self._schedule()
        else:
            self.lost()
            await self._join()

    # --- orders

    def die(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()

    async def depart(self) -> None:
        self.die()
        async with self._pools.durable.lend() as line:
            await self.withdraw(line)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def go_on(self) -> None:
        if self._beating is None and self.incarnation is not None:
            self._schedule()


class _NovaRow(_Row):
    """As profile ``nova`` beats: select, then update, in one transaction; no jitter."""

    _id = 0

    def first_beat(self) -> float:
        return min(self._config.interval, NOVA_FIRST_BEAT)

    async def claim(self, line: Line) -> int:
        async with line.transaction():
            row = await line.run(
                NOVA_CLAIM,
                {
                    "group": self.station.plan.group,
                    "name": self.name,
                    "uuid": str(uuid.UUID(int=self.station.random.getrandbits(128), version=4)),
                    "now": self._now(),
                },
            )
            assert row is not None
            self._id = row[0]
            life = {"id": self._id, "metadata": _METADATA}
            row = await line.run(NOVA_LIVE, life)
            assert row is not None
            return int(row[0])

    async def beat(self, line: Line) -> bool:
        async with line.transaction():
            row = await line.run(NOVA_SELECT, {"id": self._id})
            if row is None:
                return False
            count = row["report_count"] + 1
            values = {"service_id": self._id, "count": count, "now": self._now()}
            return await line.change(NOVA_BEAT, values) == 1

    async def withdraw(self, line: Line) -> None:
        values = {"service_id": self._id, "token": self.incarnation, "now": self._now()}
        async with line.transaction():
            await line.change(NOVA_LEAVE, values)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._config.wall_clock(), UTC).replace(tzinfo=None)


class _TunedRow(_Row):
    """As profile ``tuned`` beats: one statement, at a phase of its own."""

    def first_beat(self) -> float:
        return self.station.random.random() * self._config.interval

    async def claim(self, line: Line) -> int:
        seen: Mapping[str, object] = NEVER_SEEN
        while True:
            token = await self._try_to_claim(line, seen)
            if token is not None:
                return token
            seen = await self._watch_the_holder(line)

    async def _try_to_claim(self, line: Line, seen: Mapping[str, object]) -> int | None:
        async with line.transaction():
            row = await line.run(
                TUNED_CLAIM,
                {
                    "group": self.station.plan.group,
                    "name": self.name,
                    "timeout_ms": math.ceil(self._config.timeout * 1000),
                    **seen,
                },
            )
            if row is None:
                return None
            document = {"token": row[0], "metadata": _METADATA}
            await line.change(TUNED_DOCUMENT, document)
            return int(row[0])

    async def _watch_the_holder(self, line: Line) -> Mapping[str, object]:
        """What stands under our name, once it has stood for a timeout."""
        holder = {"group": self.station.plan.group, "name": self.name}
        before = await line.run(TUNED_STANDING, holder)
        if before is None:
            return NEVER_SEEN
        await asyncio.sleep(self._config.timeout)
        return {"seen_token": before[0], "seen_beat": before[1]}

    async def beat(self, line: Line) -> bool:
        return await line.change(TUNED_BEAT, {"life": self.incarnation}) == 1

    async def withdraw(self, line: Line) -> None:
        await line.change(TUNED_LEAVE, {"tokens": [self.incarnation]})


class SqlShard(ServiceShard):
    """Rows of wire services."""

    def __init__(self, plan: ShardPlan) -> None:
        assert isinstance(plan.config, SqlConfig)
        self._config = plan.config
        url = sa.make_url(plan.url)
        beats_durable = plan.config.synchronous_commit
        self._pools = Pools(
            durable=Lines(url, JOINERS, plan.config, durable=True),
            beats=Lines(url, plan.connections, plan.config, durable=beats_durable),
        )
        super().__init__(plan)

    async def open(self, station: Station) -> None:
        pass

    def service(self, station: Station, name: str) -> Service:
        kind = _NovaRow if self._config.profile == "nova" else _TunedRow
        return kind(station, name, self._config, self._pools)

    async def shut(self) -> None:
        self._pools.durable.terminate()
        self._pools.beats.terminate()
