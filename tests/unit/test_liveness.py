"""The rules of life and death, as tables: no clock, no sleep."""

from __future__ import annotations

import math

import pytest

from membership.liveness import (
    ChangeTracker,
    lease_deadline,
    negotiated_timeout,
    nova_is_up,
    zookeeper_expiry,
)


@pytest.mark.parametrize(
    ("last_seen", "now", "up"),
    [
        (1000.0, 1000.0, True),
        (1000.0, 1060.0, True),
        (1000.0, 1060.001, False),
        (1060.0, 1000.0, True),  # a writer's clock ahead, by no more than the timeout
        (1060.001, 1000.0, False),  # further ahead: as dead as one behind
        (1000.0, 990.0, True),
    ],
)
def test_nova_asks_for_the_distance_of_two_wall_clocks(
    last_seen: float, now: float, up: bool
) -> None:
    assert nova_is_up(last_seen, now, 60.0) is up


@pytest.mark.parametrize(
    ("sent", "timeout", "drift", "deadline"),
    [(100.0, 10.0, 0.0, 110.0), (100.0, 10.0, 0.01, 109.9), (0.0, 4.0, 0.25, 3.0)],
)
def test_a_lease_counts_from_the_sending_less_the_drift(
    sent: float, timeout: float, drift: float, deadline: float
) -> None:
    assert lease_deadline(sent, timeout, drift) == pytest.approx(deadline)


@pytest.mark.parametrize(
    ("asked", "tick", "minimum", "maximum", "granted"),
    [
        (10.0, 2.0, None, None, 10.0),
        (1.0, 2.0, None, None, 4.0),
        (100.0, 2.0, None, None, 40.0),
        (1.0, 2.0, 0.5, None, 1.0),
        (100.0, 2.0, None, 60.0, 60.0),
    ],
)
def test_a_server_grants_two_to_twenty_ticks_unless_told_otherwise(
    asked: float, tick: float, minimum: float | None, maximum: float | None, granted: float
) -> None:
    assert negotiated_timeout(asked, tick, minimum, maximum) == granted


@pytest.mark.parametrize(
    ("touched", "timeout", "tick", "expiry"),
    [
        (0.0, 10.0, 2.0, 12.0),  # on the grid: one bucket on, never its own
        (0.001, 10.0, 2.0, 12.0),
        (1.999, 10.0, 2.0, 12.0),
        (2.0, 10.0, 2.0, 14.0),
        (1.5, 4.0, 0.5, 6.0),
    ],
)
def test_zookeeper_rounds_an_expiry_up_to_the_next_bucket(
    touched: float, timeout: float, tick: float, expiry: float
) -> None:
    assert zookeeper_expiry(touched, timeout, tick) == pytest.approx(expiry)


def _tracker() -> ChangeTracker:
    return ChangeTracker(timeout=10.0, max_gap=3.0)


def _read(tracker: ChangeTracker, at: float, **beats: int) -> None:
    tracker.observe(beats, sent=at, answered=at)


def test_a_beat_unchanged_for_the_timeout_is_a_death_and_not_a_moment_sooner() -> None:
    tracker = _tracker()
    for second in range(10):
        _read(tracker, second, silent=7, beats=second)
        assert tracker.dead() == frozenset()
    assert tracker.expiry() == 10.0
    _read(tracker, 10.0, silent=7, beats=10)
    assert tracker.dead() == {"silent"}
    assert tracker.expiry() == 20.0


def test_the_dead_one_that_beats_again_is_alive() -> None:
    tracker = _tracker()
    for second in range(11):
        _read(tracker, second, a=7)
    assert tracker.dead() == {"a"}
    _read(tracker, 11.0, a=8)
    assert tracker.dead() == frozenset()
    assert tracker.unconfirmed() == frozenset()


def test_a_fresh_reader_vouches_for_nobody_until_it_has_seen_a_beat_or_a_full_silence() -> None:
    tracker = _tracker()
    _read(tracker, 0.0, silent=1, beats=1)
    assert tracker.unconfirmed() == {"silent", "beats"}
    assert tracker.dead() == frozenset()
    _read(tracker, 2.0, silent=1, beats=2)
    assert tracker.unconfirmed() == {"silent"}
    for second in range(4, 11, 2):
        _read(tracker, second, silent=1, beats=second)
    assert tracker.dead() == {"silent"}
    assert tracker.unconfirmed() == frozenset()


