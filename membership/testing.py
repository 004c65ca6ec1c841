"""The contract, checked: every promise that `membership.api` makes, on any backend.

An outside backend runs them too. With pytest:

    @pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
    def test_contract(check, subject):
        run(check, subject)

Each check ends with proof that nothing leaked: no thread here, no session at the servers. Waits
are bounded by what the backend itself declares in its traits, with room for a busy machine.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from membership.api import Absent, Fence, Membership, Watch
from membership.errors import Closed, Conflict, InvalidValue, NameTaken, NotAMember
from membership.model import CellState, EventKind, Freshness, Json, Member, MemberEvent

T = TypeVar("T")

ROOM = 20.0
"""Seconds that a busy machine may add to any wait; a wait that succeeds ends at once."""


class Subject(Protocol):
    """What a backend's author supplies: fresh servers, or a fresh namespace on them."""

    def connect(self) -> Membership:
        """Another connection to the same servers and namespace."""

    def crash(self, membership: Membership) -> None:
        """End that connection as SIGKILL would: nothing said to the servers, nothing left here."""

    def sessions(self) -> int:
        """How many sessions or connections the servers hold from `connect` now."""


Check = Callable[[Subject], None]
_checks: list[tuple[str | None, Check]] = []


def _promise(name: str | None = None) -> Callable[[Check], Check]:
    """Register a check; ``name`` is the promise that a backend's traits may exempt it from."""

    def register(check: Check) -> Check:
        _checks.append((name, check))
        return check

    return register


def checks(exempt: frozenset[str] = frozenset()) -> list[Check]:
    """The checks that a backend with these exemptions has to pass."""
    unknown = exempt - {name for name, _ in _checks}
    if unknown:
        raise InvalidValue(f"no promise is called {', '.join(sorted(unknown))}")
    return [check for name, check in _checks if name not in exempt]


def run(check: Check, subject: Subject) -> None:
    """Run one check, then show that it left no thread and no session behind."""
    threads, sessions = set(threading.enumerate()), subject.sessions()
    check(subject)

    def left() -> str:
        stray = [thread.name for thread in threading.enumerate() if thread not in threads]
        more = subject.sessions() - sessions
        return f"threads {stray}, {more} sessions" if stray or more > 0 else ""

    eventually(lambda: not left(), why=lambda: f"left behind: {left()}")


def eventually(
    holds: Callable[[], T], within: float = 0.0, why: Callable[[], object] = lambda: ""
) -> T:
    """The first true value of ``holds`` within that many seconds (and the room of a busy machine).

    Raises: AssertionError.
    """
    end = time.monotonic() + within + ROOM
    while not (value := holds()):
        assert time.monotonic() < end, f"still not so after {within + ROOM:.0f} s: {why()}"
        time.sleep(0.01)
    return value


def take(watch: Watch, count: int, within: float = 0.0) -> list[MemberEvent]:
    """The next ``count`` events."""
    events: list[MemberEvent] = []
    end = time.monotonic() + within + ROOM
    while len(events) < count:
        event = watch.next(max(0.0, end - time.monotonic()))
        assert event is not None, f"{len(events)} of {count} events came: {told(events)}"
        events.append(event)
    return events


def told(events: list[MemberEvent]) -> list[tuple[str, str | None]]:
    """Kind and member's name of each event."""
    return [(event.kind.value, event.member.name if event.member else None) for event in events]


def quiet(watch: Watch, seconds: float) -> None:
    """Nothing more comes. Raises: AssertionError."""
    event = watch.next(seconds)
    assert event is None, f"unexpected: {event}"


def _member(event: MemberEvent) -> Member:
    assert event.member is not None
    return event.member


# --- joining, leaving, reading


