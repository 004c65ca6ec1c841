"""Elections: who leads, for how long, and that there are never more than there are seats."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import pytest

from membership import Disconnected, InvalidValue, Membership
from membership.errors import Conflict
from membership.recipes import Candidacy, Election, Leadership
from membership.testing import eventually
from tests.recipes.obstruction import Obstructed
from tests.recipes.servers import Servers

LEASE = 60.0
"""Longer than a busy machine holds up any renewal: who leads goes on leading."""
SHORT = 1.5
"""For those who wait it out."""


def stand(membership: Membership, name: str, *, seats: int = 1, lease: float = LEASE) -> Candidacy:
    """A candidate of that name."""
    return Election(membership, "boss", seats=seats, lease=lease).run(
        membership.join("candidates", name)
    )


def elected(candidacy: Candidacy, within: float = 0.0) -> Leadership:
    """Its tenure, once it leads."""
    leadership = eventually(lambda: candidacy.leadership, within)
    assert leadership is not None
    return leadership


def leading(candidacies: list[Candidacy]) -> list[Candidacy]:
    return [candidacy for candidacy in candidacies if candidacy.leadership]


class Sampler:
    """Counts, as often as it can, how many of the candidates believe that they lead a seat."""

    def __init__(self, candidacies: list[Candidacy]) -> None:
        self.most = 0
        self.samples = 0
        self.tokens: list[int] = []
        self._candidacies = candidacies
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._stopped.wait(0.0005):
            self._look()

    def _look(self) -> None:
        # each was true after the first question and before the last answer: ask twice, so that a
        # handover between two questions is no coincidence
        first = [candidacy.leadership for candidacy in self._candidacies]
        still = [tenure for tenure in reversed(first) if tenure and tenure.is_leader]
        self.most = max(self.most, len(still))
        self.samples += 1
        for tenure in still:
            if tenure.token not in self.tokens:
                self.tokens.append(tenure.token)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._look()  # its thread may not have had a turn since the last election


@contextmanager
def candidates(servers: Servers, count: int, *, seats: int = 1) -> Iterator[list[Candidacy]]:
    """So many, each on a connection of its own."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(stand(servers.connect(), f"c-{number}", seats=seats))
            for number in range(count)
        ]


def test_one_of_many_leads_and_all_can_see_who(servers: Servers) -> None:
    with candidates(servers, 3) as standing:
        (leader,) = eventually(lambda: leading(standing))
        tenure = leader.leadership
        assert tenure is not None
        (seat,) = Election(servers.connect(), "boss", lease=LEASE).holders()
        assert seat == tenure.seat
        assert seat.token == tenure.token


def test_nobody_is_recorded_before_the_first_election(servers: Servers) -> None:
    (seat,) = Election(servers.connect(), "boss").holders()
    assert (seat.number, seat.name, seat.member_token) == (0, None, None)


def test_standing_down_hands_over_at_once_and_tokens_grow(servers: Servers) -> None:
    """Each stands down in turn: the next one leads long before a lease is over, in between nobody
    is one of two, and each tenure has a larger token than the last."""
    with candidates(servers, 2) as standing, Sampler(standing) as sampler:
        tokens = []
        for _ in range(4):
            (leader,) = eventually(lambda: leading(standing))
            assert leader.leadership is not None
            tokens.append(leader.leadership.token)
            leader.stand_down()
            assert leader.leadership is None
            eventually(lambda last=leader: [c for c in leading(standing) if c is not last])
    assert tokens == sorted(set(tokens))
    assert sampler.most == 1


def test_a_freed_seat_is_taken_without_waiting_for_the_next_look(memory: Servers) -> None:
    """With a lease of ten minutes, whoever waited for his look would take minutes."""
    first, second = memory.connect(), memory.connect()
    with stand(first, "a", lease=600.0) as a:
        elected(a)
        with stand(second, "b", lease=600.0) as b:
            a.stand_down()
            elected(b)


def test_n_of_m_never_above_n(servers: Servers) -> None:
    """Two seats, four candidates, standing down and closing at random: two lead, never three."""
    with candidates(servers, 4, seats=2) as standing, Sampler(standing) as sampler:
        eventually(lambda: len(leading(standing)) == 2)
        for _ in range(4):
            random.choice(eventually(lambda: leading(standing))).stand_down()
            eventually(lambda: len(leading(standing)) == 2)
        seats = {candidacy.leadership.seat.number for candidacy in standing if candidacy.leadership}
        assert seats == {0, 1}
    assert sampler.most == 2


