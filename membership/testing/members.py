"""What a membership promises: joining, reading, updating, leaving, dying, maintenance."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress

from membership.errors import Closed, Disconnected, InvalidValue, NameTaken, NotAMember
from membership.model import EventKind, Freshness, Json
from membership.testing.suite import Subject, promise
from membership.testing.waiting import eventually, quiet, refused, take, the_member, told

# --- joining, leaving, reading


@promise()
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


@promise()
def what_is_not_there_is_empty_not_an_error(subject: Subject) -> None:
    with subject.connect() as membership:
        assert len(membership.members("nobody-joined")) == 0
        assert membership.member("nobody-joined", "x") is None
        assert membership.groups() == ()
        with membership.watch("nobody-joined") as watch:
            assert len(watch.view) == 0
            assert watch.next(0.0) is None


@promise()
def leaving_is_at_once_and_only_once(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1")
        me.leave()
        assert theirs.member("compute", "host-1") is None
        assert not me.is_member
        me.leave()
        refused(NotAMember, lambda: me.update({"a": 1}))


@promise()
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


@promise()
def any_printable_name_is_kept_as_it_is(subject: Subject) -> None:
    names = ["a/b", "..", ".", "a%2Fb", "ünï©ode ☃", "it's; --", "x" * 255, "%"]
    with subject.connect() as membership:
        for name in names:
            membership.join(name, name)
        for name in names:
            assert list(membership.members(name).members) == [name]
        assert membership.groups() == tuple(sorted(names))


@promise()
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
            refused(InvalidValue, attempt)
        assert membership.groups() == ()


@promise("name-refusal")
def a_name_that_a_live_other_holds_is_refused(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1", metadata={"who": "first"})
        second = {"who": "second"}
        refused(NameTaken, lambda: theirs.join("compute", "host-1", metadata=second))
        refused(NameTaken, lambda: ours.join("compute", "host-1", metadata=second))
        assert me.is_member
        member = theirs.member("compute", "host-1")
        assert member is not None
        assert (member.token, member.metadata) == (me.token, {"who": "first"})


@promise()
def tokens_grow_with_every_join(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        tokens = []
        for connection, number in itertools.product((ours, theirs), range(5)):
            me = connection.join("compute", f"host-{number}")
            tokens.append(me.token)
            me.leave()
        assert tokens == sorted(set(tokens))


@promise()
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


@promise()
def an_update_is_one_event_of_the_same_life(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1", metadata={"n": 0})
        token = me.token
        with theirs.watch("compute") as watch:
            take(watch, 1)
            me.update({"n": 1})
            (event,) = take(watch, 1, theirs.traits.detection)
            assert (event.kind, the_member(event).metadata) == (EventKind.UPDATED, {"n": 1})
            assert the_member(event).token == me.token == token
            me.update({"n": 1})
            assert me.metadata == {"n": 1}
            quiet(watch, theirs.traits.staleness + 0.3)


@promise()
def an_update_that_nobody_answered_is_made_up_for(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        me = ours.join("compute", "host-1", metadata={"n": 0})
        with subject.silence(), suppress(Disconnected):
            me.update({"n": 1})
        assert me.metadata == {"n": 1}

        def others_see() -> bool:
            with suppress(Disconnected):
                member = theirs.member("compute", "host-1")
                return member is not None and member.metadata == {"n": 1}
            return False

        eventually(others_see, theirs.traits.detection)
        me.update({"n": 1})
        me.update({"n": 2})
        assert (member := theirs.member("compute", "host-1")) is not None
        assert member.metadata == {"n": 2}


# --- failure


@promise()
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


@promise()
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


@promise()
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
            refused(Closed, call)


# --- maintenance


@promise()
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
        tokens = {the_member(event).name: the_member(event).token for event in events}
        assert tokens == {"host/1": me.token, "unborn": unborn.token}
        assert theirs.forced_down("compute") == {}
