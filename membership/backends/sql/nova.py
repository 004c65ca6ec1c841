"""The profile that beats as OpenStack Nova does.

A beat is a select and an update in one transaction, stamped with this process's wall clock; who is
up is asked of the reader's wall clock, and ``forced_down`` before it. The group is the service's
topic and binary, the member's name its host. Join, leave and metadata are ours: Nova has a row
made by hand or at a service's first start, and keeps neither incarnation nor metadata.
"""

from __future__ import annotations

import heapq
import math
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from membership.backends.sql import queries
from membership.backends.sql.database import Database
from membership.backends.sql.profile import (
    Claim,
    Document,
    Documents,
    Follower,
    Life,
    Part,
    Profile,
    Whole,
)
from membership.config import SqlConfig
from membership.liveness import nova_is_up
from membership.model import Member, View

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  Nova keeps naive UTC
_FIRST_BEAT = 5.0
_TOGETHER = 0.001
"""Rows that expire within this many seconds are read again in one statement."""


def _seconds(stamp: datetime) -> float:
    return (stamp - _EPOCH) / timedelta(seconds=1)


class _Service(NamedTuple):
    """A row of `queries.nova_read`."""

    id: int
    host: str
    forced_down: bool | None
    last_seen_up: datetime | None
    created_at: datetime | None
    token: int | None
    revision: int | None

    @property
    def seen(self) -> datetime | None:
        return self.last_seen_up or self.created_at


class Nova(Profile):
    """``SqlConfig(profile="nova")``."""

    batches = False

    def __init__(self, database: Database, config: SqlConfig) -> None:
        self.database = database
        self.interval = config.interval
        self.timeout = config.timeout
        self.poll = config.poll
        self.wall_clock = config.wall_clock
        self.claim_statement = queries.nova_claim(database.dialect)
        self.live_statement = queries.nova_live(database.dialect)

    def now(self) -> datetime:
        """What Nova would stamp."""
        return datetime.fromtimestamp(self.wall_clock(), UTC).replace(tzinfo=None)

    def is_up(self, forced_down: bool | None, seen: datetime | None, now: float) -> bool:
        return (
            not forced_down and seen is not None and nova_is_up(_seconds(seen), now, self.timeout)
        )

    def first_beat(self) -> float:
        """Nova waits 5 s at first, whatever the interval; here never longer than an interval."""
        return min(self.interval, _FIRST_BEAT)

    def claim(self, group: str, name: str) -> Claim:
        return _NovaClaim(self, group, name)

    def beat(self, lives: Sequence[Life]) -> list[Life]:
        return [life for life in lives if not self._beat(life)]

    def _beat(self, life: Life) -> bool:
        with self.database.beat_transaction() as connection:
            row = connection.execute(queries.nova_select, {"id": life.row}).one_or_none()
            if row is None:
                return False
            connection.execute(
                queries.nova_beat,
                {"service_id": life.row, "count": row.report_count + 1, "now": self.now()},
            )
            return True

    def update(self, life: Life, metadata: str) -> bool:
        with self.database.reading() as connection:
            updated = connection.execute(
                queries.nova_update, {"life": life.token, "metadata": metadata}
            )
            return bool(updated.rowcount)

    def leave(self, lives: Sequence[Life]) -> None:
        """Softly, as ``nova service-delete`` does: the row stays until it is purged."""
        with self.database.transaction() as connection:
            for life in lives:
                connection.execute(
                    queries.nova_leave,
                    {"service_id": life.row, "token": life.token, "now": self.now()},
                )

    def read(self, group: str) -> View:
        follower = _NovaFollower(self, group)
        members = {member.name: member for member in follower.read().members}
        return View(group, MappingProxyType(members))

    def read_one(self, group: str, name: str) -> Member | None:
        follower = _NovaFollower(self, group, name)
        return next(iter(follower.read().members), None)

    def groups(self) -> tuple[str, ...]:
        with self.database.reading() as connection:
            rows = connection.execute(queries.nova_groups).all()
        now = self.wall_clock()
        return tuple(
            sorted(
                {
                    topic
                    for topic, forced_down, last_seen_up, created_at in rows
                    if self.is_up(forced_down, last_seen_up or created_at, now)
                }
            )
        )

    def follow(self, group: str) -> Follower:
        return _NovaFollower(self, group)

    def purge(self, older_than: float) -> int:
        before = self.now() - timedelta(seconds=older_than)
        with self.database.transaction() as connection:
            return connection.execute(queries.nova_purge, {"before": before}).rowcount


