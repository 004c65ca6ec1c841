"""The profile that a good engineer would choose today: one statement a beat, the database's clock.

A reader declares a death only after it saw the beat unchanged for a whole timeout itself
(`membership.liveness.ChangeTracker`), so no outage, clock step or late start kills anybody.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence

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
from membership.encoding import decode_metadata
from membership.errors import NameTaken
from membership.liveness import ChangeTracker
from membership.model import Member


class Tuned(Profile):
    """``SqlConfig(profile="tuned")``."""

    batches = True

    def __init__(self, database: Database, config: SqlConfig) -> None:
        assert config.poll != "read"
        self.database = database
        self.interval = config.interval
        self.timeout = config.timeout
        self.timeout_ms = math.ceil(config.timeout * 1000)
        self.poll = config.poll
        self.claim_statement = queries.tuned_claim(database.dialect)
        self.document_statement = queries.tuned_document(database.dialect)
        self.hold_statement = queries.tuned_hold(database.dialect)

    def first_beat(self) -> float:
        """Anywhere in the interval: members that start together don't beat together."""
        return random.uniform(0.0, self.interval)  # noqa: S311  no secret

    def claim(self, group: str, name: str) -> Claim:
        return _TunedClaim(self, group, name)

    def beat(self, lives: Sequence[Life]) -> list[Life]:
        with self.database.beat() as connection:
            if len(lives) == 1:
                beaten = connection.execute(queries.tuned_beat, {"life": lives[0].token})
                return [] if beaten.rowcount else list(lives)
            tokens = [life.token for life in lives]
            standing = set(connection.scalars(queries.tuned_beat_many, {"tokens": tokens}))
        return [life for life in lives if life.token not in standing]

    def update(self, life: Life, metadata: str) -> bool:
        with self.database.transaction() as connection:
            if connection.execute(queries.tuned_revise, {"life": life.token}).first() is None:
                return False
            connection.execute(queries.tuned_rewrite, {"life": life.token, "metadata": metadata})
            return True

    def leave(self, lives: Sequence[Life]) -> None:
        with self.database.reading() as connection:
            connection.execute(queries.tuned_leave, {"tokens": [life.token for life in lives]})

    def read(self, group: str) -> Whole:
        """By the database's clock, and unconfirmed: one read can't tell who lives."""
        with self.database.reading() as connection:
            rows = connection.execute(
                queries.tuned_alive, {"group": group, "timeout_ms": self.timeout_ms}
            ).all()
        members = [
            Member(group, name, token, decode_metadata(metadata)) for name, token, metadata in rows
        ]
        return Whole(members, frozenset(member.name for member in members))

    def read_one(self, group: str, name: str) -> Member | None:
        with self.database.reading() as connection:
            row = connection.execute(
                queries.tuned_alive_name,
                {"group": group, "name": name, "timeout_ms": self.timeout_ms},
            ).one_or_none()
        return None if row is None else Member(group, name, row[1], decode_metadata(row[2]))

    def groups(self) -> tuple[str, ...]:
        with self.database.reading() as connection:
            names = connection.scalars(queries.tuned_groups, {"timeout_ms": self.timeout_ms}).all()
        return tuple(sorted(names))

    def follow(self, group: str) -> Follower:
        return _TunedFollower(self, group)

    def force_down(self, group: str, name: str, reason: str) -> None:
        with self.database.transaction() as connection:
            maintenance.force_down(connection, group, name, reason)

    def lift(self, group: str, name: str) -> None:
        with self.database.transaction() as connection:
            maintenance.lift(connection, group, name)

    def forced_down(self, group: str) -> dict[str, str]:
        with self.database.reading() as connection:
            return maintenance.reasons(connection, group)

    def is_absent(
        self, connection: sa.Connection, group: str, name: str, dead: Mapping[str, Beat] | None
    ) -> bool:
        """Its row is gone, or stands at the very beat at which the watch found it dead. Without a
        watch the database's clock has to do, which an outage may mislead."""
        if maintenance.is_forced_down(connection, group, name):
            return True
        row = {"group": group, "name": name}
        found = connection.execute(
            queries.tuned_lock, {**row, "timeout_ms": self.timeout_ms}
        ).one_or_none()
        if found is None and not self.database.postgres:
            return True  # SQLite's transactions are one at a time: nobody joins meanwhile
        if found is None:  # there is no row, or it is being written right now
            return connection.execute(self.hold_statement, row).first() is not None
        present, token, beat, fresh = found
        if not present:
            return True
        return not fresh if dead is None else dead.get(name) == (token, beat)

    def purge(self, older_than: float) -> int:
        with self.database.transaction() as connection:
            return connection.execute(
                queries.tuned_purge, {"older_than_ms": math.ceil(older_than * 1000)}
            ).rowcount


