"""Members of two backends at once: seen by the readers of either, switched while all goes on."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from bench.engines.live.provision import Deployment
from membership import (
    Disconnected,
    EventKind,
    InvalidValue,
    Membership,
    MemoryConfig,
    NameTaken,
    SqlConfig,
    ZooKeeperConfig,
    connect,
)
from membership.backends.memory import MemoryMembership
from membership.backends.sql import SqlMembership
from membership.recipes.migration import Both, Difference
from membership.recipes.settings import Setting
from membership.testing import ROOM, Check, checks, eventually, quiet, run, take, told
from tests.live.sessions import frozen
from tests.threads import none_left

SQL = SqlConfig(interval=0.25, timeout=4.0, poll=0.1)
_numbers = itertools.count()

Connect = Callable[[], Membership]


@pytest.fixture
def old() -> Connect:
    url = f"memory://migration-{next(_numbers)}"
    return lambda: connect(url, MemoryConfig(timeout=0.3))


@pytest.fixture(params=["sqlite", "zookeeper"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    if request.param == "sqlite":
        return lambda: connect(f"sqlite:///{tmp_path}/members.db", SQL)
    url = request.getfixturevalue("zookeeper_url")
    return lambda: connect(url, ZooKeeperConfig(session_timeout=5.0))


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    with none_left():
        yield


class BothSubject:
    """Memory and SQLite, as one connection that has to keep the contract itself."""

    def __init__(self, folder: Path) -> None:
        self._memory = f"memory://both-{next(_numbers)}"
        self._sqlite = f"sqlite:///{folder}/members.db"

    def connect(self) -> Both:
        old = connect(self._memory, MemoryConfig(timeout=0.3))
        return Both(old, connect(self._sqlite, SQL))

    def crash(self, membership: Membership) -> None:
        assert isinstance(membership, Both)
        old, new = membership.sides
        assert isinstance(old, MemoryMembership)
        assert isinstance(new, SqlMembership)
        old.abandon()
        new.abandon()

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Of SQLite, whose file is somebody else's."""
        lock = sqlite3.connect(self._sqlite.removeprefix("sqlite:///"), isolation_level=None)
        with closing(lock) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield

    def sessions(self) -> int:
        return 0  # each backend's own tests count them


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_both_keep_the_contract(check: Check, tmp_path: Path) -> None:
    run(check, BothSubject(tmp_path))