@_promise()
def a_member_is_visible_to_all_once_join_returns(subject: Subject) -> None:
    metadata: dict[str, Json] = {"zone": "az1", "weight": 3, "tags": ["a", "ü"], "none": None}
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1", metadata=metadata)
        for reader in (ours, theirs):
            view = reader.members("compute")
            assert list(view.members) == ["host-1"]
            assert view.freshness is Freshness.FRESH
            assert reader.member("compute", "host-1") == view.members["host-1"]
            assert view.members["host-1"].metadata == metadata
            assert view.members["host-1"].token == me.token
        assert me.is_member
        assert (me.group, me.name, me.metadata) == ("compute", "host-1", metadata)


@_promise()
def what_is_not_there_is_empty_not_an_error(subject: Subject) -> None:
    with subject.connect() as membership:
        assert len(membership.members("nobody-joined")) == 0
        assert membership.member("nobody-joined", "x") is None
        assert membership.groups() == ()
        with membership.watch("nobody-joined") as watch:
            assert len(watch.view) == 0
            assert watch.next(0.0) is None


@_promise()
def leaving_is_at_once_and_only_once(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1")
        me.leave()
        assert theirs.member("compute", "host-1") is None
        assert not me.is_member
        me.leave()
        try:
            me.update({"a": 1})
        except NotAMember:
            pass
        else:
            raise AssertionError("a member that left could update its metadata")


@_promise()
def groups_are_apart_on_one_connection(subject: Subject) -> None:
    with subject.connect() as membership:
        membership.join("compute", "host-1", metadata={"of": "compute"})
        membership.join("network", "host-1", metadata={"of": "network"})
        gone = membership.join("storage", "host-1")
        assert membership.groups() == ("compute", "network", "storage")
        gone.leave()
        assert membership.groups() == ("compute", "network")
        for group in ("compute", "network"):
            member = membership.member(group, "host-1")
            assert member is not None
            assert member.metadata == {"of": group}
            assert member.group == group


@_promise()
def any_printable_name_is_kept_as_it_is(subject: Subject) -> None:
    names = ["a/b", "..", ".", "a%2Fb", "ünï©ode ☃", "it's; --", "x" * 255, "%"]
    with subject.connect() as membership:
        for name in names:
            membership.join(name, name)
        for name in names:
            assert list(membership.members(name).members) == [name]
        assert membership.groups() == tuple(sorted(names))


@_promise()
def what_cannot_be_kept_is_refused_before_anything_happens(subject: Subject) -> None:
    with subject.connect() as membership:
        large: dict[str, Json] = {"x": "y" * membership.traits.metadata_bytes}
        bad: list[Callable[[], object]] = [
            lambda: membership.join("", "x"),
            lambda: membership.join("g", ""),
            lambda: membership.join("g", "a\nb"),
            lambda: membership.join("g", "é" * 128),
            lambda: membership.join("g", "x", metadata={"a": float("nan")}),
            lambda: membership.join("g", "x", metadata=large),
            lambda: membership.cell(""),
            lambda: membership.cell("c").compare_and_set(
                b"x" * (membership.traits.cell_bytes + 1), 0
            ),
        ]
        for attempt in bad:
            try:
                attempt()
            except InvalidValue:
                continue
            raise AssertionError("it was accepted")
        assert membership.groups() == ()


@_promise("name-refusal")
def a_name_that_a_live_other_holds_is_refused(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1", metadata={"who": "first"})
        for connection in (theirs, ours):
            try:
                connection.join("compute", "host-1", metadata={"who": "second"})
            except NameTaken:
                continue
            raise AssertionError("two live members hold one name")
        assert me.is_member
        member = theirs.member("compute", "host-1")
        assert member is not None
        assert (member.token, member.metadata) == (me.token, {"who": "first"})


@_promise()
def tokens_grow_with_every_join(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        tokens = []
        for connection, number in itertools.product((ours, theirs), range(5)):
            me = connection.join("compute", f"host-{number}")
            tokens.append(me.token)
            me.leave()
        assert tokens == sorted(set(tokens))


@_promise()
def joins_at_the_same_time_all_stand(subject: Subject) -> None:
    with subject.connect() as membership:
        joined: list[int] = []

        def join(number: int) -> None:
            joined.append(membership.join("compute", f"host-{number}").token)

        threads = [threading.Thread(target=join, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        view = membership.members("compute")
        assert len(view) == 16
        assert sorted(joined) == sorted({member.token for member in view})


# --- metadata


@_promise()
def an_update_is_one_event_of_the_same_life(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1", metadata={"n": 0})
        token = me.token
        with theirs.watch("compute") as watch:
            take(watch, 1)
            me.update({"n": 1})
            (event,) = take(watch, 1, theirs.traits.detection)
            assert (event.kind, _member(event).metadata) == (EventKind.UPDATED, {"n": 1})
            assert _member(event).token == me.token == token
            me.update({"n": 1})
            assert me.metadata == {"n": 1}
            quiet(watch, theirs.traits.staleness + 0.3)


# --- watching


@_promise()
def a_watch_tells_who_is_there_and_what_changes(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        ours.join("compute", "host-1")
        ours.join("elsewhere", "host-9")
        with theirs.watch("compute") as watch:
            assert list(watch.view.members) == ["host-1"]
            assert told(take(watch, 1)) == [("joined", "host-1")]
            second = ours.join("compute", "host-2", metadata={"a": 1})
            (event,) = take(watch, 1, theirs.traits.detection)
            assert told([event]) == [("joined", "host-2")]
            assert _member(event).metadata == {"a": 1}
            assert _member(event).token == second.token
            second.leave()
            (event,) = take(watch, 1, theirs.traits.detection)
            assert told([event]) == [("left", "host-2")]
            assert _member(event).token == second.token
            view = watch.view
            assert list(view.members) == ["host-1"]
            assert view.version == event.version
            assert view.freshness is Freshness.FRESH


@_promise()
def a_second_life_is_another_token(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs, theirs.watch("compute") as watch:
        first = ours.join("compute", "host-1")
        take(watch, 1, theirs.traits.detection)
        first.leave()
        second = ours.join("compute", "host-1")
        events = take(watch, 2, theirs.traits.detection)
        assert told(events) == [("left", "host-1"), ("joined", "host-1")]
        assert [_member(event).token for event in events] == [first.token, second.token]
        assert second.token > first.token


@_promise()
def watches_of_several_groups_share_a_connection(subject: Subject) -> None:
    with (
        subject.connect() as ours,
        subject.connect() as theirs,
        theirs.watch("a") as first,
        theirs.watch("b") as second,
        theirs.watch("a") as again,
    ):
        ours.join("a", "x")
        ours.join("b", "y")
        for watch, name in ((first, "x"), (second, "y"), (again, "x")):
            events = take(watch, 1, theirs.traits.detection)
            assert told(events) == [("joined", name)]
        first.close()
        ours.join("a", "z")
        assert told(take(again, 1, theirs.traits.detection)) == [("joined", "z")]


@_promise()
def a_slow_consumer_is_told_of_the_gap_and_the_net_difference(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        stays = ours.join("compute", "stays", metadata={"n": 0})
        with theirs.watch("compute", limit=4) as watch:
            take(watch, 1)
            joined = [ours.join("compute", f"host-{number}") for number in range(8)]
            eventually(lambda: len(watch.view) == 9, theirs.traits.detection)
            for me in joined[1:]:
                me.leave()
            stays.update({"n": 1})
            eventually(lambda: len(watch.view) == 2, theirs.traits.detection)
            eventually(
                lambda: watch.view.members["stays"].metadata == {"n": 1}, theirs.traits.detection
            )
            events = take(watch, 3)
            assert events[0].kind is EventKind.RESYNCED
            assert set(told(events[1:])) == {("joined", "host-0"), ("updated", "stays")}
            quiet(watch, 0.1)


@_promise()
def closing_a_watch_ends_its_iteration(subject: Subject) -> None:
    with subject.connect() as membership:
        membership.join("compute", "host-1")
        watch = membership.watch("compute")
        seen: list[MemberEvent] = []
        reader = threading.Thread(target=lambda: seen.extend(watch))
        reader.start()
        eventually(lambda: seen)
        watch.close()
        watch.close()
        reader.join(ROOM)
        assert not reader.is_alive()
        assert watch.view.freshness is Freshness.DISCONNECTED


# --- failure


@_promise()
def a_crashed_member_is_gone_within_the_stated_time(subject: Subject) -> None:
    with subject.connect() as observer:
        victim = subject.connect()
        stays = subject.connect()
        victim.join("compute", "victim")
        stays.join("compute", "stays")
        with observer.watch("compute") as watch:
            take(watch, 2, observer.traits.detection)
            subject.crash(victim)
            (event,) = take(watch, 1, observer.traits.detection)
            assert told([event]) == [("left", "victim")]
            assert list(watch.view.members) == ["stays"]
            eventually(
                lambda: list(observer.members("compute").members) == ["stays"],
                observer.traits.detection,
            )
        stays.close()


@_promise()
def a_name_that_a_dead_one_left_behind_is_waited_out(subject: Subject) -> None:
    victim = subject.connect()
    first = victim.join("compute", "host-1", metadata={"life": 1})
    token = first.token
    subject.crash(victim)
    with subject.connect() as again:
        second = again.join("compute", "host-1", metadata={"life": 2})
        assert second.token > token
        member = again.member("compute", "host-1")
        assert member is not None
        assert (member.token, member.metadata) == (second.token, {"life": 2})


@_promise()
def closing_a_connection_leaves_everywhere(subject: Subject) -> None:
    with subject.connect() as observer:
        membership = subject.connect()
        registrations = [membership.join("compute", f"host-{n}") for n in range(20)]
        watch = membership.watch("compute")
        cell_watch = membership.cell("c").watch()
        membership.close()
        membership.close()
        assert len(observer.members("compute")) == 0
        assert not any(me.is_member for me in registrations)
        assert watch.next() is None
        assert cell_watch.next() is None
        for call in (
            lambda: membership.join("compute", "x"),
            lambda: membership.members("compute"),
            lambda: membership.member("compute", "x"),
            lambda: membership.groups(),
            lambda: membership.watch("compute"),
            lambda: membership.cell("c").get(),
        ):
            try:
                call()
            except Closed:
                continue
            raise AssertionError("a closed connection answered")


# --- cells


@_promise()
def a_cell_counts_its_versions(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        cell, same = ours.cell("a/cell"), theirs.cell("a/cell")
        assert cell.get() == same.get() == CellState(b"", 0)
        assert cell.compare_and_set(b"one", 0) == CellState(b"one", 1)
        assert same.get() == CellState(b"one", 1)
        assert same.compare_and_set(b"", 1) == CellState(b"", 2)
        for version in (0, 1, 3):
            try:
                cell.compare_and_set(b"late", version)
            except Conflict:
                continue
            raise AssertionError(f"version {version} was taken for 2")
        assert cell.get() == CellState(b"", 2)


@_promise()
def of_many_writers_at_a_time_one_wins(subject: Subject) -> None:
    with subject.connect() as first, subject.connect() as second:

        def count(membership: Membership) -> None:
            cell = membership.cell("counter")
            added = 0
            while added < 20:
                state = cell.get()
                try:
                    cell.compare_and_set(str(int(state.value or b"0") + 1).encode(), state.version)
                except Conflict:
                    continue
                added += 1

        threads = [threading.Thread(target=count, args=(m,)) for m in (first, second, first)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.cell("counter").get() == CellState(b"60", 60)


@_promise()
def a_fence_that_moved_lets_nothing_through(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        leader, cell = ours.cell("leader"), ours.cell("state")
        held = Fence("leader", leader.compare_and_set(b"us", 0).version)
        assert cell.compare_and_set(b"ours", 0, held).version == 1
        theirs.cell("leader").compare_and_set(b"them", 1)
        for fence in (held, Fence("leader", 3), Fence("never-written", 1)):
            try:
                cell.compare_and_set(b"too late", 1, fence)
            except Conflict:
                continue
            raise AssertionError("a fenced-off writer wrote")
        assert cell.get() == CellState(b"ours", 1)
        assert cell.compare_and_set(b"free", 1, Fence("never-written", 0)).version == 2


@_promise()
def a_write_can_depend_on_an_absence(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs, ours.watch("compute") as watch:
        cell = ours.cell("claim")
        absent = Absent("compute", "host-1")
        me = theirs.join("compute", "host-1")
        take(watch, 1, ours.traits.detection)
        try:
            cell.compare_and_set(b"gone", 0, absent)
        except Conflict:
            pass
        else:
            raise AssertionError("a live member was taken for absent")
        me.leave()
        take(watch, 1, ours.traits.detection)
        assert cell.compare_and_set(b"gone", 0, absent, Fence("never-written", 0)).version == 1
        assert cell.compare_and_set(b"who?", 1, Absent("nobody", "joined")).version == 2


@_promise()
def a_crashed_member_is_absent_once_it_is_gone(subject: Subject) -> None:
    with subject.connect() as ours, ours.watch("compute") as watch:
        victim = subject.connect()
        victim.join("compute", "victim")
        take(watch, 1, ours.traits.detection)
        subject.crash(victim)
        take(watch, 1, ours.traits.detection)
        written = ours.cell("claim").compare_and_set(b"", 0, Absent("compute", "victim"))
        assert written.version == 1


# --- maintenance


@_promise()
def who_is_forced_down_is_no_member_to_anybody(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs, theirs.watch("compute") as watch:
        me = ours.join("compute", "host/1", metadata={"a": 1})
        stays = ours.join("compute", "stays")
        take(watch, 2, theirs.traits.detection)
        theirs.force_down("compute", "host/1", "a new kernel")
        theirs.force_down("compute", "unborn")
        assert theirs.forced_down("compute") == {"host/1": "a new kernel", "unborn": ""}
        assert ours.forced_down("elsewhere") == {}
        assert told(take(watch, 1, theirs.traits.detection)) == [("left", "host/1")]
        for reader in (ours, theirs):
            assert list(reader.members("compute").members) == ["stays"]
            assert reader.member("compute", "host/1") is None
        unborn = ours.join("compute", "unborn")
        assert theirs.member("compute", "unborn") is None
        stays.leave()
        assert told(take(watch, 1, theirs.traits.detection)) == [("left", "stays")]
        assert ours.groups() == ()
        ours.lift("compute", "host/1")
        ours.lift("compute", "host/1")
        ours.lift("compute", "unborn")
        ours.lift("elsewhere", "nobody")
        events = take(watch, 2, theirs.traits.detection)
        assert sorted(told(events)) == [("joined", "host/1"), ("joined", "unborn")]
        tokens = {_member(event).name: _member(event).token for event in events}
        assert tokens == {"host/1": me.token, "unborn": unborn.token}
        assert theirs.forced_down("compute") == {}


@_promise()
def a_view_says_when_many_went_at_once(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs, theirs.watch("compute") as watch:
        members = [ours.join("compute", f"host-{number}") for number in range(8)]
        take(watch, 8, theirs.traits.detection)
        members[0].leave()
        take(watch, 1, theirs.traits.detection)
        assert not watch.view.mass_loss
        for me in members[1:5]:
            me.leave()
        take(watch, 4, theirs.traits.detection)
        view = watch.view
        assert view.mass_loss
        assert len(view) == 3


@_promise()
def a_cell_watch_ends_with_the_newest_state(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        cell = ours.cell("config")
        with theirs.cell("config").watch() as watch:
            first = watch.next(ROOM)
            assert first == CellState(b"", 0)
            for version in range(5):
                cell.compare_and_set(str(version).encode(), version)
            seen = [0]
            while seen[-1] < 5:
                state = watch.next(theirs.traits.detection + ROOM)
                assert state is not None, f"only {seen} came"
                assert state.value == str(state.version - 1).encode()
                seen.append(state.version)
            assert seen == sorted(set(seen))
