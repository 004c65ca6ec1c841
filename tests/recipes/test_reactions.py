"""Reactions on one executor: grace, return, rate, brake, what the roster remembers."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from membership import Absent, Disconnected, EventKind, Member, MemberEvent, Membership
from membership.api import Condition
from membership.recipes import Brake, Candidacy, Election, Failure, Rate, Reactions
from membership.recipes.absences import Absences
from membership.recipes.roster import BUCKETS, Bucket
from membership.testing import eventually
from tests.recipes.obstruction import Obstructed
from tests.recipes.servers import Servers

GRACE = 0.3
TICK = 0.02


class Log:
    """An action that keeps what it was told."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, failure: Failure) -> None:
        self.failures.append(failure)

    @property
    def names(self) -> list[str]:
        return [failure.name for failure in self.failures]


def reactions(
    membership: Membership,
    action: Callable[[Failure], object],
    *,
    grace: float = GRACE,
    brake: Brake | None = None,
    rate: Rate = Rate(1000, 1.0),  # noqa: B008  frozen
    applies: Callable[[Member], bool] = lambda _: True,
) -> Reactions:
    return Reactions(
        membership,
        "compute",
        "evacuate",
        action,
        applies=applies,
        grace=grace,
        brake=brake,
        rate=rate,
        retry=0.1,
        tick=TICK,
    )


@contextmanager
def leader(membership: Membership, name: str = "a") -> Iterator[Candidacy]:
    """A candidacy that has been elected."""
    registration = membership.join("executors", name)
    with Election(membership, "executor", lease=60.0).run(registration) as candidacy:
        eventually(lambda: candidacy.leadership)
        yield candidacy


def rostered(membership: Membership, name: str = "evacuate") -> dict[str, int]:
    """Who the roster has, by life."""
    found: dict[str, int] = {}
    for number in range(BUCKETS):
        bucket = Bucket(membership.cell(f"reaction/compute/{name}/{number}"))
        bucket.read()
        found |= bucket.alive
        found |= {name: claim.token for name, claim in bucket.claimed.items()}
    return found


def test_a_failure_is_acted_upon_once_after_its_grace(servers: Servers) -> None:
    ours, theirs, log = servers.connect(), servers.connect(), Log()
    with leader(ours) as candidacy, reactions(ours, log).run(candidacy):
        victim = theirs.join("compute", "host-1")
        theirs.join("compute", "host-2")
        eventually(lambda: set(rostered(theirs)) == {"host-1", "host-2"})
        assert log.failures == []
        left = time.monotonic()
        victim.leave()
        eventually(lambda: log.failures, theirs.traits.staleness)
        assert time.monotonic() - left >= GRACE
        eventually(lambda: set(rostered(theirs)) == {"host-2"})
        time.sleep(2 * GRACE)
    (failure,) = log.failures
    assert (failure.group, failure.name, failure.token) == ("compute", "host-1", victim.token)
    assert failure.leadership.seat.name == "a"


def test_a_crash_and_a_forced_down_member_are_failures_too(servers: Servers) -> None:
    ours, theirs, log = servers.connect(), servers.connect(), Log()
    with leader(ours) as candidacy, reactions(ours, log).run(candidacy):
        theirs.join("compute", "crashed")
        ours.join("compute", "forced")
        eventually(lambda: set(rostered(ours)) == {"crashed", "forced"})
        servers.crash(theirs)
        ours.force_down("compute", "forced", "maintenance")
        eventually(lambda: set(log.names) == {"crashed", "forced"}, ours.traits.detection)


def test_who_returns_within_the_grace_is_left_alone(servers: Servers) -> None:
    """Flapping starts a whole new grace each time; only the last departure counts."""
    ours, theirs, log = servers.connect(), servers.connect(), Log()
    grace = 4.0  # a busy machine takes seconds over a leave and a join
    with leader(ours) as candidacy, reactions(ours, log, grace=grace).run(candidacy):
        victim = theirs.join("compute", "host-1")
        eventually(lambda: "host-1" in rostered(theirs))
        for _ in range(3):
            victim.leave()
            time.sleep(0.5)
            victim = theirs.join("compute", "host-1")
        eventually(lambda: rostered(theirs)["host-1"] == victim.token, 10)
        assert log.failures == []
        victim.leave()
        eventually(lambda: [f.token for f in log.failures] == [victim.token], grace)


