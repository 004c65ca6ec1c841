"""What the ZooKeeper backend does when servers stand still, die and come back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from bench.engines.live.provision import Deployment
from membership import Cell, Disconnected, Fence, Freshness, Registration, ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse
from membership.testing import eventually, take, told
from tests.live.sessions import SESSION, Diary, cut, frozen, join_url
from tests.threads import none_left

GROUP = "compute"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    with none_left():
        yield


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
        assert told(take(watch, 1, 2 * SESSION)) == [("resynced", None)]


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
    server = mortal_zookeeper.control(mortal_zookeeper.servers[0].name)
    with join_url(url) as ours, join_url(url) as theirs, theirs.watch(GROUP) as watch:
        registrations = [ours.join(GROUP, f"host-{number}") for number in range(5)]
        cell = ours.cell("c")
        cell.compare_and_set(b"kept", 0)
        take(watch, 5)
        server.kill()
        eventually(lambda: watch.view.freshness is not Freshness.FRESH, SESSION)
        assert len(watch.view) == 5
        server.start()
        eventually(lambda: watch.view.freshness is Freshness.FRESH, 20)
        eventually(lambda: all(me.is_member for me in registrations), 2 * SESSION)
        truth = {me.name: me.token for me in registrations}
        eventually(
            lambda: {member.name: member.token for member in watch.view} == truth, 2 * SESSION
        )
        assert cell.compare_and_set(b"more", 1, Fence("c", 1)).version == 2


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
        assert told(take(watch, 1, 30)) == [("resynced", None)]
        eventually(lambda: watch.view.freshness is Freshness.FRESH)
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
