"""Membership inside one process: the contract at its most readable, and a backend for tests.

A store lives as long as somebody is connected to its URL. A connection that is dropped unclosed
(`MemoryMembership.abandon`) stops vouching for its members; they go when its timeout is over.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from membership.api import (
    Absent,
    Callback,
    Cell,
    CellWatch,
    Condition,
    Membership,
    Meter,
    Registration,
    Traits,
)
from membership.config import Config, MemoryConfig
from membership.encoding import check_name, encode_metadata, freeze_metadata
from membership.errors import Closed, Conflict, InvalidValue, NameTaken, NotAMember
from membership.feed import CellFeed, Feed
from membership.model import CellState, Member, Metadata, View

_METADATA_BYTES = 64 * 1024
_CELL_BYTES = 64 * 1024


@dataclass
class _Store:
    """What the connections to one URL share; every field is guarded by ``lock``."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    token: int = 0
    groups: dict[str, dict[str, Member]] = field(default_factory=dict)
    """Who holds each name, those that are forced down included."""
    forced: dict[str, dict[str, str]] = field(default_factory=dict)
    cells: dict[str, CellState] = field(default_factory=dict)
    feeds: list[Feed] = field(default_factory=list)
    cell_feeds: list[tuple[str, CellFeed]] = field(default_factory=list)
    dying: set[int] = field(default_factory=set)
    """Tokens of members whose connection died and whose timeout runs."""
    connections: int = 0

    def put(self, member: Member) -> None:
        self.groups.setdefault(member.group, {})[member.name] = member
        self.tell(member.group, member.name)

    def remove(self, member: Member) -> None:
        present = self.groups.get(member.group, {})
        standing = present.get(member.name)
        if standing is not None and standing.token == member.token:
            del present[member.name]
            self.dying.discard(member.token)
            self.lock.notify_all()
            self.tell(member.group, member.name)

    def live(self, group: str) -> dict[str, Member]:
        """Who is a member to others."""
        forced = self.forced.get(group, {})
        standing = self.groups.get(group, {})
        return {name: member for name, member in standing.items() if name not in forced}

    def tell(self, group: str, name: str) -> None:
        """Tell every watch of the group how it stands with that name."""
        member = self.live(group).get(name)
        for feed in self.feeds:
            if feed.group == group:
                if member is None:
                    feed.remove(name)
                else:
                    feed.put(member)

    def holds(self, condition: Condition) -> bool:
        if isinstance(condition, Absent):
            return condition.name not in self.live(condition.group)
        return self.cells.get(condition.cell, CellState()).version == condition.version


_stores: dict[str, _Store] = {}
_stores_lock = threading.Lock()


def connect(url: str, config: Config | None, meter: Meter) -> MemoryMembership:  # noqa: ARG001
    """Open a connection; see `membership.connect`. Nothing is ever renewed: the meter is silent."""
    config = MemoryConfig() if config is None else config
    if not isinstance(config, MemoryConfig):
        raise InvalidValue(f"memory:// takes a MemoryConfig, not a {type(config).__name__}")
    parts = urlsplit(url)
    return MemoryMembership(parts.netloc + parts.path, config)