class _TunedClaim(Claim):
    """A row that has beaten lately is watched: it moves, or it stands still for the timeout."""

    def __init__(self, profile: Tuned, group: str, name: str) -> None:
        self._profile = profile
        self._group = group
        self._name = name
        self._seen: tuple[int, int] | None = None
        self._since = 0.0

    def attempt(self, metadata: str) -> Life | None:
        silent = self._seen is not None and time.monotonic() >= self._since + self._profile.timeout
        if (self._seen is None or silent) and (life := self._take(metadata)):
            return life
        with self._profile.database.reading() as connection:
            row = connection.execute(
                queries.tuned_standing, {"group": self._group, "name": self._name}
            ).one_or_none()
        if row is None:  # whoever held it has just left
            self._seen = None
            return self._take(metadata)
        found = (row[0], row[1])
        if self._seen is None:
            self._seen, self._since = found, time.monotonic()
        elif found != self._seen:
            raise NameTaken(f"{self._name!r} is a live member of {self._group!r} already")
        return None

    def _take(self, metadata: str) -> Life | None:
        token, beat = self._seen or (0, -1)  # no row is ever at this
        database = self._profile.database
        with database.transaction() as connection:
            if not database.postgres:
                connection.execute(queries.advance_token)
            taken: int | None = connection.scalar(
                self._profile.claim_statement,
                {
                    "group": self._group,
                    "name": self._name,
                    "timeout_ms": self._profile.timeout_ms,
                    "seen_token": token,
                    "seen_beat": beat,
                },
            )
            if taken is None:
                return None
            connection.execute(
                self._profile.document_statement, {"token": taken, "metadata": metadata}
            )
        return Life(self._group, self._name, taken, row=taken)


class _TunedFollower(Follower):
    """Reads the group each poll, and at each instant at which a silence may become a death."""

    def __init__(self, profile: Tuned, group: str) -> None:
        self.period = profile.poll
        self._database = profile.database
        self._group = group
        self._documents = Documents(group, self._fetch)
        # An outage shorter than this still leaves every live member the time to beat again
        # before it has been silent for the timeout.
        slack = min(profile.interval, (profile.timeout - profile.interval) / 2)
        self._tracker = ChangeTracker(profile.timeout, max_gap=profile.poll + slack)

    def read(self) -> Whole:
        sent = time.monotonic()
        with self._database.reading() as connection:
            rows = connection.execute(queries.tuned_read, {"group": self._group}).all()
        answered = time.monotonic()
        beats = {name: (token, beat) for name, token, _, beat, _ in rows}
        self._tracker.observe(beats, sent=sent, answered=answered)
        dead = self.dead = {name: beats[name] for name in self._tracker.dead()}
        forced = {name for name, _, _, _, forced in rows if forced}
        alive = (
            (name, token, revision)
            for name, token, revision, _, _ in rows
            if name not in dead and name not in forced
        )
        members = self._documents.members(alive, complete=True)
        return Whole(members, self._tracker.unconfirmed() - forced)

    def expiry(self) -> float:
        return self._tracker.expiry()

    def look(self) -> Whole | Part:
        """Those alone whose silence may be over the timeout by now: one who dies is no reason to
        read thousands who don't."""
        sent = time.monotonic()
        suspects = self._tracker.suspects(sent)
        with self._database.reading() as connection:
            rows = connection.execute(
                queries.tuned_beats, {"group": self._group, "names": list(suspects)}
            ).all()
        answered = time.monotonic()
        beats = {name: (token, beat) for name, token, beat in rows}
        if not self._tracker.look(suspects, beats, sent=sent, answered=answered):
            return self.read()
        gone = suspects & self._tracker.dead()
        self.dead = {**self.dead, **{name: beats[name] for name in gone if name in beats}}
        return Part((), gone)

    def _fetch(self, tokens: list[int]) -> Iterable[Document]:
        with self._database.reading() as connection:
            return connection.execute(queries.tuned_documents, {"tokens": tokens}).all()