def test_a_member_of_both_is_seen_by_the_readers_of_either(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as both, old() as before, new() as after:
        me = both.join("compute", "host-1", metadata={"zone": "az1"})
        for reader in (before, after):
            member = reader.member("compute", "host-1")
            assert member is not None
            assert member.metadata == {"zone": "az1"}
        me.update({"zone": "az2"})
        both.force_down("compute", "host-2", "broken")
        for reader in (before, after):
            member = reader.member("compute", "host-1")
            assert member is not None
            assert member.metadata == {"zone": "az2"}
            assert reader.forced_down("compute") == {"host-2": "broken"}
        both.lift("compute", "host-2")
        me.leave()
        for reader in (before, after):
            assert reader.member("compute", "host-1") is None
            assert reader.forced_down("compute") == {}


def test_the_views_are_compared_by_name_and_metadata(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as both, old() as before, new() as after:
        both.join("compute", "on-both", metadata={"n": 1})
        assert not both.compare("compute")
        before.join("compute", "not-yet-migrated")
        after.join("compute", "stray")
        before.join("compute", "differs", metadata={"n": 1})
        after.join("compute", "differs", metadata={"n": 2})
        found = both.compare("compute")
        assert found == Difference(
            only_old=frozenset({"not-yet-migrated"}),
            only_new=frozenset({"stray"}),
            metadata_differs=frozenset({"differs"}),
        )
        assert found


def test_a_switch_changes_what_is_read_and_the_way_back_too(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as both, old() as before, new() as after:
        me = both.join("compute", "host-1")
        before.join("compute", "only-old")
        after.join("compute", "only-new")
        tokens: dict[str, int] = {}
        for side, stray in (("old", "only-old"), ("new", "only-new"), ("old", "only-old")):
            both.switch(side)  # type: ignore[arg-type]
            assert both.read == side
            assert set(both.members("compute").members) == {"host-1", stray}
            assert both.member("compute", stray) is not None
            member = both.member("compute", "host-1")
            assert member is not None
            assert member.token == me.token
            assert tokens.setdefault(side, me.token) == me.token
            assert me.is_member
        assert both.traits.clock == before.traits.clock


def test_an_open_watch_goes_over_and_tells_the_difference(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as both, old() as before, new() as after:
        both.join("compute", "host-1")
        before.join("compute", "only-old")
        after.join("compute", "only-new")
        with both.watch("compute") as watch:
            take(watch, 2)
            version = watch.view.version
            both.switch("new")
            events = take(watch, 5)
            assert told(events)[:2] == [("resynced", None), ("left", "only-old")]
            rest = told(events)[2:]
            assert ("joined", "only-new") in rest
            again = rest.index(("left", "host-1"))
            assert rest[again + 1] == ("joined", "host-1")
            assert [event.version for event in events] == sorted(e.version for e in events)
            assert watch.view.version > version
            assert set(watch.view.members) == {"host-1", "only-new"}
            quiet(watch, 0.3)
            both.join("compute", "host-2")
            assert told(take(watch, 1, both.traits.detection)) == [("joined", "host-2")]
            both.switch("old")
            events = take(watch, 7)
            assert events[0].kind is EventKind.RESYNCED
            told_present: dict[str, int] = {}
            for event in events[1:]:
                assert event.member is not None
                if event.kind is EventKind.JOINED:
                    told_present[event.member.name] = event.member.token
            view = both.members("compute")
            assert told_present == {member.name: member.token for member in view}


def test_a_consumer_that_waits_is_woken_by_the_switch(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as both, new() as after:
        after.join("compute", "only-new")
        watch = both.watch("compute")
        seen: list[tuple[str, str | None]] = []
        consumer = threading.Thread(target=lambda: seen.extend(told([e])[0] for e in watch))
        consumer.start()
        both.switch("new")
        eventually(lambda: seen == [("resynced", None), ("joined", "only-new")], why=lambda: seen)
        watch.close()
        consumer.join(ROOM)
        assert not consumer.is_alive()


def test_who_waits_for_several_streams_is_called_for_either_side(
    old: Connect, new: Connect
) -> None:
    with (
        Both(old(), new()) as both,
        both.watch("compute") as watch,
        old() as before,
        new() as after,
    ):
        called = threading.Event()
        watch.notify(called.set)
        called.clear()
        before.join("compute", "only-old")
        assert called.wait(both.traits.detection + ROOM)
        assert told(take(watch, 1)) == [("joined", "only-old")]
        called.clear()
        both.switch("new")
        assert called.is_set()
        assert told(take(watch, 2)) == [("resynced", None), ("left", "only-old")]
        called.clear()
        after.join("compute", "only-new")
        assert called.wait(both.traits.detection + ROOM)
        assert told(take(watch, 1)) == [("joined", "only-new")]


def test_a_join_that_one_side_refuses_is_left_on_the_other(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as both, old() as before, new() as after:
        other = after.join("compute", "host-1")
        with pytest.raises(NameTaken):
            both.join("compute", "host-1")
        assert before.member("compute", "host-1") is None
        other.leave()
        assert both.join("compute", "host-1").is_member


def test_all_obey_one_setting(old: Connect, new: Connect) -> None:
    with Both(old(), new()) as first, Both(old(), new()) as second, old() as operator:
        for both in (first, second):
            both.obey(Setting(both, "migration/read", "old"))
        with pytest.raises(InvalidValue):
            first.obey(Setting(first, "migration/read", "old"))
        setting = Setting(operator, "migration/read", "old")
        for side in ("new", "old"):
            setting.put(side)
            eventually(partial(_read, (first, second), side))
        setting.put("sideways")
        setting.put("new")
        eventually(partial(_read, (first, second), "new"))


def _read(connections: tuple[Both, Both], side: str) -> bool:
    return all(both.read == side for both in connections)


def test_cells_stay_on_their_side(old: Connect, new: Connect) -> None:
    with Both(old(), new(), cells="new") as both, old() as before, new() as after:
        both.cell("seat").compare_and_set(b"me", 0)
        both.switch("new")
        assert both.cell("seat").get().value == b"me"
        assert after.cell("seat").get().value == b"me"
        assert before.cell("seat").get().version == 0


def test_a_side_that_is_down_can_neither_be_joined_nor_switched_to(
    old: Connect, mortal_zookeeper: Deployment
) -> None:
    config = ZooKeeperConfig(session_timeout=2.0, connect_timeout=1.0)
    with (
        Both(old(), connect(mortal_zookeeper.url, config)) as both,
        both.watch("compute") as watch,
    ):
        me = both.join("compute", "host-1")
        take(watch, 1)
        with frozen(mortal_zookeeper):
            with pytest.raises(Disconnected):
                both.join("compute", "host-2")
            with pytest.raises(Disconnected):
                both.switch("new")
            assert both.read == "old"
            assert me.is_member
            assert list(both.members("compute").members) == ["host-1"]
            seen = [(told([event])[0]) for event in iter(lambda: watch.next(0.1), None)]
            assert seen == [("joined", "host-2"), ("left", "host-2")]
        eventually(lambda: not both.compare("compute"), 2 * config.session_timeout)
        both.switch("new")
        assert list(both.members("compute").members) == ["host-1"]
