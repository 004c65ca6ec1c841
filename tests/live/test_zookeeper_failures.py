"""What the ZooKeeper backend does when sessions, servers, connections and nodes go away."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from bench.engines.live.provision import Deployment
from membership import (
    Cell,
    Closed,
    Disconnected,
    EventKind,
    Fence,
    Freshness,
    MemberEvent,
    Registration,
    Watch,
    ZooKeeperConfig,
)
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.connection import AddWatch
from membership.backends.zookeeper.paths import group_path, member_path, parse
from membership.testing import eventually, quiet, take, told
from tests.live.sessions import cut, expire, frozen, outsider

SESSION = 3.0
CONFIG = ZooKeeperConfig(session_timeout=SESSION, connect_timeout=10.0)
GROUP = "compute"

modes = pytest.mark.parametrize("recent", [True, False], ids=["persistent", "child-watches"])


def join_url(url: str, *, recent: bool = True) -> ZooKeeperMembership:
    return ZooKeeperMembership(parse(url), CONFIG, lambda _name, _value: None, recent=recent)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    eventually(lambda: not set(threading.enumerate()) - before, why=threading.enumerate)


class Diary:
    """The callbacks of a registration, in order."""

    def __init__(self) -> None:
        self.entries: queue.Queue[tuple[str, int]] = queue.Queue()

    def lost(self, registration: Registration) -> None:
        self.entries.put(("lost", registration.token))

    def rejoined(self, registration: Registration) -> None:
        self.entries.put(("rejoined", registration.token))

    def next(self) -> tuple[str, int]:
        return self.entries.get(timeout=30)


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


def test_while_the_server_is_frozen_nobody_dies_and_nobody_is_believed(
    mortal_zookeeper: Deployment,
) -> None:
    url = mortal_zookeeper.url
    diary = Diary()
    with join_url(url) as ours, join_url(url) as theirs, theirs.watch(GROUP) as watch:
        me = ours.join(GROUP, "me", on_lost=diary.lost, on_rejoined=diary.rejoined)
        take(watch, 1)
        first = me.token
        assert watch.view.freshness is Freshness.FRESH
        with frozen(mortal_zookeeper):
            deadline = ours.client.lease.deadline
            eventually(lambda: watch.view.freshness is Freshness.STALE, SESSION)
            assert list(watch.view.members) == ["me"]
            eventually(lambda: watch.view.freshness is Freshness.DISCONNECTED, SESSION)
            assert list(watch.view.members) == ["me"]
            assert watch.view.age > SESSION / 2
            time.sleep(max(0.0, ours.client.lease.deadline - time.monotonic()))
            assert ours.client.lease.deadline <= deadline + SESSION
            assert not me.is_member
            assert diary.entries.empty(), "a loss is told when it is learnt, not when it is feared"
        eventually(lambda: me.is_member, 2 * SESSION)
        eventually(lambda: watch.view.freshness is Freshness.FRESH, 2 * SESSION)
        eventually(lambda: [each.token for each in watch.view] == [me.token], 2 * SESSION)
        if me.token != first:  # the server may find the session expired when it wakes, or not
            assert diary.next() == ("lost", first)
            assert diary.next() == ("rejoined", me.token)
        changes = [kind for kind, name in told(until(watch, bool))]
        assert changes[0] == "resynced"


def test_a_frozen_server_is_noticed_under_constant_requests_too(
    mortal_zookeeper: Deployment,
) -> None:
    with join_url(mortal_zookeeper.url) as ours, ours.watch(GROUP) as watch:
        cell = ours.cell("c")
        asking = [threading.Thread(target=ask, args=(cell,)) for _ in range(100)]
        with frozen(mortal_zookeeper):
            for thread in asking:
                thread.start()
                time.sleep(SESSION / 50)
                if watch.view.freshness is not Freshness.FRESH:
                    break
            else:
                pytest.fail(
                    f"{2 * SESSION:.0f} s without an answer, and the view calls itself fresh"
                )
        eventually(lambda: watch.view.freshness is Freshness.FRESH, 2 * SESSION)
        for thread in asking:
            if thread.ident is not None:
                thread.join()


def ask(cell: Cell) -> None:
    with suppress(Disconnected):
        cell.get()


def test_what_could_not_be_told_in_time_is_made_up_for(mortal_zookeeper: Deployment) -> None:
    """A leave and an update that the servers didn't hear take effect once they can."""
    url = mortal_zookeeper.url
    config = ZooKeeperConfig(session_timeout=10.0, connect_timeout=0.5)
    with (
        ZooKeeperMembership(parse(url), ZooKeeperConfig(10.0), lambda *_: None) as theirs,
        ZooKeeperMembership(parse(url), config, lambda *_: None) as ours,
    ):
        ours._limit = 1.0  # sooner than a cut connection is noticed, so that the session lives on
        goes = ours.join(GROUP, "goes")
        stays = ours.join(GROUP, "stays", metadata={"n": 1})
        token = stays.token
        with frozen(mortal_zookeeper):
            with pytest.raises(Disconnected):
                goes.leave()
            assert not goes.is_member
            with pytest.raises(Disconnected):
                stays.update({"n": 2})
            assert stays.metadata == {"n": 2}
            cut(ours)
        eventually(lambda: list(theirs.members(GROUP).members) == ["stays"], 10)
        eventually(lambda: theirs.members(GROUP).members["stays"].metadata == {"n": 2}, 10)
        assert stays.token == token
        assert ours.join(GROUP, "goes").token > goes.token


