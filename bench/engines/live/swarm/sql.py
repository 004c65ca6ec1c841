"""Wire services on PostgreSQL: each beats its own row with the SQL that the library compiled.

They share the shard's few connections, as Nova's services share their conductors'. What is
counted as late is when a beat went out, so a pool that is too small shows.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from bench.engines.live.swarm.lines import DIALECT, LOST, RETRY_SECONDS, Line, Lines, Statement
from bench.engines.live.swarm.loop import ServiceShard
from bench.engines.live.swarm.service import Service, Station
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from bench.plan import JOIN_CONNECTIONS
from membership import SqlConfig
from membership.backends.sql import queries
from membership.encoding import encode_metadata

NOVA_FIRST_BEAT = 5.0
"""Nova's initial delay, in s."""
CLAIM_SECONDS = 0.25
"""The longest pause between two looks at a name that is held, as the library has it."""
NEVER_SEEN = {"seen_token": 0, "seen_beat": -1}

_PG = DIALECT.name
NOVA_CLAIM = Statement.of(queries.nova_claim(_PG))
NOVA_LIVE = Statement.of(queries.nova_live(_PG))
NOVA_SELECT = Statement.of(queries.nova_select)
REPORT_COUNT = queries.nova_select.exported_columns.keys().index("report_count")
NOVA_BEAT = Statement.of(queries.nova_beat)
NOVA_LEAVE = Statement.of(queries.nova_leave)
TUNED_CLAIM = Statement.of(queries.tuned_claim(_PG))
TUNED_DOCUMENT = Statement.of(queries.tuned_document(_PG))
TUNED_BEAT = Statement.of(queries.tuned_beat)
TUNED_LEAVE = Statement.of(queries.tuned_leave)
TUNED_STANDING = Statement.of(queries.tuned_standing)

_METADATA = encode_metadata(None).decode()


@dataclass(frozen=True)
class Pools:
    """What the services of a shard share."""

    durable: Lines
    """For joins and leaves."""
    beats: Lines


class NameHeldError(Exception):
    """Another one lives under the name."""