def test_a_dead_leaders_seat_is_taken_after_its_lease(servers: Servers) -> None:
    first, second = servers.connect(), servers.connect()
    with stand(first, "a", lease=SHORT) as a:
        tenure = elected(a)
        with stand(second, "b", lease=SHORT) as b, Sampler([a, b]) as sampler:
            servers.crash(first)
            successor = elected(b, SHORT)
            assert successor.token > tenure.token
        assert sampler.most <= 1


def test_a_seat_that_changes_hands_while_it_is_counted_out_is_counted_anew(
    memory: Servers,
) -> None:
    """Another takes the dead leader's seat between a candidate's count and its write, and the
    candidate hears of it at once: that leadership has a whole lease all the same."""
    lease, now = 0.5, 100.0
    others = memory.connect().cell("election/boss/0")
    others.compare_and_set(b'["dead", 1]', 0)
    over = threading.Event()
    looks = changes = 0

    def step(when: str, cell: str, _value: bytes) -> None:
        nonlocal looks, changes, now
        if when == "read" and cell.endswith("/renewal"):
            looks += 1
            if over.is_set() and not changes:
                now += lease
                changes = others.compare_and_set(b'["other", 2]', 1).version

    def look_twice() -> None:  # one may have been under way
        seen = looks
        eventually(lambda: looks >= seen + 2)

    ours = Obstructed(memory.connect(), step)
    election = Election(ours, "boss", lease=lease, clock=lambda: now)
    with election.run(ours.join("candidates", "a")) as a:
        look_twice()
        over.set()
        eventually(lambda: changes)
        look_twice()
        now = math.nextafter(now + lease, 0.0)
        look_twice()
        assert a.leadership is None
        now += lease
        assert elected(a).token == changes + 1


def test_a_leader_that_starts_again_under_its_name_waits_for_its_own_lease(
    servers: Servers,
) -> None:
    """The seat still names it, but in another life: it has to be taken anew."""
    first = servers.connect()
    with stand(first, "a", lease=SHORT) as a:
        tenure = elected(a)
        servers.crash(first)
        with stand(servers.connect(), "a", lease=SHORT) as again:
            second = elected(again, 2 * SHORT)
            assert second.token > tenure.token
            assert second.seat.member_token != tenure.seat.member_token


def test_who_loses_the_registration_leads_no_more(servers: Servers) -> None:
    ours = servers.connect()
    registration = ours.join("candidates", "a")
    deposed: list[Leadership] = []
    election = Election(ours, "boss", lease=SHORT)
    with election.run(registration, on_deposed=deposed.append) as candidacy:
        tenure = elected(candidacy)
        registration.leave()
        assert not tenure.is_leader
        eventually(lambda: election.holders()[0].name is None, SHORT)
    assert deposed.count(tenure) == 1