def test_a_join_whose_answer_was_lost_is_one_life(mortal_zookeeper: Deployment) -> None:
    with (
        join_url(mortal_zookeeper.url) as ours,
        join_url(mortal_zookeeper.url) as theirs,
        theirs.watch(GROUP) as watch,
    ):
        ours.join(GROUP, "before")
        take(watch, 1)
        joined: list[Registration] = []
        joining = threading.Thread(target=lambda: joined.append(ours.join(GROUP, "me")))
        with frozen(mortal_zookeeper):
            joining.start()
            eventually(lambda: len(ours.client._connection._unanswered) > 0)
            cut(ours)
        joining.join(30)
        assert len(joined) == 1
        eventually(lambda: "me" in watch.view)
        assert watch.view.members["me"].token == joined[0].token
        assert joined[0].is_member


def test_a_server_killed_and_started_again_loses_nobody_for_good(
    mortal_zookeeper: Deployment,
) -> None:
    url = mortal_zookeeper.url
    (server,) = mortal_zookeeper.servers
    process = psutil.Process(server.pids[0])
    command, folder = process.cmdline(), process.cwd()
    with join_url(url) as ours, join_url(url) as theirs, theirs.watch(GROUP) as watch:
        registrations = [ours.join(GROUP, f"host-{number}") for number in range(5)]
        cell = ours.cell("c")
        cell.compare_and_set(b"kept", 0)
        take(watch, 5)
        process.kill()
        process.wait()
        eventually(lambda: watch.view.freshness is not Freshness.FRESH, SESSION)
        assert len(watch.view) == 5
        again = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: watch.view.freshness is Freshness.FRESH, 20)
            eventually(lambda: all(me.is_member for me in registrations), 2 * SESSION)
            truth = {me.name: me.token for me in registrations}
            eventually(
                lambda: {member.name: member.token for member in watch.view} == truth, 2 * SESSION
            )
            assert cell.compare_and_set(b"more", 1, Fence("c", 1)).version == 2
        finally:
            ours.close()
            theirs.close()
            again.kill()
            again.wait()


def test_the_death_of_the_server_that_one_is_connected_to_costs_no_life(
    mortal_ensemble: Deployment,
) -> None:
    config = ZooKeeperConfig(session_timeout=10.0)
    ours, theirs = (
        ZooKeeperMembership(parse(mortal_ensemble.url), config, lambda *_: None) for _ in range(2)
    )
    with ours, theirs, theirs.watch(GROUP) as watch:
        registrations = [ours.join(GROUP, f"host-{number}") for number in range(5)]
        tokens = {me.name: me.token for me in registrations}
        take(watch, 5)
        port = theirs.client._connection._socket.getpeername()[1]
        (pid,) = next(server.pids for server in mortal_ensemble.servers if server.port == port)
        psutil.Process(pid).kill()
        eventually(lambda: watch.view.freshness is not Freshness.FRESH, 10)
        eventually(lambda: watch.view.freshness is Freshness.FRESH, 20)
        assert told(take(watch, 1)) == [("resynced", None)]
        eventually(lambda: all(me.is_member for me in registrations), 10)
        ours.join(GROUP, "later")
        assert told(take(watch, 1, 10)) == [("joined", "later")]
        assert {me.name: me.token for me in registrations} == tokens


def test_close_is_bounded_when_the_server_is_frozen(mortal_zookeeper: Deployment) -> None:
    ours = join_url(mortal_zookeeper.url)
    me = ours.join(GROUP, "me")
    watch = ours.watch(GROUP)
    with frozen(mortal_zookeeper):
        closing = threading.Thread(target=ours.close)
        closing.start()
        closing.join(SESSION + 20)
        assert not closing.is_alive()
    assert not me.is_member
    assert watch.view.freshness is Freshness.DISCONNECTED


def test_no_server_is_disconnected_within_the_connect_timeout() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: refused
        port = nobody.getsockname()[1]
        with pytest.raises(Disconnected, match=f"127.0.0.1:{port}"):
            ZooKeeperMembership(
                parse(f"zookeeper://127.0.0.1:{port}/n"),
                ZooKeeperConfig(connect_timeout=0.5),
                lambda *_: None,
            )


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
