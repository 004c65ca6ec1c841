"""What a watch promises: every net change, in order, and the view that they add up to."""

from __future__ import annotations

import threading

from membership.model import EventKind, Freshness, MemberEvent
from membership.testing.suite import Subject, promise
from membership.testing.waiting import ROOM, eventually, quiet, take, the_member, told


@promise()
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
            assert the_member(event).metadata == {"a": 1}
            assert the_member(event).token == second.token
            second.leave()
            (event,) = take(watch, 1, theirs.traits.detection)
            assert told([event]) == [("left", "host-2")]
            assert the_member(event).token == second.token
            view = watch.view
            assert list(view.members) == ["host-1"]
            assert view.version == event.version
            assert view.freshness is Freshness.FRESH


@promise()
def a_second_life_is_another_token(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs, theirs.watch("compute") as watch:
        first = ours.join("compute", "host-1")
        take(watch, 1, theirs.traits.detection)
        first.leave()
        second = ours.join("compute", "host-1")
        events = take(watch, 2, theirs.traits.detection)
        assert told(events) == [("left", "host-1"), ("joined", "host-1")]
        assert [the_member(event).token for event in events] == [first.token, second.token]
        assert second.token > first.token


@promise()
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


@promise()
def one_can_wait_for_several_streams(subject: Subject) -> None:
    with (
        subject.connect() as ours,
        subject.connect() as theirs,
        theirs.watch("a") as first,
        theirs.watch("b") as second,
        theirs.cell("c").watch() as third,
    ):
        called = threading.Event()
        assert third.next(ROOM) is not None
        for stream in (first, second, third):
            stream.notify(called.set)
            assert called.is_set(), "what came before has to be told"
            called.clear()
        ours.join("a", "x")
        assert called.wait(theirs.traits.detection + ROOM)
        assert told(take(first, 1)) == [("joined", "x")]
        called.clear()
        ours.cell("c").compare_and_set(b"", 0)
        assert called.wait(theirs.traits.detection + ROOM)
        assert (state := third.next(0.0)) is not None
        assert state.version == 1
        called.clear()
        second.close()
        assert called.is_set()
        assert second.next() is None


@promise()
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


@promise()
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


@promise()
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
