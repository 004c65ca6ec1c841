"""What the ZooKeeper backend does when sessions, servers, connections and nodes go away."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from membership import (
    Closed,
    EventKind,
    Freshness,
    MemberEvent,
    Registration,
    Watch,
)
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.connection import AddWatch
from membership.backends.zookeeper.paths import group_path, member_path, parse
from membership.testing import eventually, quiet, take, told
from tests.live.sessions import CONFIG, SESSION, Diary, cut, expire, join_url, outsider
from tests.threads import none_left

GROUP = "compute"

modes = pytest.mark.parametrize("recent", [True, False], ids=["persistent", "child-watches"])


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    with none_left():
        yield


def until(watch: Watch, holds: Callable[[list[MemberEvent]], bool]) -> list[MemberEvent]:
    """The events up to the one with which the condition holds."""
    events: list[MemberEvent] = []
    while not holds(events):
        events += take(watch, 1, 2 * SESSION)
    return events


@modes
def test_an_expired_session_is_told_and_joined_again(zookeeper_url: str, recent: bool) -> None:
    diary = Diary()
    with (
        join_url(zookeeper_url, recent=recent) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
    ):
        me = ours.join(
            GROUP, "me", metadata={"n": 1}, on_lost=diary.lost, on_rejoined=diary.rejoined
        )
        first = me.token
        take(watch, 1)
        expire(zookeeper_url, ours)
        assert diary.next() == ("lost", first)
        what, second = diary.next()
        assert what == "rejoined"
        assert second == me.token > first
        events = take(watch, 2)
        assert told(events) == [("left", "me"), ("joined", "me")]
        assert [event.member.token for event in events if event.member] == [first, second]
        assert theirs.members(GROUP).members["me"].metadata == {"n": 1}
        assert me.is_member
        quiet(watch, 0.2)


@modes
def test_an_expired_observer_catches_up_and_says_that_there_was_a_gap(
    zookeeper_url: str, recent: bool
) -> None:
    with (
        join_url(zookeeper_url) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
    ):
        ours.join(GROUP, "stays")
        goes = ours.join(GROUP, "goes")
        take(watch, 2)
        expire(zookeeper_url, theirs)
        goes.leave()
        ours.join(GROUP, "comes")
        events = until(watch, lambda events: ("joined", "comes") in told(events))
        assert EventKind.RESYNCED in [event.kind for event in events]
        changes = [change for change in told(events) if change[0] != "resynced"]
        assert changes == [("left", "goes"), ("joined", "comes")]
        assert watch.view.freshness is Freshness.FRESH


def test_a_broken_connection_costs_no_life(zookeeper_url: str) -> None:
    diary = Diary()
    with join_url(zookeeper_url) as ours, ours.watch(GROUP) as watch:
        me = ours.join(GROUP, "me", on_lost=diary.lost)
        token = me.token
        take(watch, 1)
        for _ in range(3):
            cut(ours)
            assert told(take(watch, 1)) == [("resynced", None)]
        ours.join(GROUP, "another")
        assert told(take(watch, 1)) == [("joined", "another")]
        assert me.is_member
        assert me.token == token
        assert diary.entries.empty()


@modes
def test_a_node_that_somebody_deleted_is_joined_again(zookeeper_url: str, recent: bool) -> None:
    diary = Diary()
    with (
        join_url(zookeeper_url, recent=recent) as ours,
        ours.watch(GROUP) as watch,
        outsider(zookeeper_url) as somebody,
    ):
        me = ours.join(
            GROUP, "me", metadata={"n": 1}, on_lost=diary.lost, on_rejoined=diary.rejoined
        )
        assert told(take(watch, 1)) == [("joined", "me")]
        me.update({"n": 2})
        first = me.token
        assert told(take(watch, 1)) == [("updated", "me")]
        somebody.delete(member_path(ours.namespace, GROUP, "me"))
        assert diary.next() == ("lost", first)
        assert diary.next() == ("rejoined", me.token)
        assert me.token > first
        assert told(take(watch, 2)) == [("left", "me"), ("joined", "me")]
        assert watch.view.members["me"].metadata == {"n": 2}


@modes
def test_a_group_deleted_and_made_again_is_still_watched(zookeeper_url: str, recent: bool) -> None:
    with (
        join_url(zookeeper_url) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
        outsider(zookeeper_url) as somebody,
    ):
        for life in range(3):
            me = ours.join(GROUP, f"life-{life}")
            assert told(take(watch, 1)) == [("joined", f"life-{life}")]
            me.leave()
            assert told(take(watch, 1)) == [("left", f"life-{life}")]
            somebody.delete(group_path(ours.namespace, GROUP))
        me = ours.join(GROUP, "me")
        take(watch, 1)
        both = somebody.transaction()  # or it would be back before its parent could go
        both.delete(member_path(ours.namespace, GROUP, "me"))
        both.delete(group_path(ours.namespace, GROUP))
        both.commit()
        assert told(take(watch, 2)) == [("left", "me"), ("joined", "me")]
        eventually(lambda: me.is_member)


def test_a_server_that_knows_no_persistent_watches_is_found_out(
    zookeeper_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AddWatch, "type", 999)  # no server knows this one
    with join_url(zookeeper_url) as ours, ours.watch(GROUP) as watch:
        assert not ours.client.recent
        me = ours.join(GROUP, "me")
        me.leave()
        ours.join(GROUP, "another")
        eventually(lambda: list(watch.view.members) == ["another"])


@modes
def test_many_quick_changes_end_in_the_truth(zookeeper_url: str, recent: bool) -> None:
    with (
        join_url(zookeeper_url) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
    ):

        def churn(number: int) -> None:
            for life in range(10):
                me = ours.join(GROUP, f"host-{number}", metadata={"life": life})
                me.update({"life": life, "more": True})
                if life < 9:
                    me.leave()

        threads = [threading.Thread(target=churn, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        truth = dict(ours.members(GROUP).members)
        assert len(truth) == 8
        eventually(lambda: dict(watch.view.members) == truth, why=lambda: watch.view)
        seen: dict[str, int] = {}
        while event := watch.next(0.2):
            assert event.member is not None
            name, token = event.member.name, event.member.token
            if event.kind is EventKind.JOINED:
                assert name not in seen
                seen[name] = token
            else:
                assert seen[name] == token
                if event.kind is EventKind.LEFT:
                    del seen[name]
        assert seen == {name: member.token for name, member in truth.items()}


def test_callbacks_may_call_anything(zookeeper_url: str) -> None:
    done = threading.Event()
    with join_url(zookeeper_url) as theirs:
        ours = join_url(zookeeper_url)

        def rejoined(registration: Registration) -> None:
            registration.update({"again": True})
            with ours.watch(GROUP) as watch:
                assert watch.view.members["me"].metadata == {"again": True}
            assert theirs.member(GROUP, "me") is not None
            ours.close()
            done.set()

        ours.join(GROUP, "me", on_rejoined=rejoined)
        expire(zookeeper_url, ours)
        assert done.wait(30)
        assert theirs.member(GROUP, "me") is None


def test_a_callback_that_fails_does_no_harm(zookeeper_url: str) -> None:
    diary = Diary()

    def fail(registration: Registration) -> None:
        raise RuntimeError("on purpose")

    with join_url(zookeeper_url) as ours:
        me = ours.join(GROUP, "me", on_lost=fail, on_rejoined=diary.rejoined)
        first = me.token
        expire(zookeeper_url, ours)
        what, token = diary.next()
        assert what == "rejoined"
        assert token > first


def test_a_forked_process_is_told_to_connect_itself(zookeeper_url: str) -> None:
    with join_url(zookeeper_url) as ours:
        me = ours.join(GROUP, "me")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                ours.members(GROUP)
            except Closed:
                ours.close()
                code = 2 if me.is_member else 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert me.is_member
        assert list(ours.members(GROUP).members) == ["me"]


def test_renewals_are_metered(zookeeper_url: str) -> None:
    measured: dict[str, list[float]] = {}

    def meter(name: str, value: float) -> None:
        measured.setdefault(name, []).append(value)

    with ZooKeeperMembership(parse(zookeeper_url), CONFIG, meter):
        eventually(lambda: len(measured.get("renewal_late_seconds", ())) >= 2, SESSION)
    assert all(0 <= value < SESSION for values in measured.values() for value in values)
    assert set(measured) == {"renewal_seconds", "renewal_late_seconds"}