def test_a_member_that_came_between_two_reads_is_vouched_for() -> None:
    tracker = _tracker()
    _read(tracker, 0.0)
    _read(tracker, 1.0, new=0)
    assert tracker.unconfirmed() == frozenset()


def test_a_gap_between_answers_starts_every_timeout_again() -> None:
    """An outage longer than everybody's timeout kills nobody."""
    tracker = _tracker()
    for second in range(5):
        _read(tracker, second, a=7)
    _read(tracker, 30.0, a=7, came=1)
    assert tracker.dead() == frozenset()
    assert tracker.unconfirmed() == {"a", "came"}
    for second in range(32, 40, 2):
        _read(tracker, second, a=7, came=1)
        assert tracker.dead() == frozenset()
    _read(tracker, 40.0, a=7, came=1)
    assert tracker.dead() == {"a", "came"}


def test_an_outage_brings_nobody_back_who_was_dead_before_it() -> None:
    """Their rows stand until they are purged: each hiccup would resurrect every one of them."""
    tracker = _tracker()
    for second in range(11):
        _read(tracker, second, a=7)
    _read(tracker, 20.0, a=7)
    assert tracker.dead() == {"a"}
    assert tracker.unconfirmed() == frozenset()
    _read(tracker, 30.0, a=8)
    assert tracker.dead() == frozenset()


def test_a_gap_as_long_as_allowed_is_none() -> None:
    tracker = _tracker()
    for second in (0, 3, 6, 9, 10):
        _read(tracker, second, a=7)
    assert tracker.dead() == {"a"}


def test_the_values_order_means_nothing_so_a_clock_step_kills_nobody() -> None:
    """Whatever a beat is made of, only that it differs from the last one counts."""
    tracker = _tracker()
    for second in range(0, 30, 2):
        _read(tracker, second, back=1000 - second, ahead=10**9 * (second % 4))
    assert tracker.dead() == frozenset()


def test_a_slow_answer_proves_no_silence() -> None:
    """It begins with an answer and ends with a sending: what lies between them proves nothing."""
    tracker = _tracker()
    tracker.observe({"a": 7}, sent=0.0, answered=2.0)
    for second in (4, 6, 8, 10):
        _read(tracker, second, a=7)
    assert tracker.dead() == frozenset()
    tracker.observe({"a": 7}, sent=11.9, answered=13.0)
    assert tracker.dead() == frozenset()
    tracker.observe({"a": 7}, sent=tracker.expiry(), answered=13.1)
    assert tracker.dead() == {"a"}


def test_a_read_sent_at_the_expiry_shows_the_death_whatever_the_rounding() -> None:
    tracker = ChangeTracker(timeout=0.1, max_gap=math.inf)
    start = 12345.678901
    for step in range(1000):
        answered = start + step / 7
        tracker.observe({"a": step}, sent=answered, answered=answered)
        due = tracker.expiry()
        tracker.observe({"a": step}, sent=due, answered=due)
        assert tracker.dead() == {"a"}


def _look(tracker: ChangeTracker, at: float, **beats: int) -> bool:
    return tracker.look(tracker.suspects(at), beats, sent=at, answered=at)


def test_a_look_at_the_suspects_alone_says_of_them_what_a_complete_read_says() -> None:
    tracker = _tracker()
    for second in range(10):
        _read(tracker, second, silent=7, gone=7, moved=7, beats=second)
    assert tracker.suspects(9.9) == frozenset()
    assert tracker.suspects(10.0) == {"silent", "gone", "moved"}
    assert _look(tracker, 10.0, silent=7, moved=8)
    assert tracker.dead() == {"silent", "gone"}
    assert tracker.unconfirmed() == frozenset()
    assert tracker.suspects(10.0) == frozenset()
    assert tracker.expiry() == 19.0  # of the one that beat at 9 s
    _read(tracker, 11.0, silent=8, moved=8, beats=9)
    assert tracker.dead() == frozenset()


def test_a_look_after_a_gap_proves_nothing_and_leaves_the_gap_to_the_next_read() -> None:
    tracker = _tracker()
    for second in range(8):
        _read(tracker, second, a=7)
    assert not _look(tracker, 11.0, a=7)
    assert tracker.dead() == frozenset()
    _read(tracker, 11.0, a=7)
    assert tracker.dead() == frozenset()
    assert tracker.unconfirmed() == {"a"}


def test_nobody_is_nobodys_death() -> None:
    tracker = _tracker()
    _read(tracker, 0.0)
    assert tracker.dead() == tracker.unconfirmed() == frozenset()
    assert tracker.expiry() == math.inf
