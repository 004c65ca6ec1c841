"""Eight failures of the peers, each as a scenario that ours passes on real servers.

A peer's failure is a strict xfail of the very same scenario: once it is mended there, the test
fails here and says so.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import tooz
from kazoo.client import KazooClient
from tooz import coordination

from bench.engines.live.provision import Deployment
from membership import SqlConfig, connect
from tests.live.sessions import frozen
from tests.peers.adapters import (
    GROUP,
    SESSION,
    Client,
    Elector,
    Kazoo,
    Ours,
    Tooz,
    Watcher,
    servers,
)

pytestmark = [
    # oslo and tooz warn of their own dependencies
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    # a client whose session was taken from it leaves its socket to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

C = TypeVar("C", bound=Client)
New = Callable[[type[C], str], C]

PATIENCE = 3 * SESSION
"""For what happens only once: a peer that will never do it is given up after this."""
ROOM = 20.0
"""What a busy machine may add for ours; a wait that succeeds ends at once."""


def fails(peer: type[Client], why: str, raises: type[BaseException] = AssertionError) -> Any:
    """The peer fails this scenario, in this very way."""
    return pytest.param(peer, marks=pytest.mark.xfail(strict=True, raises=raises, reason=why))


@pytest.fixture
def new(url: str) -> Iterator[Callable[[type[Client], str], Client]]:
    """Makes clients, and closes them all at the end."""
    made: list[Client] = []

    def make(kind: type[Client], name: str) -> Client:
        client = kind(url, name)  # type: ignore[call-arg]  # the abstract class takes nothing
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
    made.clear()
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # what the peers left open is theirs: here, and not in somebody else's test


def until(holds: Callable[[], bool], *clients: Client) -> bool:
    """Whether it comes to hold while the clients are tended as their applications would."""
    patience = PATIENCE + (ROOM if any(isinstance(client, Ours) for client in clients) else 0.0)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for client in clients:
            client.tend()
        if holds():
            return True
        time.sleep(0.02)
    return False


# --- 1: a member whose session expired


@pytest.mark.parametrize(
    "kind",
    [
        Ours,
        fails(Tooz, "tooz: after its session expired the member is gone for good"),
        fails(Kazoo, "kazoo's Party: after its session expired the member is gone for good"),
    ],
)
def test_a_member_whose_session_expired_comes_back(kind: type[Client], new: New[Client]) -> None:
    me, observer = new(kind, "me"), new(kind, "observer")
    me.join()
    assert observer.members() == {"me"}
    me.expire()
    assert until(lambda: me.says_member() and observer.members() == {"me"}, me)


@pytest.mark.parametrize(
    "kind",
    [
        Ours,
        fails(
            Tooz,
            "tooz: after its session expired the member can't leave",
            coordination.MemberNotJoined,
        ),
        Kazoo,
    ],
)
def test_a_member_whose_session_expired_can_leave(kind: type[Client], new: New[Client]) -> None:
    me = new(kind, "me")
    me.join()
    me.expire()
    until(lambda: me.kazoo.connected, me)
    me.leave()
    assert me.members() == set()


# --- 2 and 3: elections


@pytest.mark.parametrize(
    "kind",
    [
        Ours,
        fails(Tooz, "tooz: the leader whose session expired goes on leading beside the next one"),
        fails(Kazoo, "kazoo's Lock: is_acquired stays true after the session expired"),
    ],
)
def test_there_is_one_leader_after_the_first_ones_session_expired(
    kind: type[Elector], new: New[Elector]
) -> None:
    one, other = new(kind, "one"), new(kind, "other")
    for each in (one, other):
        each.join()
    one.campaign()
    assert until(one.leads, one)
    other.campaign()
    both = False

    def succeeded() -> bool:
        nonlocal both
        both = both or (one.leads() and other.leads())
        return other.leads()

    one.expire()
    one_again = until(succeeded, other) or one.leads()  # ours may be elected once more
    assert one_again
    assert not both


@pytest.mark.parametrize(
    "kind",
    [Ours, fails(Tooz, "tooz: an election leaves a member called 'leader'"), Kazoo],
)
def test_an_election_leaves_the_members_as_they_are(kind: type[Elector], new: New[Elector]) -> None:
    me = new(kind, "me")
    me.join()
    me.campaign()
    assert until(me.leads, me)
    assert me.members() == {"me"}


# --- 4: what a member believes of itself


@pytest.mark.parametrize(
    "kind",
    [
        Ours,
        fails(Tooz, "tooz: the client of a member that is gone looks healthy"),
        fails(Kazoo, "kazoo's Party: participating stays true while the member is absent"),
    ],
)
def test_a_member_that_is_absent_does_not_go_on_taking_itself_for_one(
    kind: type[Client], new: New[Client]
) -> None:
    me, observer = new(kind, "me"), new(kind, "observer")
    me.join()
    me.expire()
    assert until(lambda: me.says_member() == ("me" in observer.members()), me)


@pytest.mark.parametrize(
    "kind",
    [
        Ours,
        fails(
            Kazoo, "kazoo's Party: the node of one's own dead session counts as a successful join"
        ),
    ],
)
def test_a_join_stands_once_the_dead_ones_remains_are_gone(
    kind: type[Client], new: New[Client], url: str
) -> None:
    """A member crashes and is started again under its name before its session is over."""
    before = kind(url, "me")  # type: ignore[call-arg]  # the abstract class takes nothing
    before.join()
    before.crash()
    again = new(kind, "me")
    again.join()
    time.sleep(1.5 * SESSION)  # by now the old session is over, whatever was found of it
    assert again.says_member()
    assert again.members() == {"me"}


# --- 5: a server that stands still


@pytest.mark.parametrize(
    "kind",
    [
        Ours,
        fails(Kazoo, "kazoo: with the server frozen it says SUSPENDED, and never LOST"),
        fails(Tooz, "tooz: with the server frozen nothing is told at all"),
    ],
)
def test_a_client_of_a_frozen_server_learns_in_time_that_its_session_may_be_over(
    kind: type[Client], new: New[Client], quick_zookeeper: Deployment
) -> None:
    me = new(kind, "me")
    me.join()
    assert not me.says_lost()
    with frozen(quick_zookeeper):
        end = time.monotonic() + PATIENCE  # three times what the session would have lasted
        while not (told := me.says_lost()) and time.monotonic() < end:
            time.sleep(0.02)
    until(lambda: me.kazoo.connected, me)
    assert told


# --- 6: a parent that is deleted and made again


@pytest.mark.parametrize(
    "kind",
    [Ours, fails(Kazoo, "kazoo's ChildrenWatch dies with the node that it watches"), Tooz],
)
def test_a_watch_survives_its_group_being_deleted_and_made_again(
    kind: type[Watcher], new: New[Watcher], url: str
) -> None:
    first, second, observer = new(kind, "first"), new(kind, "second"), new(kind, "observer")
    first.join()
    observer.watch()
    assert until(lambda: observer.seen() == {"first"}, observer)
    first.leave()
    assert until(lambda: observer.seen() == set(), observer)
    somebody = KazooClient(servers(url))
    somebody.start()
    somebody.delete(observer.path, recursive=True)
    somebody.stop()
    somebody.close()
    time.sleep(0.2)
    second.join()
    assert until(lambda: observer.seen() == {"second"}, observer)


# --- 7: the herd

HERD_WATCHERS = 20
HERD_MEMBERS = 400
HERD_JOINS = 20
BYTES_A_CHANGE = 250
"""A handful of packet headers, a path and a small value; not a list of members."""


@pytest.mark.parametrize(
    "kind",
    [Ours, fails(Kazoo, "kazoo's ChildrenWatch reads the whole list again for each change")],
)
def test_a_join_costs_each_watcher_a_small_event_not_the_list(
    kind: type[Watcher], new: New[Watcher], url: str
) -> None:
    with connect(url) as ours:  # any client's group is the children of a path
        watchers = [new(kind, f"watcher-{number}") for number in range(HERD_WATCHERS)]
        crowd = KazooClient(servers(url))
        crowd.start()
        try:
            path = watchers[0].path
            crowd.ensure_path(path)
            made = [
                crowd.create_async(f"{path}/member-{n:04}", b"{}", ephemeral=True)
                for n in range(HERD_MEMBERS)
            ]
            for each in made:
                each.get(timeout=30)
            for watcher in watchers:
                watcher.watch()
            assert until(
                lambda: all(len(watcher.seen()) == HERD_MEMBERS for watcher in watchers), *watchers
            )
            before = [watcher.received() for watcher in watchers]
            for n in range(HERD_JOINS):
                crowd.create(f"{path}/late-{n:04}", b"{}", ephemeral=True)
                time.sleep(0.05)
            everybody = HERD_MEMBERS + HERD_JOINS
            assert until(
                lambda: all(len(watcher.seen()) == everybody for watcher in watchers), *watchers
            )
            cost = [
                (watcher.received() - start) / HERD_JOINS
                for watcher, start in zip(watchers, before, strict=True)
            ]
        finally:
            crowd.stop()
            crowd.close()
        assert ours.members("another").members == {}
        assert max(cost) <= BYTES_A_CHANGE


# --- 8: what happens between two looks, and what a database is good for


@pytest.mark.parametrize(
    "kind",
    [Ours, fails(Tooz, "tooz compares two lists: a leave and a join in between are invisible")],
)
def test_a_leave_and_a_join_between_two_looks_are_told(
    kind: type[Watcher], new: New[Watcher]
) -> None:
    me, observer = new(kind, "me"), new(kind, "observer")
    me.join()
    observer.watch()
    assert until(lambda: observer.news() == [("joined", "me")], observer)
    me.leave()
    me.join()
    expected = [("joined", "me"), ("left", "me"), ("joined", "me")]
    assert until(lambda: observer.news() == expected, observer)


def _ours_on_sql(url: str) -> set[str]:
    with connect(url, SqlConfig(interval=0.5, timeout=5.0, poll=0.2)) as membership:
        membership.join(GROUP, "me")
        return set(membership.members(GROUP).members)


def _tooz_on_sql(url: str) -> set[str]:
    coordinator = coordination.get_coordinator(url.replace("+psycopg", ""), b"me")
    coordinator.start()
    try:
        coordinator.join_group_create(GROUP.encode())
        return {name.decode() for name in coordinator.get_members(GROUP.encode()).get()}
    finally:
        coordinator.stop()


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(_ours_on_sql, id="Ours"),
        pytest.param(
            _tooz_on_sql,
            id="Tooz",
            marks=pytest.mark.xfail(
                strict=True,
                raises=tooz.NotImplemented,
                reason="tooz's SQL drivers have locks and no groups",
            ),
        ),
    ],
)
def test_a_database_holds_groups(members: Callable[[str], set[str]], postgres_url: str) -> None:
    assert members(postgres_url) == {"me"}
