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
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import sqlalchemy as sa

from membership.backends.sql import maintenance, queries
from membership.backends.sql.database import Database
from membership.backends.sql.profile import (
    Beat,
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
from membership.model import Member

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  Nova keeps naive UTC
_FIRST_BEAT = 5.0
_TOGETHER = 0.001
"""Rows that expire within this many seconds are read again in one statement."""


_Row: TypeAlias = tuple[
    int, str, bool | None, datetime | None, datetime | None, int | None, int | None
]
"""Of `queries.nova_read`: id, host, forced_down, last_seen_up, created_at, token, revision."""


def _seconds(stamp: datetime) -> float:
    return (stamp - _EPOCH).total_seconds()


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

    def read(self, group: str) -> Whole:
        return _NovaFollower(self, group).read()

    def read_one(self, group: str, name: str) -> Member | None:
        follower = _NovaFollower(self, group, name)
        return next(iter(follower.read().members), None)

    def groups(self) -> tuple[str, ...]:
        with self.database.reading() as connection:
            rows = connection.execute(queries.nova_groups).all()
        return tuple(sorted({topic for topic, *row in rows if self._is_up(*row)}))

    def _is_up(
        self, forced_down: bool | None, last_seen_up: datetime | None, created_at: datetime | None
    ) -> bool:
        seen = last_seen_up or created_at
        if forced_down or seen is None:
            return False
        return nova_is_up(_seconds(seen), self.wall_clock(), self.timeout)

    def follow(self, group: str) -> Follower:
        return _NovaFollower(self, group)

    def force_down(self, group: str, name: str, reason: str) -> None:
        with self.database.transaction() as connection:
            maintenance.force_down(connection, group, name, reason)
            connection.execute(queries.nova_mark, {"group": group, "name": name, "forced": True})

    def lift(self, group: str, name: str) -> None:
        with self.database.transaction() as connection:
            maintenance.lift(connection, group, name)
            connection.execute(queries.nova_mark, {"group": group, "name": name, "forced": False})

    def forced_down(self, group: str) -> dict[str, str]:
        """Those that somebody else's tool marked included."""
        with self.database.reading() as connection:
            rows = connection.execute(queries.nova_forced_down, {"group": group})
            return dict(rows.all()) | maintenance.reasons(connection, group)

    def is_absent(
        self,
        connection: sa.Connection,
        group: str,
        name: str,
        dead: Mapping[str, Beat] | None,  # noqa: ARG002  Nova goes by stamps, not by beats seen
    ) -> bool:
        """By Nova's rule on this process's clock. A host that has no service at all may start one
        in the same moment: Nova's tables have nothing to lock then."""
        if maintenance.is_forced_down(connection, group, name):
            return True
        service = {"group": group, "name": name}
        rows = connection.execute(queries.nova_lock, service).all()
        return not any(self._is_up(*row) for row in rows)

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
        self._up: dict[int, tuple[str, float]] = {}
        """Host and expiry (the wall clock's, s since 1970) by id, of those that are up."""
        self._queue: list[tuple[float, int]] = []
        """A heap: one entry for each that is up, at an instant no later than its expiry."""
        self._queued: set[int] = set()

    def read(self) -> Whole:
        with self._profile.database.reading() as connection:
            rows = connection.execute(self._statement, self._parameters).all()
        self._up, members = self._sift(rows, complete=True)
        if self._at_expiry:
            for id_ in self._up.keys() - self._queued:
                self._push(id_)
        return Whole(members)

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
        up, present = self._sift(rows, complete=False)
        gone = [self._up.pop(id_)[0] for id_ in due if id_ not in up]
        self._up.update(up)
        for id_ in up:
            self._push(id_)
        return Part(present, gone)

    def _sift(
        self, rows: Iterable[_Row], *, complete: bool
    ) -> tuple[dict[int, tuple[str, float]], list[Member]]:
        """Of the rows just read, those that are up now: as `_up` has them, and as members."""
        now, timeout = self._profile.wall_clock(), self._profile.timeout
        up: dict[int, tuple[str, float]] = {}
        ours: list[tuple[str, int, int]] = []
        strangers: list[Member] = []
        for id_, host, forced_down, last_seen_up, created_at, token, revision in rows:
            stamp = last_seen_up or created_at
            seen = -math.inf if stamp is None else _seconds(stamp)
            if forced_down or not nova_is_up(seen, now, timeout):
                continue
            up[id_] = (host, seen + timeout)
            if token is None or revision is None:
                strangers.append(Member(self._group, host, 0))
            else:
                ours.append((host, token, revision))
        return up, self._documents.members(ours, complete=complete) + strangers

    def _first(self) -> float:
        """The wall clock's instant of the next expiry, in s since 1970."""
        while self._queue:
            instant, id_ = self._queue[0]
            if id_ not in self._up:
                self._pop()
            elif (later := self._up[id_][1]) > instant:
                heapq.heapreplace(self._queue, (later, id_))
            else:
                return instant
        return math.inf

    def _push(self, id_: int) -> None:
        self._queued.add(id_)
        heapq.heappush(self._queue, (self._up[id_][1], id_))

    def _pop(self) -> int:
        _, id_ = heapq.heappop(self._queue)
        self._queued.discard(id_)
        return id_

    def _fetch(self, tokens: list[int]) -> Iterable[Document]:
        with self._profile.database.reading() as connection:
            return connection.execute(queries.nova_documents, {"tokens": tokens}).all()
