"""A connection to a database of members: the contract on SQL."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType

from membership.api import Callback, Cell, Membership, Meter, Registration, Traits
from membership.backends.sql import schema
from membership.backends.sql.cells import CELL_BYTES, SqlCell, read_cell
from membership.backends.sql.database import Database
from membership.backends.sql.heartbeat import Heartbeat
from membership.backends.sql.listening import Listener
from membership.backends.sql.nova import Nova
from membership.backends.sql.profile import Profile
from membership.backends.sql.reading import Reader
from membership.backends.sql.registration import Healer, SqlRegistration
from membership.backends.sql.tuned import Tuned
from membership.config import Config, SqlConfig
from membership.encoding import check_name, encode_metadata, freeze_metadata
from membership.errors import Closed, Disconnected, InvalidValue
from membership.feed import Feed
from membership.model import Member, Metadata, View

METADATA_BYTES = 64 * 1024


def connect(url: str, config: Config | None, meter: Meter) -> SqlMembership:
    """Open a connection, and create the tables if need be; see `membership.connect`."""
    config = SqlConfig() if config is None else config
    if not isinstance(config, SqlConfig):
        raise InvalidValue(f"SQL backends take a SqlConfig, not a {type(config).__name__}")
    database = Database(url, config)
    try:
        schema.ensure(database)
    except BaseException:
        database.dispose()
        raise
    return SqlMembership(database, config, meter)


class SqlMembership(Membership):
    """A connection: one thread that beats, one that reads where something is watched."""

    def __init__(self, database: Database, config: SqlConfig, meter: Meter) -> None:
        period = config.interval if config.poll == "read" else config.poll
        nova = config.profile == "nova"
        pushed = database.postgres and not nova
        self.traits = Traits(
            delivery="push" if pushed else "poll",
            clock="writer" if nova else "reader",
            detection=config.timeout + (0.0 if config.poll == "read" else period),
            lease=config.timeout,
            staleness=period + database.answer_timeout,
            metadata_bytes=METADATA_BYTES,
            cell_bytes=CELL_BYTES,
            exempt=frozenset({"name-refusal"} if nova else ()),
        )
        self.timeout = config.timeout
        self.drift = config.drift
        self.metadata_bytes = METADATA_BYTES
        self.profile: Profile = Nova(database, config) if nova else Tuned(database, config)
        self._database = database
        self._pause = min(config.interval / 4, 0.25)
        self._connect_timeout = config.connect_timeout
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._registrations: set[SqlRegistration] = set()
        self._closed = threading.Event()
        self._heartbeat = Heartbeat(self.profile, config.interval, meter, self.lost)
        self._healer = Healer(self.profile, self._pause, self._heartbeat.add)
        self._reader = Reader(
            self.profile.follow,
            lambda name: read_cell(database, name),
            timeout=config.timeout,
            cell_period=period,
            mass_loss=config.mass_loss,
            listener=Listener(database) if pushed else None,
            meter=meter,
        )

    def __repr__(self) -> str:
        return f"<SqlMembership {self._database.name}>"

    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,
        on_rejoined: Callback | None = None,
    ) -> Registration:
        check_name("group", group)
        check_name("member", name)
        encoded = encode_metadata(metadata, METADATA_BYTES).decode()
        self.check_open()
        claim = self.profile.claim(group, name)
        while True:
            sent = time.monotonic()
            if (life := claim.attempt(encoded)) is not None:
                break
            self._closed.wait(self._pause)
            self.check_open()
        registration = SqlRegistration(
            self, life, sent, freeze_metadata(metadata), on_lost, on_rejoined
        )
        with self._lock:
            if not self._closed.is_set():
                self._registrations.add(registration)
                self._heartbeat.add(registration)
                return registration
        self.profile.leave([life])
        raise Closed("this connection has been closed")

    def members(self, group: str) -> View:
        self.check_open()
        whole = self._reader.refresh(group)
        if whole is None:
            whole = self.profile.read(group)
        members = MappingProxyType({member.name: member for member in whole.members})
        with self._lock:
            own = [each for each in self._registrations if each.group == group]
        vouched = {
            each.name
            for each in own
            if each.name in members and members[each.name].token == each.token and each.is_member
        }
        return View(group, members, unconfirmed=whole.unconfirmed - vouched)

    def member(self, group: str, name: str) -> Member | None:
        self.check_open()
        return self.profile.read_one(group, name)

    def groups(self) -> tuple[str, ...]:
        self.check_open()
        return self.profile.groups()

    def watch(self, group: str, *, limit: int = 100_000) -> Feed:
        check_name("group", group)
        self.check_open()
        return self._reader.watch(group, limit)

    def force_down(self, group: str, name: str, reason: str = "") -> None:
        check_name("group", group)
        check_name("member", name)
        self.check_open()
        self.profile.force_down(group, name, reason)

    def lift(self, group: str, name: str) -> None:
        self.check_open()
        self.profile.lift(group, name)

    def forced_down(self, group: str) -> Mapping[str, str]:
        self.check_open()
        return self.profile.forced_down(group)

    def cell(self, name: str) -> Cell:
        self.check_open()
        check_name("cell", name)
        return SqlCell(self._database, self.profile, self._reader, name, self.check_open)

    def purge(self, older_than: float) -> int:
        """Delete the rows of members that have been dead for ``older_than`` seconds.

        Nobody else does: a member that leaves or dies leaves its row behind, and every read of
        its group passes over it. Returns how many there were. A name's tokens go on growing.

        Raises: InvalidValue below twice the timeout, for such a member may yet live;
        Disconnected.
        """
        self.check_open()
        if older_than < 2 * self.timeout:
            raise InvalidValue(
                f"older_than is {older_than} s: it has to be at least twice the timeout, "
                f"{2 * self.timeout} s"
            )
        return self.profile.purge(older_than)

    def close(self) -> None:
        if self._pid != os.getpid():
            return  # its threads and connections are the other process's
        if left := self._end():
            with contextlib.suppress(Disconnected):  # they end by their timeout then
                self.profile.leave([registration.life for registration in left])
        self._database.dispose()

    def abandon(self) -> None:
        """End as a crash would: say nothing, and let the timeout find out."""
        self._end()
        self._database.dispose()

    def _end(self) -> list[SqlRegistration]:
        """Stop every thread; those of our members that still stood."""
        with self._lock:
            if self._closed.is_set():
                return []
            self._closed.set()
            registrations, self._registrations = self._registrations, set()
        bound = self._connect_timeout + self.timeout
        self._reader.stop(bound)
        self._healer.stop(bound)
        self._heartbeat.stop(bound)
        return [each for each in registrations if each.retire() and each.standing]

    # --- the registrations' side

    def check_open(self) -> None:
        if self._closed.is_set():
            raise Closed("this connection has been closed")
        if self._pid != os.getpid():
            raise Closed("this connection belongs to the process that forked this one: connect")

    def lost(self, registration: SqlRegistration) -> None:
        self._heartbeat.remove(registration)
        self._healer.add(registration)

    def untold(self, registration: SqlRegistration) -> None:
        self._healer.add(registration)

    def left(self, registration: SqlRegistration) -> None:
        self._heartbeat.remove(registration)
        with self._lock:
            self._registrations.discard(registration)