def test_a_claim_is_refused_where_the_member_is_back(servers: Servers) -> None:
    """The executor stands between its decision and its write while the member returns: absence is
    checked with the write, in one step."""
    reached, going = threading.Event(), threading.Event()
    log = Log()
    writes: list[str] = []

    def step(when: str, cell: str, _value: bytes) -> None:
        if when == "before" and cell == bucket:
            writes.append(cell)
            if len(writes) == 2:  # the first was the roster's, of the join
                reached.set()
                assert going.wait(30)

    real, theirs = servers.connect(), servers.connect()
    ours = Obstructed(real, step)
    bucket = _bucket_of("host-1")
    with leader(real) as candidacy, reactions(ours, log).run(candidacy):
        victim = theirs.join("compute", "host-1")
        eventually(lambda: "host-1" in rostered(theirs))
        victim.leave()
        assert reached.wait(30)
        victim = theirs.join("compute", "host-1")
        going.set()
        eventually(lambda: rostered(theirs).get("host-1") == victim.token)
        time.sleep(3 * GRACE)
    assert log.failures == []


def _bucket_of(name: str) -> str:
    return f"reaction/compute/evacuate/{zlib.crc32(name.encode()) % BUCKETS}"


def test_who_went_while_nobody_led_is_missed(servers: Servers) -> None:
    ours, theirs, log = servers.connect(), servers.connect(), Log()
    victim = theirs.join("compute", "host-1")
    theirs.join("compute", "host-2")
    with leader(ours) as candidacy, reactions(ours, log).run(candidacy):
        eventually(lambda: set(rostered(theirs)) == {"host-1", "host-2"})
    victim.leave()
    with leader(ours, "b") as candidacy, reactions(ours, log).run(candidacy):
        eventually(lambda: log.names == ["host-1"])
    assert log.failures[0].token == victim.token


def test_an_action_that_raises_is_run_again_under_the_same_claim(memory: Servers) -> None:
    ours, log = memory.connect(), Log()

    def act(failure: Failure) -> None:
        log(failure)
        if len(log.failures) < 3:
            raise RuntimeError("not yet")

    with leader(ours) as candidacy, reactions(ours, act).run(candidacy):
        victim = ours.join("compute", "host-1")
        eventually(lambda: rostered(ours))
        victim.leave()
        eventually(lambda: not rostered(ours))
        time.sleep(0.3)
    assert log.names == ["host-1"] * 3
    assert len({(failure.token, failure.leadership.token) for failure in log.failures}) == 1


def test_whom_it_does_not_apply_to_goes_unnoticed(memory: Servers) -> None:
    """As of its last metadata: who drains first may leave."""
    ours, log = memory.connect(), Log()

    def applies(member: Member) -> bool:
        return not member.metadata.get("draining")

    with leader(ours) as candidacy, reactions(ours, log, applies=applies).run(candidacy):
        drained, victim = ours.join("compute", "drained"), ours.join("compute", "victim")
        eventually(lambda: set(rostered(ours)) == {"drained", "victim"})
        drained.update({"draining": True})
        eventually(lambda: set(rostered(ours)) == {"victim"})
        drained.leave()
        victim.leave()
        eventually(lambda: log.names == ["victim"])
        time.sleep(GRACE)
    assert log.names == ["victim"]


def test_claims_come_no_faster_than_the_rate(memory: Servers) -> None:
    """Ten fail at once, three may be acted upon in an hour: the others wait unclaimed."""
    ours, log = memory.connect(), Log()
    with leader(ours) as candidacy, reactions(ours, log, rate=Rate(3, 3600.0)).run(candidacy):
        victims = [ours.join("compute", f"host-{number}") for number in range(10)]
        eventually(lambda: len(rostered(ours)) == 10)
        for victim in victims:
            victim.leave()
        eventually(lambda: len(log.failures) == 3)
        eventually(lambda: len(rostered(ours)) == 7)
        time.sleep(GRACE)
    assert len(log.failures) == 3


def test_the_brake_holds_claims_until_an_operator_releases_it(servers: Servers) -> None:
    ours, theirs, log = servers.connect(), servers.connect(), Log()
    brake = Brake(share=0.5, window=30.0, at_least=4, hold=None)
    reacting = reactions(ours, log, brake=brake, grace=1.0)
    with leader(ours) as candidacy, reacting.run(candidacy):
        go = servers.connect()  # all at once
        for number in range(8):
            (go if number < 5 else theirs).join("compute", f"host-{number}")
        eventually(lambda: len(rostered(theirs)) == 8)
        assert not reacting.held()
        go.close()
        eventually(reacting.held)
        time.sleep(2.0)
        assert log.failures == []
        reactions(theirs, log).release()  # from anywhere
        eventually(lambda: len(log.failures) == 5)
        assert not reacting.held()