class MemoryMembership(Membership):
    """A connection to a store in this process."""

    def __init__(self, key: str, config: MemoryConfig) -> None:
        self.traits = Traits(
            delivery="push",
            clock="process",
            detection=config.timeout,
            lease=config.timeout,
            staleness=0.0,
            metadata_bytes=_METADATA_BYTES,
            cell_bytes=_CELL_BYTES,
        )
        self._timeout = config.timeout
        self._mass_loss = config.mass_loss
        self._key = key
        self._pid = os.getpid()
        self._registrations: list[_MemoryRegistration] = []
        self._feeds: list[Feed | CellFeed] = []
        self._closed = False
        with _stores_lock:
            self.store = _stores.setdefault(key, _Store())
            self.store.connections += 1

    def check_open(self) -> None:
        if self._closed:
            raise Closed("this connection has been closed")
        if self._pid != os.getpid():
            raise Closed("this connection belongs to the process that forked this one: connect")

    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,  # noqa: ARG002  a store in this process loses nobody
        on_rejoined: Callback | None = None,  # noqa: ARG002
    ) -> Registration:
        check_name("group", group)
        check_name("member", name)
        encode_metadata(metadata, self.traits.metadata_bytes)
        with self.store.lock:
            self.check_open()
            present = self.store.groups.setdefault(group, {})
            self.store.lock.wait_for(
                lambda: name not in present or present[name].token not in self.store.dying
            )
            if name in present:
                raise NameTaken(f"{name!r} is a live member of {group!r} already")
            self.store.token += 1
            member = Member(group, name, self.store.token, freeze_metadata(metadata))
            self.store.put(member)
            registration = _MemoryRegistration(self, member)
            self._registrations.append(registration)
            return registration

    def members(self, group: str) -> View:
        with self.store.lock:
            self.check_open()
            return View(group, MappingProxyType(self.store.live(group)))

    def member(self, group: str, name: str) -> Member | None:
        with self.store.lock:
            self.check_open()
            return self.store.live(group).get(name)

    def groups(self) -> tuple[str, ...]:
        with self.store.lock:
            self.check_open()
            return tuple(sorted(group for group in self.store.groups if self.store.live(group)))

    def watch(self, group: str, *, limit: int = 100_000) -> Feed:
        check_name("group", group)
        with self.store.lock:
            self.check_open()
            feed = Feed(group, self._forget, limit=limit, mass_loss=self._mass_loss)
            feed.replace(self.store.live(group).values(), gap=False)
            self.store.feeds.append(feed)
            self._feeds.append(feed)
            return feed

    def _forget(self, feed: Feed) -> None:
        with self.store.lock:
            self.store.feeds.remove(feed)
            self._feeds.remove(feed)

    def force_down(self, group: str, name: str, reason: str = "") -> None:
        check_name("group", group)
        check_name("member", name)
        with self.store.lock:
            self.check_open()
            self.store.forced.setdefault(group, {})[name] = reason
            self.store.tell(group, name)

    def lift(self, group: str, name: str) -> None:
        with self.store.lock:
            self.check_open()
            self.store.forced.get(group, {}).pop(name, None)
            self.store.tell(group, name)

    def forced_down(self, group: str) -> Mapping[str, str]:
        with self.store.lock:
            self.check_open()
            return dict(self.store.forced.get(group, {}))

    def cell(self, name: str) -> Cell:
        self.check_open()
        return _MemoryCell(self, check_name("cell", name))

    def watch_cell(self, name: str) -> CellFeed:
        def forget(feed: CellFeed) -> None:
            with self.store.lock:
                self.store.cell_feeds.remove((name, feed))
                self._feeds.remove(feed)

        with self.store.lock:
            self.check_open()
            feed = CellFeed(forget)
            feed.put(self.store.cells.get(name, CellState()))
            self.store.cell_feeds.append((name, feed))
            self._feeds.append(feed)
            return feed

    def forget(self, registration: _MemoryRegistration) -> None:
        self._registrations.remove(registration)

    def close(self) -> None:
        with self.store.lock:
            if self._closed:
                return
            for registration in list(self._registrations):
                registration.leave()
            self._close_feeds()
            self._disconnect()

    def abandon(self) -> None:
        """End as a crash would: say nothing, and let the timeout find out."""
        with self.store.lock:
            if self._closed:
                return
            members = [registration.member for registration in self._registrations]
            store = self.store
            store.dying.update(member.token for member in members)

            def expire() -> None:
                with store.lock:
                    for member in members:
                        store.remove(member)
                    self._disconnect()

            self._close_feeds()
            timer = threading.Timer(self._timeout, expire)
            timer.daemon = True
            timer.start()

    def _close_feeds(self) -> None:
        for feed in list(self._feeds):
            feed.close()
        self._closed = True

    def _disconnect(self) -> None:
        with _stores_lock:
            self.store.connections -= 1
            if not self.store.connections:
                _stores.pop(self._key, None)


class _MemoryRegistration(Registration):
    def __init__(self, membership: MemoryMembership, member: Member) -> None:
        self.group = member.group
        self.name = member.name
        self.member = member
        self._membership = membership
        self._left = False

    @property
    def token(self) -> int:
        return self.member.token

    @property
    def metadata(self) -> Metadata:
        return self.member.metadata

    @property
    def is_member(self) -> bool:
        store = self._membership.store
        with store.lock:
            return store.groups.get(self.group, {}).get(self.name) is self.member

    def update(self, metadata: Metadata) -> None:
        encode_metadata(metadata, _METADATA_BYTES)
        with self._membership.store.lock:
            if self._left:
                raise NotAMember(f"{self.name!r} has left {self.group!r}")
            self._membership.check_open()
            if metadata != self.member.metadata:
                self.member = replace(self.member, metadata=freeze_metadata(metadata))
                self._membership.store.put(self.member)

    def leave(self) -> None:
        with self._membership.store.lock:
            if not self._left:
                self._left = True
                self._membership.forget(self)
                self._membership.store.remove(self.member)


class _MemoryCell(Cell):
    def __init__(self, membership: MemoryMembership, name: str) -> None:
        self.name = name
        self._membership = membership

    def get(self) -> CellState:
        with self._membership.store.lock:
            self._membership.check_open()
            return self._membership.store.cells.get(self.name, CellState())

    def compare_and_set(self, value: bytes, version: int, *under: Condition) -> CellState:
        if len(value) > _CELL_BYTES:
            raise InvalidValue(f"the value has {len(value)} bytes: a cell holds {_CELL_BYTES}")
        store = self._membership.store
        with store.lock:
            found = self.get()
            if found.version != version:
                raise Conflict(f"cell {self.name!r} is at {found.version}, not at {version}")
            for condition in under:
                if not store.holds(condition):
                    raise Conflict(f"{condition} doesn't hold")
            state = store.cells[self.name] = CellState(bytes(value), version + 1)
            for name, feed in store.cell_feeds:
                if name == self.name:
                    feed.put(state)
            return state

    def watch(self) -> CellWatch:
        return self._membership.watch_cell(self.name)