class _NovaClaim(Claim):
    """Nova refuses no name: the row is the host's, and whoever starts there takes it over."""

    def __init__(self, profile: Nova, group: str, name: str) -> None:
        self._profile = profile
        self._group = group
        self._name = name

    def attempt(self, metadata: str) -> Life:
        profile, database = self._profile, self._profile.database
        with database.transaction() as connection:
            if not database.postgres:
                connection.execute(queries.advance_token)
            row: int = connection.execute(
                profile.claim_statement,
                {
                    "group": self._group,
                    "name": self._name,
                    "uuid": str(uuid.uuid4()),
                    "now": profile.now(),
                },
            ).scalar_one()
            token: int = connection.execute(
                profile.live_statement, {"id": row, "metadata": metadata}
            ).scalar_one()
        return Life(self._group, self._name, token, row)


class _NovaFollower(Follower):
    """Reads a group, or one service of it, and knows when each row will expire.

    With ``poll="read"`` a row is read again at that instant, as if somebody had asked just then;
    the expiry that counts is always that of the last stamp read.
    """

    def __init__(self, profile: Nova, group: str, name: str | None = None) -> None:
        self._at_expiry = profile.poll == "read"
        self.period = profile.interval if profile.poll == "read" else profile.poll
        self._profile = profile
        self._documents = Documents(group, self._fetch)
        self._statement = queries.nova_read if name is None else queries.nova_read_name
        self._parameters = {"group": group} if name is None else {"group": group, "name": name}
        self._group = group
        self._up: dict[int, _Service] = {}
        """By id, as last read."""
        self._queue: list[tuple[float, int]] = []
        """A heap: one entry for each that is up, at an instant no later than its expiry."""
        self._queued: set[int] = set()

    def read(self) -> Whole:
        with self._profile.database.reading() as connection:
            rows = connection.execute(self._statement, self._parameters).all()
        now = self._profile.wall_clock()
        self._up = {
            service.id: service
            for service in map(_Service._make, rows)
            if self._profile.is_up(service.forced_down, service.seen, now)
        }
        if self._at_expiry:
            for new in self._up.keys() - self._queued:
                self._push(new)
        return Whole(self._members(self._up.values(), complete=True))

    def expiry(self) -> float:
        if (first := self._first()) == math.inf:
            return math.inf
        return time.monotonic() + first - self._profile.wall_clock() + _TOGETHER

    def look(self) -> Part:
        now = self._profile.wall_clock()
        due: list[int] = []
        while self._first() < now:
            due.append(self._pop())
        if not due:
            return Part((), ())
        with self._profile.database.reading() as connection:
            rows = connection.execute(queries.nova_read_some, {"ids": due}).all()
        now = self._profile.wall_clock()
        found = {service.id: service for service in map(_Service._make, rows)}
        present, gone = [], []
        for id_ in due:
            service = found.get(id_)
            if service is not None and self._profile.is_up(service.forced_down, service.seen, now):
                self._up[id_] = service
                present.append(service)
                self._push(id_)
            else:
                gone.append(self._up.pop(id_).host)
        return Part(self._members(present, complete=False), gone)

    def _first(self) -> float:
        """The wall clock's instant of the next expiry, in s since 1970."""
        while self._queue:
            instant, id_ = self._queue[0]
            if id_ not in self._up:
                self._pop()
            elif (later := self._expires(id_)) > instant:
                heapq.heapreplace(self._queue, (later, id_))
            else:
                return instant
        return math.inf

    def _push(self, id_: int) -> None:
        self._queued.add(id_)
        heapq.heappush(self._queue, (self._expires(id_), id_))

    def _pop(self) -> int:
        _, id_ = heapq.heappop(self._queue)
        self._queued.discard(id_)
        return id_

    def _expires(self, id_: int) -> float:
        seen = self._up[id_].seen
        return (-math.inf if seen is None else _seconds(seen)) + self._profile.timeout

    def _members(self, services: Iterable[_Service], *, complete: bool) -> list[Member]:
        ours, strangers = [], []
        for service in services:
            if service.token is None or service.revision is None:
                strangers.append(Member(self._group, service.host, 0))
            else:
                ours.append((service.host, service.token, service.revision))
        return self._documents.members(ours, complete=complete) + strangers

    def _fetch(self, tokens: list[int]) -> Iterable[Document]:
        with self._profile.database.reading() as connection:
            return connection.execute(queries.nova_documents, {"tokens": tokens}).all()
