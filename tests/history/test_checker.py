"""The checks find what is wrong: hand-written histories that each of them has to reject."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.history import checker
from tests.history.record import (
    Belief,
    Deed,
    History,
    Outage,
    Renewal,
    Sight,
    Tenure,
    Write,
)

GOOD = History(
    deeds=(
        Deed(1.0, "joined", "a", 1, until=1.1),
        Deed(2.0, "joined", "b", 2, until=2.1),
        Deed(3.0, "updated", "a", 1, value=1),
        Deed(4.0, "killed", "a", 1),
        Deed(7.0, "joined", "a", 3, until=9.0),
        Deed(10.0, "left", "b", 2),
    ),
    sights=(
        Sight(1.2, "o", "joined", "a", 1, 0),
        Sight(2.2, "o", "joined", "b", 2, 0),
        Sight(3.1, "o", "updated", "a", 1, 1),
        Sight(6.0, "o", "left", "a", 1, 1),
        Sight(9.1, "o", "joined", "a", 3, 0),
        Sight(10.1, "o", "left", "b", 2, 0),
    ),
    beliefs=(Belief(3.9, 3.9, "a", 1), Belief(9.5, 9.5, "a", 3)),
    renewals=(Renewal(3.5, "a", 3.6), Renewal(9.2, "a", 9.3)),
    tenures=(
        Tenure("one", 0, 1, "a", 1.5, 5.0),
        Tenure("one", 0, 2, "b", 5.0, 8.0),
        Tenure("two", 0, 1, "a", 1.5, 5.0),
        Tenure("two", 1, 1, "b", 2.5, 8.0),
    ),
    writes=(Write(1, 1, "a"), Write(2, 1, "a"), Write(3, 2, "b")),
    seats={"one": 1, "two": 2},
    finally_live={"a": (3, 0)},
    finally_seen={"o": {"a": (3, 0)}},
)
EVERY = (
    *checker.ALWAYS,
    checker.order,
    checker.self_fencing,
    partial(checker.accuracy, timeout=2.0),
)


@pytest.mark.parametrize("check", EVERY)
def test_a_right_history_is_passed(check: checker.Check) -> None:
    assert check(GOOD) == []


def test_an_observer_that_keeps_a_dead_member_is_found() -> None:
    seen = {"o": {"a": (3, 0), "b": (2, 0)}}
    [wrong] = checker.completeness(replace(GOOD, finally_seen=seen))
    assert "sees b as (2, 0)" in wrong


def test_an_observer_that_misses_a_live_member_or_an_update_is_found() -> None:
    assert checker.completeness(replace(GOOD, finally_seen={"o": {}}))
    assert checker.completeness(replace(GOOD, finally_seen={"o": {"a": (3, 7)}}))


def test_a_live_member_called_dead_is_found() -> None:
    bad = replace(GOOD, sights=(*GOOD.sights, Sight(12.0, "o", "left", "a", 3, 0)))
    [wrong] = checker.accuracy(bad, timeout=2.0)
    assert "called a (3) dead" in wrong


def test_a_member_that_left_only_after_it_was_called_dead_is_found() -> None:
    bad = replace(GOOD, sights=(*GOOD.sights[:-1], Sight(9.9, "o", "left", "b", 2, 0)))
    assert checker.accuracy(bad, timeout=2.0)


@pytest.mark.parametrize(
    "cause",
    [
        History(outages=(Outage(9.0, 11.0, "restart"),)),
        History(deeds=(Deed(9.5, "frozen", "a", 3), Deed(11.0, "resumed", "a", 3))),
        History(deeds=(Deed(9.5, "stalled", "a", 3, until=10.5),)),
    ],
)
def test_a_death_is_excused_by_its_cause_and_only_within_the_timeout(cause: History) -> None:
    bad = replace(
        GOOD,
        sights=(*GOOD.sights, Sight(12.0, "o", "left", "a", 3, 0)),
        deeds=GOOD.deeds + cause.deeds,
        outages=cause.outages,
    )
    assert checker.accuracy(bad, timeout=2.0) == []
    assert checker.accuracy(bad, timeout=0.5)


@pytest.mark.parametrize(
    "sight",
    [
        Sight(11.0, "o", "joined", "a", 4, 0),  # a second life beside the first
        Sight(11.0, "o", "left", "b", 2, 0),  # gone already
        Sight(11.0, "o", "left", "a", 1, 0),  # another life than the one that stands
        Sight(11.0, "o", "joined", "b", 2, 0),  # an old token
        Sight(11.0, "o", "updated", "b", 2, 1),  # nobody there
        Sight(11.0, "o", "updated", "a", 3, -1),  # back to older metadata
    ],
)
def test_an_event_out_of_order_is_found(sight: Sight) -> None:
    assert len(checker.order(replace(GOOD, sights=(*GOOD.sights, sight)))) == 1


@pytest.mark.parametrize("token", [2, 3])
def test_a_token_that_does_not_grow_is_found(token: int) -> None:
    later = Deed(11.0, "joined", "c", token, until=11.1)
    assert checker.tokens(replace(GOOD, deeds=(*GOOD.deeds, later)))


def test_joins_at_the_same_time_may_get_their_tokens_in_any_order() -> None:
    both = (Deed(1.0, "joined", "a", 2, until=1.2), Deed(1.1, "joined", "b", 1, until=1.3))
    assert checker.tokens(History(deeds=both)) == []


def test_a_member_that_trusts_itself_when_others_gave_it_up_is_found() -> None:
    bad = replace(GOOD, beliefs=(*GOOD.beliefs, Belief(6.1, 6.1, "a", 1)))
    assert checker.self_fencing(bad)
    renewed = replace(bad, renewals=(*bad.renewals, Renewal(5.7, "a", 6.05)))
    assert checker.self_fencing(renewed) == []
    before = replace(bad, renewals=(*bad.renewals, Renewal(5.7, "a", 5.9)))
    assert checker.self_fencing(before)


def test_a_renewal_that_was_answered_during_a_sample_counts_for_it() -> None:
    for until, right in ((6.11, False), (6.13, True)):
        history = History(
            sights=(Sight(6.0, "o", "left", "a", 1, 0),),
            beliefs=(Belief(6.1, until, "a", 1),),
            renewals=(Renewal(5.7, "a", 6.12),),
        )
        assert (checker.self_fencing(history) == []) is right


def test_a_verdict_counts_from_when_it_was_asked_for() -> None:
    """Whose renewal was answered after the read was sent may be a member when it is told."""
    belief = Belief(6.1, 6.1, "a", 1)
    for answered, right in ((5.7, False), (5.9, True)):
        history = History(
            sights=(Sight(6.0, "o", "left", "a", 1, 0, asked=5.8),),
            beliefs=(belief,),
            renewals=(Renewal(5.6, "a", answered),),
        )
        assert (checker.self_fencing(history) == []) is right


def test_a_life_that_comes_back_is_passed_only_where_beats_decide() -> None:
    back = replace(GOOD, sights=(*GOOD.sights, Sight(11.0, "o", "joined", "b", 2, 0)))
    assert checker.order(back)
    assert checker.order(back, revivals=True) == []
    older = replace(GOOD, sights=(*GOOD.sights[:-2], Sight(9.1, "o", "joined", "a", 1, 0)))
    assert checker.order(replace(older), revivals=True) == []
    newer = (*GOOD.sights, Sight(11.0, "o", "left", "a", 3, 0))
    older = replace(GOOD, sights=(*newer, Sight(12.0, "o", "joined", "a", 1, 0)))
    assert checker.order(older, revivals=True)


def test_a_write_under_an_older_leadership_is_found() -> None:
    assert checker.fencing(replace(GOOD, writes=(*GOOD.writes, Write(4, 1, "a"))))


def test_two_writes_of_one_version_are_found() -> None:
    assert checker.fencing(replace(GOOD, writes=(*GOOD.writes, Write(3, 2, "c"))))


def test_two_unexpired_deadlines_of_one_seat_are_found() -> None:
    bad = replace(GOOD, tenures=(*GOOD.tenures, Tenure("one", 0, 3, "c", 7.9, 9.0)))
    [wrong] = checker.one_holder(bad)
    assert "c led at 7.900, when b trusted itself until 8.000" in wrong


def test_a_long_tenure_is_remembered_beyond_a_short_one() -> None:
    tenures = (
        Tenure("one", 0, 1, "a", 1.0, 9.0),
        Tenure("one", 0, 2, "b", 2.0, 3.0),
        Tenure("one", 0, 3, "c", 4.0, 5.0),
    )
    assert len(checker.one_holder(History(tenures=tenures))) == 2


def test_one_leader_too_many_is_found() -> None:
    bad = replace(GOOD, tenures=(*GOOD.tenures, Tenure("two", 2, 1, "c", 4.9, 9.0)))
    [wrong] = checker.no_more_than_seats(bad)
    assert wrong.startswith("two: a, b, c")


def test_a_leadership_whose_token_does_not_grow_is_found() -> None:
    bad = replace(GOOD, tenures=(*GOOD.tenures, Tenure("one", 0, 2, "c", 9.0, 9.5)))
    assert checker.leadership_tokens(bad)


def test_a_life_that_one_observer_alone_doubted_is_found() -> None:
    alone = (
        Sight(1.2, "p", "joined", "a", 1, 0),
        Sight(2.5, "o", "left", "a", 1, 0),
        Sight(2.9, "o", "joined", "a", 1, 0),
    )
    [wrong] = checker.contradictions(History(sights=alone))
    assert "o alone called a (1) dead from 2.500 to 2.900" in wrong
    both = (*alone[:2], Sight(2.6, "p", "left", "a", 1, 0), alone[2])
    assert checker.contradictions(History(sights=both)) == []
    assert checker.contradictions(GOOD) == []