def test_callbacks_come_in_pairs_and_may_raise(memory: Servers) -> None:
    """What an application raises doesn't end its candidacy; deposition precedes the handover."""
    ours = memory.connect()
    told: list[tuple[str, str | None]] = []
    election = Election(ours, "boss", lease=SHORT)

    def tell(what: str) -> None:
        told.append((what, election.holders()[0].name))
        raise RuntimeError(what)

    with election.run(
        ours.join("candidates", "a"),
        on_elected=lambda _: tell("elected"),
        on_deposed=lambda _: tell("deposed"),
    ) as candidacy:
        elected(candidacy)
        candidacy.stand_down()
        elected(candidacy, SHORT)
    pair = [("elected", "a"), ("deposed", "a")]
    assert len(told) >= 2 * len(pair)
    assert told == pair * (len(told) // 2)


def test_a_leader_whose_renewals_fail_deposes_itself_before_another_leads(
    servers: Servers,
) -> None:
    """Its writes are refused, so it never learns of its successor: its own deadline ends it."""
    cut = threading.Event()

    def step(_when: str, _cell: str, _value: bytes) -> None:
        if cut.is_set():
            raise Disconnected("cut off")

    with (
        stand(Obstructed(servers.connect(), step), "a", lease=SHORT) as a,
        ExitStack() as stack,
    ):
        tenure = elected(a)
        b = stack.enter_context(stand(servers.connect(), "b", lease=SHORT))
        with Sampler([a, b]) as sampler:
            cut.set()
            successor = elected(b, 2 * SHORT)
            assert not tenure.is_leader
            assert successor.token > tenure.token
            cut.clear()
            time.sleep(SHORT / 2)
        assert sampler.most <= 1
        assert sorted(sampler.tokens) == sampler.tokens


def test_no_instant_with_two_leaders_under_random_pauses(servers: Servers) -> None:
    """Every call on a cell is held up at random, before and after it is done, now and then for
    longer than the lease; whoever leads after all does so alone, with a larger token."""
    lease = 0.5
    generator = random.Random(11)
    running = threading.Event()
    running.set()

    def step(_when: str, _cell: str, _value: bytes) -> None:
        if running.is_set():
            longest = 1.8 * lease if generator.random() < 0.15 else 0.02
            time.sleep(generator.uniform(0, longest))

    with ExitStack() as stack:
        standing = [
            stack.enter_context(stand(Obstructed(servers.connect(), step), name, lease=lease))
            for name in "abc"
        ]
        with Sampler(standing) as sampler:
            time.sleep(8 * lease)
            eventually(lambda: len(sampler.tokens) >= 3)
        running.clear()
    assert sampler.most == 1
    assert sampler.tokens == sorted(sampler.tokens), "tokens grow in the order of leaderships"


def test_a_fenced_write_is_refused_once_another_leads(servers: Servers) -> None:
    ours, theirs = servers.connect(), servers.connect()
    with stand(ours, "a") as a:
        tenure = elected(a)
        cell = ours.cell("resource")
        state = cell.compare_and_set(b"1", 0, tenure.fence)
        with stand(theirs, "b") as b:
            a.stand_down()
            successor = elected(b)
            with pytest.raises(Conflict):
                cell.compare_and_set(b"2", state.version, tenure.fence)
            assert cell.compare_and_set(b"3", state.version, successor.fence).value == b"3"


def test_a_tenure_ends_at_its_deadline_to_the_tick_and_for_good(memory: Servers) -> None:
    """By an injected clock: no renewal that was answered later revives it."""
    ours = memory.connect()
    registration = ours.join("candidates", "a")
    now = 100.0
    election = Election(ours, "boss", clock=lambda: now)
    seat = election.holders()[0]
    seat = type(seat)(0, "a", registration.token, 7)
    leadership = Leadership(seat, None, registration, 110.0, lambda: now)  # type: ignore[arg-type]
    assert leadership.is_leader
    leadership.extend(120.0)
    now = math.nextafter(120.0, 0.0)
    assert leadership.is_leader
    now = 120.0
    assert not leadership.is_leader
    leadership.extend(130.0)
    assert not leadership.is_leader


def test_closing_leaves_no_thread_and_frees_the_seat(servers: Servers) -> None:
    ours = servers.connect()
    before = set(threading.enumerate())
    registration = ours.join("candidates", "a")
    election = Election(ours, "boss", lease=600.0)
    for _ in range(2):
        with election.run(registration) as candidacy:
            elected(candidacy)
    assert election.holders()[0].name is None
    candidacy.close()
    assert not [t for t in threading.enumerate() if t not in before and "election" in t.name]


def test_closing_the_connection_first_ends_the_tenure(servers: Servers) -> None:
    ours = servers.connect()
    deposed: list[Leadership] = []
    candidacy = Election(ours, "boss", lease=LEASE).run(
        ours.join("candidates", "a"), on_deposed=deposed.append
    )
    tenure = elected(candidacy)
    ours.close()
    assert not tenure.is_leader
    candidacy.close()
    assert deposed == [tenure]


@pytest.mark.parametrize(("seats", "lease"), [(0, 10.0), (1, 0.0), (1, math.nan)])
def test_an_election_without_seats_or_lease_is_refused(
    memory: Servers, seats: int, lease: float
) -> None:
    with pytest.raises(InvalidValue):
        Election(memory.connect(), "boss", seats=seats, lease=lease)


def test_a_candidate_that_is_no_member_does_not_stand(memory: Servers) -> None:
    ours = memory.connect()
    registration = ours.join("candidates", "a")
    registration.leave()
    election = Election(ours, "boss", lease=0.3)
    with election.run(registration) as candidacy:
        for _ in itertools.repeat(None, 10):
            time.sleep(0.05)
            assert candidacy.leadership is None
    assert election.holders()[0].token == 0