class _Row(Service):
    """A service: one row, and a beat of it every interval.

    It has no socket of its own: whatever becomes of it, its peers see its row stand still.
    """

    def __init__(self, station: Station, name: str, config: SqlConfig, pools: Pools) -> None:
        super().__init__(station, name)
        self.server = next(iter(station.plan.servers.values()), None)
        self._config = config
        self._pools = pools
        self._due = 0.0
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._working: asyncio.Task[Any] | None = None
        """A join, or a beat."""

    @abstractmethod
    async def claim(self, line: Line) -> int | None:
        """Try for a life; its token, or None where it isn't known yet whether another one lives
        under the name. Raises: NameHeldError."""

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
        self._working = asyncio.current_task()
        await self._join()
        self._working = None
        self._schedule()

    async def _join(self) -> None:
        pause = min(self._config.interval / 4, CLAIM_SECONDS)
        while self.incarnation is None:
            await self.thawed()
            try:
                async with self._pools.durable.lend() as line:
                    sent = monotonic()
                    token = await self.claim(line)
            except LOST:
                await asyncio.sleep(RETRY_SECONDS[1])
                continue
            except NameHeldError:
                if not self.joined_once:
                    raise
                token = None
            if token is None:
                await asyncio.sleep(pause)
            else:
                self.joined(token, sent)
        self._due = monotonic() + self.first_beat()

    def _schedule(self) -> None:
        if not self.over and not self.frozen:
            delay = max(0.0, self._due - monotonic())
            self._timer = self.station.loop.call_later(delay, self._begin)

    def _begin(self) -> None:
        self._working = self.station.spawn(self._beat())

    async def _beat(self) -> None:
        lives = None
        try:
            async with self._pools.beats.lend() as line:
                if not self.frozen:  # as it may be by now
                    sent = monotonic()
                    lives = await self.beat(line)
        except LOST:
            self._pause = min(max(RETRY_SECONDS[0], 2 * self._pause), RETRY_SECONDS[1])
            await asyncio.sleep(self._pause)
        if lives is not None:
            self._pause = 0.0
            self.sent_renewal(self._due, sent)
        if lives:
            self.answered(sent)
            missed = max(0.0, (monotonic() - self._due) // self._config.interval)
            self._due += (missed + 1) * self._config.interval
        elif lives is False:
            self.lost()
            await self._join()
        self._working = None
        self._schedule()

    # --- orders

    def die(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._working is not None:
            self._working.cancel()

    def fall_silent(self) -> None:
        self.die()

    async def depart(self) -> None:
        self.die()
        if self.incarnation is not None:
            async with self._pools.durable.lend() as line:
                await self.withdraw(line)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def go_on(self) -> None:
        if self._working is None and self.incarnation is not None:
            self._schedule()


class _NovaRow(_Row):
    """As profile ``nova`` beats: select, then update, in one transaction; no jitter."""

    _id = 0

    def first_beat(self) -> float:
        return min(self._config.interval, NOVA_FIRST_BEAT)

    async def claim(self, line: Line) -> int | None:
        async with line.transaction():
            taken = await line.run(
                NOVA_CLAIM,
                {
                    "group": self.station.plan.group,
                    "name": self.name,
                    "uuid": str(uuid.UUID(int=self.station.random.getrandbits(128), version=4)),
                    "now": self._now(),
                },
            )
            self._id = taken.number()
            life = {"id": self._id, "metadata": _METADATA}
            return (await line.run(NOVA_LIVE, life)).number()

    async def beat(self, line: Line) -> bool:
        async with line.transaction():
            found = await line.run(NOVA_SELECT, {"id": self._id})
            if found.empty:
                return False
            count = found.number(REPORT_COUNT) + 1
            values = {"service_id": self._id, "count": count, "now": self._now()}
            return (await line.run(NOVA_BEAT, values)).changed == 1

    async def withdraw(self, line: Line) -> None:
        values = {"service_id": self._id, "token": self.incarnation, "now": self._now()}
        async with line.transaction():
            await line.run(NOVA_LEAVE, values)

    def _now(self) -> datetime:
        clock = self.wall_clock if self.station.plan.stamp == "service" else time.time
        return datetime.fromtimestamp(clock(), UTC).replace(tzinfo=None)


class _TunedRow(_Row):
    """As profile ``tuned`` beats: one statement, at a phase of its own. A row that has beaten
    lately is watched before it is taken: it moves, or it stands still for the timeout."""

    _seen: Mapping[str, object] | None = None
    _since = 0.0

    def first_beat(self) -> float:
        return self.station.random.random() * self._config.interval

    async def claim(self, line: Line) -> int | None:
        silent = self._seen and monotonic() >= self._since + self._config.timeout
        if (not self._seen or silent) and (token := await self._take(line)) is not None:
            return token
        holder = {"group": self.station.plan.group, "name": self.name}
        standing = await line.run(TUNED_STANDING, holder)
        if standing.empty:  # whoever held it has just left
            self._seen = None
            return await self._take(line)
        found = {"seen_token": standing.number(0), "seen_beat": standing.number(1)}
        if self._seen is None:
            self._seen, self._since = found, monotonic()
        elif found != self._seen:
            self._seen = None
            raise NameHeldError(f"{self.name} is a live member already")
        return None

    async def _take(self, line: Line) -> int | None:
        async with line.transaction():
            claimed = await line.run(
                TUNED_CLAIM,
                {
                    "group": self.station.plan.group,
                    "name": self.name,
                    "timeout_ms": math.ceil(self._config.timeout * 1000),
                    **(self._seen or NEVER_SEEN),
                },
            )
            if claimed.empty:
                return None
            token = claimed.number()
            await line.run(TUNED_DOCUMENT, {"token": token, "metadata": _METADATA})
            return token

    async def beat(self, line: Line) -> bool:
        return (await line.run(TUNED_BEAT, {"life": self.incarnation})).changed == 1

    async def withdraw(self, line: Line) -> None:
        await line.run(TUNED_LEAVE, {"tokens": [self.incarnation]})


class SqlShard(ServiceShard):
    """Rows of wire services."""

    def __init__(self, plan: ShardPlan) -> None:
        assert isinstance(plan.config, SqlConfig)
        self._config = plan.config
        url = sa.make_url(plan.url)
        beats_durable = plan.config.synchronous_commit
        self._pools = Pools(
            durable=Lines(url, JOIN_CONNECTIONS, plan.config, durable=True),
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