def test_the_brake_lets_go_after_its_hold_time(memory: Servers) -> None:
    ours, go = memory.connect(), memory.connect()
    hold = 2.0
    brake = Brake(share=0.5, window=30.0, at_least=2, hold=hold)
    acted: list[float] = []
    reacting = reactions(ours, lambda _: acted.append(time.monotonic()), brake=brake, grace=1.0)
    with leader(ours) as candidacy, reacting.run(candidacy):
        ours.join("compute", "stays")
        for number in range(3):
            go.join("compute", f"host-{number}")
        eventually(lambda: len(rostered(ours)) == 4)
        gone = time.monotonic()
        go.close()
        eventually(lambda: len(acted) == 3)
    assert min(acted) - gone >= hold


def test_a_new_leader_brakes_for_what_it_finds_gone(memory: Servers) -> None:
    """The mass that went while nobody led is one, though nobody saw it go."""
    ours, log = memory.connect(), Log()
    brake = Brake(share=0.5, window=30.0, at_least=2, hold=None)
    reacting = reactions(ours, log, brake=brake, grace=0.05)
    hosts = [ours.join("compute", f"host-{number}") for number in range(4)]
    with leader(ours) as candidacy, reacting.run(candidacy):
        eventually(lambda: len(rostered(ours)) == 4)
    for host in hosts:
        host.leave()
    with leader(ours, "b") as candidacy, reacting.run(candidacy):
        eventually(reacting.held)
        time.sleep(0.3)
        assert log.failures == []
        reacting.release()
        eventually(lambda: len(log.failures) == 4)


def test_a_claim_whose_outcome_was_unknown_is_found_and_acted_upon_once(memory: Servers) -> None:
    """The write took effect, its answer was lost."""
    ours, log = memory.connect(), Log()
    lost: list[str] = []

    def step(when: str, cell: str, _value: bytes) -> None:
        if when == "after" and cell == _bucket_of("host-1"):
            lost.append(cell)
            if len(lost) == 2:
                raise Disconnected("the answer was lost")

    with leader(ours) as candidacy, reactions(Obstructed(ours, step), log).run(candidacy):
        victim = ours.join("compute", "host-1")
        eventually(lambda: rostered(ours))
        victim.leave()
        eventually(lambda: not rostered(ours))
        time.sleep(GRACE)
    assert len(lost) == 3
    assert log.names == ["host-1"]


def test_the_roster_is_written_once_a_bucket_not_once_a_member(memory: Servers) -> None:
    """A thousand who are there when it begins cost at most one write for each of its cells."""
    ours = memory.connect()
    writes: list[str] = []

    def step(when: str, cell: str, _value: bytes) -> None:
        if when == "after" and cell.startswith("reaction/"):
            writes.append(cell)

    for number in range(1000):
        ours.join("compute", f"host-{number}")
    with leader(ours) as candidacy, reactions(Obstructed(ours, step), Log()).run(candidacy):
        eventually(lambda: len(rostered(ours)) == 1000)
    assert len(writes) == BUCKETS


def test_closing_waits_for_the_action_that_runs(memory: Servers) -> None:
    ours = memory.connect()
    begun, ended = threading.Event(), threading.Event()

    def act(_failure: Failure) -> None:
        begun.set()
        time.sleep(0.3)
        ended.set()

    before = set(threading.enumerate())
    with leader(ours) as candidacy:
        with reactions(ours, act).run(candidacy):
            victim = ours.join("compute", "host-1")
            eventually(lambda: rostered(ours))
            victim.leave()
            assert begun.wait(30)
        assert ended.is_set()
    assert set(threading.enumerate()) <= before


# --- the rules alone


def _member(name: str, token: int) -> Member:
    return Member("compute", name, token)


def _absences(*present: Member) -> Absences:
    return Absences(30.0, lambda member: member.name != "exempt", present)


def _event(kind: EventKind, member: Member | None) -> MemberEvent:
    return MemberEvent(kind, "compute", member, 0)


