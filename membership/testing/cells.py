"""What a cell promises, and a write that is conditional on something else."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial

from membership.api import Absent, Fence, Membership
from membership.errors import Conflict
from membership.model import CellState
from membership.testing.suite import Subject, promise
from membership.testing.waiting import ROOM, refused, take


@promise()
def a_cell_counts_its_versions(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        cell, same = ours.cell("a/cell"), theirs.cell("a/cell")
        assert cell.get() == same.get() == CellState(b"", 0)
        assert cell.compare_and_set(b"one", 0) == CellState(b"one", 1)
        assert same.get() == CellState(b"one", 1)
        assert same.compare_and_set(b"", 1) == CellState(b"", 2)
        for version in (0, 1, 3):
            refused(Conflict, partial(cell.compare_and_set, b"late", version))
        assert cell.get() == CellState(b"", 2)


@promise()
def of_many_writers_at_a_time_one_wins(subject: Subject) -> None:
    with subject.connect() as first, subject.connect() as second:

        def count(membership: Membership) -> None:
            cell = membership.cell("counter")
            added = 0
            while added < 20:
                state = cell.get()
                more = str(int(state.value or b"0") + 1).encode()
                with suppress(Conflict):
                    cell.compare_and_set(more, state.version)
                    added += 1

        threads = [threading.Thread(target=count, args=(m,)) for m in (first, second, first)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.cell("counter").get() == CellState(b"60", 60)


@promise()
def a_fence_that_moved_lets_nothing_through(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs:
        leader, cell = ours.cell("leader"), ours.cell("state")
        held = Fence("leader", leader.compare_and_set(b"us", 0).version)
        assert cell.compare_and_set(b"ours", 0, held).version == 1
        theirs.cell("leader").compare_and_set(b"them", 1)
        for fence in (held, Fence("leader", 3), Fence("never-written", 1)):
            refused(Conflict, partial(cell.compare_and_set, b"too late", 1, fence))
        assert cell.get() == CellState(b"ours", 1)
        assert cell.compare_and_set(b"free", 1, Fence("never-written", 0)).version == 2


@promise()
def a_write_can_depend_on_an_absence(subject: Subject) -> None:
    with subject.connect() as ours, subject.connect() as theirs, ours.watch("compute") as watch:
        cell = ours.cell("claim")
        absent = Absent("compute", "host-1")
        me = theirs.join("compute", "host-1")
        take(watch, 1, ours.traits.detection)
        refused(Conflict, lambda: cell.compare_and_set(b"gone", 0, absent))
        me.leave()
        take(watch, 1, ours.traits.detection)
        assert cell.compare_and_set(b"gone", 0, absent, Fence("never-written", 0)).version == 1
        assert cell.compare_and_set(b"who?", 1, Absent("nobody", "joined")).version == 2


@promise()
def a_crashed_member_is_absent_once_it_is_gone(subject: Subject) -> None:
    with subject.connect() as ours, ours.watch("compute") as watch:
        victim = subject.connect()
        victim.join("compute", "victim")
        take(watch, 1, ours.traits.detection)
        subject.crash(victim)
        take(watch, 1, ours.traits.detection)
        written = ours.cell("claim").compare_and_set(b"", 0, Absent("compute", "victim"))
        assert written.version == 1


@promise()
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
