"""Group membership among the processes of one machine: ``directory:///run/members``.

All state is one JSON file, read and replaced under a lock. Each connection holds a lock on a
file of its own, which the kernel lets go when its process dies: whose file can be locked is dead.
So nothing beats, and no clock decides.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from membership import (
    Absent,
    Cell,
    CellState,
    Closed,
    Condition,
    Config,
    Conflict,
    InvalidValue,
    Member,
    Membership,
    Metadata,
    Meter,
    NameTaken,
    NotAMember,
    Registration,
    Traits,
    View,
)
from membership.api import Callback
from membership.encoding import check_name, encode_metadata, freeze_metadata
from membership.feed import CellFeed, Feed

POLL = 0.05
"""Between two looks of a watch, in s."""
LIMIT = 64 * 1024


@dataclass
class State:
    """What the file holds."""

    token: int = 0
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    """group -> name -> [token, metadata, session]"""
    forced: dict[str, dict[str, str]] = field(default_factory=dict)
    cells: dict[str, tuple[str, int]] = field(default_factory=dict)
    """name -> value in base 64, version"""

    def live(self, group: str) -> dict[str, Member]:
        forced = self.forced.get(group, {})
        return {
            name: Member(group, name, token, metadata)
            for name, (token, metadata, _) in self.members.get(group, {}).items()
            if name not in forced
        }

    def cell(self, name: str) -> CellState:
        value, version = self.cells.get(name, ("", 0))
        return CellState(base64.b64decode(value), version)

    def holds(self, condition: Condition) -> bool:
        if isinstance(condition, Absent):
            return condition.name not in self.live(condition.group)
        return self.cell(condition.cell).version == condition.version


class Directory:
    """The files. Every method may be called from any thread and process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        (path / "sessions").mkdir(parents=True, exist_ok=True)

    def open_session(self) -> tuple[str, int]:
        """A session's name, and the descriptor whose closing ends it."""
        name = uuid.uuid4().hex
        descriptor = os.open(self._path / "sessions" / name, os.O_CREAT | os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return name, descriptor

    def close_session(self, name: str, descriptor: int) -> None:
        """What a death of the process does, but for the file."""
        (self._path / "sessions" / name).unlink(missing_ok=True)
        os.close(descriptor)

    @contextmanager
    def transaction(self) -> Iterator[State]:
        """The state without the dead; what the block makes of it is kept unless it raises."""
        with (self._path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = self._path / "state.json"
            before = file.read_text() if file.exists() else "{}"
            state = State(**json.loads(before))
            self._bury(state)
            yield state
            after = json.dumps(vars(state))
            if after != before:
                new = self._path / "state.json.new"
                new.write_text(after)
                new.replace(file)

    def _bury(self, state: State) -> None:
        sessions = {holder for group in state.members.values() for _, _, holder in group.values()}
        dead = {session for session in sessions if self._is_dead(session)}
        for group, members in state.members.items():
            state.members[group] = {
                name: member for name, member in members.items() if member[2] not in dead
            }

    def _is_dead(self, session: str) -> bool:
        file = self._path / "sessions" / session
        try:
            with file.open("r+") as probe:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        file.unlink(missing_ok=True)
        return True


def connect(url: str, config: Config | None, meter: Meter) -> DirectoryMembership:  # noqa: ARG001
    """What the entry point names."""
    if config is not None:
        raise InvalidValue(f"directory:// takes no config, not even a {type(config).__name__}")
    return DirectoryMembership(Directory(Path(unquote(urlsplit(url).path))))


class DirectoryMembership(Membership):
    """A connection: one session, and a thread that looks where something is watched."""

    def __init__(self, directory: Directory) -> None:
        self.traits = Traits(
            delivery="poll",
            clock="server",
            detection=2 * POLL,
            lease=0.0,
            staleness=2 * POLL,
            metadata_bytes=LIMIT,
            cell_bytes=LIMIT,
        )
        self.directory = directory
        self.session, self._descriptor = directory.open_session()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._feeds: list[Feed] = []
        self._cell_feeds: dict[CellFeed, str] = {}
        self._thread: threading.Thread | None = None

    # --- members

    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,  # noqa: ARG002  while it lives, nobody is lost
        on_rejoined: Callback | None = None,  # noqa: ARG002
    ) -> Registration:
        check_name("group", group)
        check_name("member", name)
        encode_metadata(metadata, LIMIT)
        with self.transaction() as state:
            if name in state.members.get(group, {}):
                raise NameTaken(f"{name!r} is a live member of {group!r} already")
            state.token += 1
            members = state.members.setdefault(group, {})
            members[name] = [state.token, dict(metadata or {}), self.session]
            return _Registration(self, group, name, state.token, freeze_metadata(metadata))

    def members(self, group: str) -> View:
        with self.transaction() as state:
            return View(group, state.live(group))

    def member(self, group: str, name: str) -> Member | None:
        return self.members(group).members.get(name)

    def groups(self) -> tuple[str, ...]:
        with self.transaction() as state:
            return tuple(sorted(group for group in state.members if state.live(group)))

    def force_down(self, group: str, name: str, reason: str = "") -> None:
        check_name("group", group)
        check_name("member", name)
        with self.transaction() as state:
            state.forced.setdefault(group, {})[name] = reason

    def lift(self, group: str, name: str) -> None:
        with self.transaction() as state:
            state.forced.get(group, {}).pop(name, None)

    def forced_down(self, group: str) -> Mapping[str, str]:
        with self.transaction() as state:
            return dict(state.forced.get(group, {}))

    def cell(self, name: str) -> Cell:
        self._check_open()
        return _Cell(self, check_name("cell", name))

    # --- watching: `Feed` makes events of what it is told is so

    def watch(self, group: str, *, limit: int = 100_000) -> Feed:
        check_name("group", group)
        feed = Feed(group, self._forget, limit=limit)
        with self.transaction() as state, self._lock:
            feed.replace(state.live(group).values(), gap=False)
            self._feeds.append(feed)
            self._look()
        return feed

    def watch_cell(self, name: str) -> CellFeed:
        feed = CellFeed(self._forget_cell)
        with self.transaction() as state, self._lock:
            feed.put(state.cell(name))
            self._cell_feeds[feed] = name
            self._look()
        return feed

    def _forget(self, feed: Feed) -> None:
        with self._lock:
            self._feeds.remove(feed)

    def _forget_cell(self, feed: CellFeed) -> None:
        with self._lock:
            del self._cell_feeds[feed]

    def _look(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_looking, name="directory")
            self._thread.daemon = True
            self._thread.start()

    def _keep_looking(self) -> None:
        while not self._closed.wait(POLL):
            with self.directory.transaction() as state, self._lock:
                for feed in self._feeds:
                    feed.replace(state.live(feed.group).values(), gap=False)
                for cell_feed, name in self._cell_feeds.items():
                    cell_feed.put(state.cell(name))

    # --- the end

    @contextmanager
    def transaction(self) -> Iterator[State]:
        self._check_open()
        with self.directory.transaction() as state:
            yield state

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Closed("this connection has been closed")
        if self._pid != os.getpid():
            raise Closed("this connection belongs to the process that forked this one: connect")

    @property
    def is_open(self) -> bool:
        return not self._closed.is_set()

    def close(self) -> None:
        """Our members go with our session: the next look of anybody's finds them dead."""
        if self._closed.is_set() or self._pid != os.getpid():
            return
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        for feed in list(self._feeds):
            feed.close()
        for cell_feed in list(self._cell_feeds):
            cell_feed.close()
        self.directory.close_session(self.session, self._descriptor)


class _Registration(Registration):
    def __init__(
        self, ours: DirectoryMembership, group: str, name: str, token: int, metadata: Metadata
    ) -> None:
        self.group = group
        self.name = name
        self._ours = ours
        self._token = token
        self._metadata = metadata
        self._left = False

    @property
    def token(self) -> int:
        return self._token

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def is_member(self) -> bool:
        return self._ours.is_open and not self._left

    def update(self, metadata: Metadata) -> None:
        encode_metadata(metadata, LIMIT)
        if self._left:
            raise NotAMember(f"{self.name!r} has left {self.group!r}")
        with self._ours.transaction() as state:
            state.members[self.group][self.name][1] = dict(metadata)
        self._metadata = freeze_metadata(metadata)

    def leave(self) -> None:
        if self.is_member:
            with self._ours.transaction() as state:
                del state.members[self.group][self.name]
        self._left = True


class _Cell(Cell):
    def __init__(self, ours: DirectoryMembership, name: str) -> None:
        self.name = name
        self._ours = ours

    def get(self) -> CellState:
        with self._ours.transaction() as state:
            return state.cell(self.name)

    def compare_and_set(self, value: bytes, version: int, *under: Condition) -> CellState:
        if len(value) > LIMIT:
            raise InvalidValue(f"the value has {len(value)} bytes: a cell holds {LIMIT}")
        with self._ours.transaction() as state:
            found = state.cell(self.name).version
            if found != version:
                raise Conflict(f"cell {self.name!r} is at {found}, not at {version}")
            for condition in under:
                if not state.holds(condition):
                    raise Conflict(f"{condition} doesn't hold")
            state.cells[self.name] = (base64.b64encode(value).decode(), version + 1)
            return CellState(bytes(value), version + 1)

    def watch(self) -> CellFeed:
        return self._ours.watch_cell(self.name)