@pytest.mark.parametrize(
    ("events", "due_at_40"),
    [
        pytest.param([], [], id="nobody went"),
        pytest.param([(5, "left", 1)], [("h", 1)], id="grace is over"),
        pytest.param([(15, "left", 1)], [], id="grace isn't over"),
        pytest.param([(5, "left", 1), (9, "joined", 2)], [], id="back in another life"),
        pytest.param([(5, "left", 1), (9, "joined", 1)], [], id="back in the same life"),
        pytest.param(
            [(5, "left", 1), (8, "joined", 2), (9, "left", 2)], [("h", 2)], id="gone again"
        ),
        pytest.param(
            [(1, "left", 1), (8, "joined", 2), (12, "left", 2)], [], id="each grace is whole"
        ),
        pytest.param([(5, "left", 7)], [], id="another life's end"),
        pytest.param([(5, "resynced", None), (6, "left", 1)], [("h", 1)], id="after a gap"),
    ],
)
def test_who_is_due(
    events: list[tuple[float, str, int | None]], due_at_40: list[tuple[str, int]]
) -> None:
    """With a grace of 30 s, at the time of 40 s."""
    absences = _absences(_member("h", 1))
    for when, kind, token in events:
        member = None if token is None else _member("h", token)
        absences.see(_event(EventKind(kind), member), when)
    assert [(absence.name, absence.token) for absence in absences.due(40.0)] == due_at_40


def test_the_roster_is_told_of_lives_until_they_are_acted_upon() -> None:
    absences = _absences(_member("h", 1), _member("exempt", 2))
    assert absences.life("h") == 1
    assert absences.life("exempt") is None
    absences.see(_event(EventKind.LEFT, _member("h", 1)), 0.0)
    assert absences.life("h") == 1
    absences.close("h", 9)
    assert absences.life("h") == 1
    absences.close("h", 1)
    assert absences.life("h") is None


def test_only_those_of_whom_nothing_was_seen_are_recalled() -> None:
    """Who left while it didn't apply to him is no failure, though the roster still has him."""
    absences = _absences(_member("h", 5), _member("exempt", 2))
    absences.see(_event(EventKind.LEFT, _member("exempt", 2)), 1.0)
    for name in ("h", "exempt", "gone"):
        absences.recall(name, 1, 10.0)
    assert [absence.name for absence in absences.due(40.0)] == ["gone"]
    absences.recall("gone", 1, 35.0)
    assert [absence.due for absence in absences.due(99.0)] == [40.0]


def test_a_mass_is_a_share_of_those_it_applies_to() -> None:
    absences = _absences(*(_member(f"h{n}", n) for n in range(6)), _member("exempt", 9))
    limits = (0.5, 60.0, 3)
    for number in range(3):
        assert not absences.is_mass(1.0, *limits)
        absences.see(_event(EventKind.LEFT, _member(f"h{number}", number)), float(number))
    assert absences.is_mass(2.0, *limits)
    assert absences.is_mass(60.0, *limits)
    assert not absences.is_mass(61.0, *limits), "the first one's window is over"


def test_neither_who_came_back_nor_who_was_pardoned_makes_a_mass() -> None:
    absences = _absences(_member("h", 1), _member("i", 2))
    for token in range(1, 9):
        absences.see(_event(EventKind.LEFT, _member("h", token)), 1.0)
        assert not absences.is_mass(1.0, 0.5, 60.0, 2), "one that flaps is one"
        absences.see(_event(EventKind.JOINED, _member("h", token + 1)), 1.0)
    for name, token in (("h", 9), ("i", 2)):
        absences.see(_event(EventKind.LEFT, _member(name, token)), 2.0)
    assert absences.is_mass(2.0, 0.5, 60.0, 2)
    absences.pardon()
    assert not absences.is_mass(2.0, 0.5, 60.0, 2)


def test_absence_is_a_condition_of_the_claim(memory: Servers) -> None:
    """What is asked of the servers with the claim's write: this leadership, and that absence."""
    asked: list[tuple[Condition, ...]] = []

    class Listening(Obstructed):
        def cell(self, name: str):  # type: ignore[no-untyped-def]
            cell = self.real.cell(name)
            write = cell.compare_and_set

            def listen(value: bytes, version: int, *under: Condition):  # type: ignore[no-untyped-def]
                asked.append(under)
                return write(value, version, *under)

            cell.compare_and_set = listen  # type: ignore[method-assign]
            return cell

    ours, log = memory.connect(), Log()
    with leader(ours) as candidacy:
        tenure = candidacy.leadership
        assert tenure is not None
        with reactions(Listening(ours, lambda _when, _cell, _value: None), log).run(candidacy):
            victim = ours.join("compute", "host-1")
            eventually(lambda: rostered(ours))
            victim.leave()
            eventually(lambda: log.failures and not rostered(ours))
    assert asked == [
        (tenure.fence,),
        (tenure.fence, Absent("compute", "host-1")),
        (tenure.fence,),
    ]
