"""Mistakes: live services that an observer called dead."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.measure.mistakes import Exposure, exposure, mistakes, quality
from bench.result import Kind
from tests.unit.history import History


def figures(*runs: History) -> dict[str, float | None]:
    records = [run.record() for run in runs]
    total = sum((exposure(record) for record in records), Exposure())
    return quality(pd.concat([mistakes(record) for record in records]), total)


def test_a_mistake_lasts_until_the_same_observer_takes_it_back() -> None:
    run = History(("o1", "o2")).alive("a").told(20.0, Kind.LEFT, "a", "o1")
    run.told(22.0, Kind.JOINED, "a", "o2").told(25.0, Kind.JOINED, "a", "o1")
    rows = mistakes(run.record())
    assert rows[["observer", "start", "end", "censored", "state"]].values.tolist() == [
        ["o1", 20.0, 25.0, False, "up"]
    ]


def test_a_mistake_never_taken_back_is_censored_at_the_end() -> None:
    rows = mistakes(History().alive("a").told(20.0, Kind.LEFT, "a").record())
    assert rows[["end", "censored"]].values.tolist() == [[100.0, True]]


def test_a_mistake_about_a_service_that_then_dies_ends_with_its_death() -> None:
    run = History().alive("a").told(20.0, Kind.LEFT, "a").truth(50.0, Kind.CRASHED, "a")
    rows = mistakes(run.record())
    assert rows[["end", "censored"]].values.tolist() == [[50.0, True]]


def test_a_departure_that_is_true_is_no_mistake() -> None:
    run = History().alive("a").truth(20.0, Kind.CRASHED, "a").told(75.0, Kind.LEFT, "a")
    run.alive("b").truth(30.0, Kind.LEFT, "b", value=0.01).told(29.995, Kind.LEFT, "b")
    assert mistakes(run.record()).empty


def test_what_was_said_in_the_ramp_does_not_count() -> None:
    run = History().alive("a").told(5.0, Kind.LEFT, "a").told(6.0, Kind.JOINED, "a")
    assert mistakes(run.record()).empty


def test_saying_it_twice_is_one_mistake() -> None:
    run = History().alive("a").told(20.0, Kind.LEFT, "a").told(21.0, Kind.LEFT, "a")
    assert len(mistakes(run.record())) == 1


def test_a_new_life_seen_at_the_same_instant_takes_the_old_ones_mistake_back() -> None:
    """The session expired although its service lived: left and joined with a new token."""
    run = History().alive("a").truth(30.5, Kind.LOST, "a")
    run.truth(31.0, Kind.JOINED, "a", incarnation=2)
    run.told(31.0, Kind.JOINED, "a", token=2).told(31.0, Kind.LEFT, "a", token=1)
    rows = mistakes(run.record())
    assert rows[["incarnation", "start", "end", "censored"]].values.tolist() == [
        [1, 31.0, 31.0, False]
    ]


def test_two_observers_of_one_mistake_count_one_life() -> None:
    run = History(("o1", "o2")).alive("a")
    run.told(20.0, Kind.LEFT, "a", "o1").told(20.2, Kind.LEFT, "a", "o2")
    assert len(mistakes(run.record())) == 2
    assert figures(run)["count"] == 1


def test_a_frozen_service_called_dead_counts_as_impaired() -> None:
    run = History().alive("a").truth(20.0, Kind.FROZEN, "a").truth(40.0, Kind.RESUMED, "a")
    run.truth(41.0, Kind.RENEWED, "a").told(30.0, Kind.LEFT, "a").told(43.0, Kind.JOINED, "a")
    row = mistakes(run.record()).iloc[0]
    assert (row["state"], row["start"], row["end"], row["wrong"]) == ("impaired", 30.0, 43.0, 2.0)
    result = figures(run)
    assert (result["count"], result["impaired"], result["duration_mean"]) == (0, 1, None)
    # Up from 10 to 20 and from 41 to 100; two seconds of that it was still called dead.
    assert result["exposure_service_seconds"] == pytest.approx(69.0)
    assert result["query_accuracy"] == pytest.approx(1 - 2 / 69)


def test_rates_are_by_the_service_second_and_by_the_hour() -> None:
    run = History().alive("a").alive("b").truth(55.0, Kind.CRASHED, "b")
    run.told(20.0, Kind.LEFT, "a").told(23.0, Kind.JOINED, "a").told(95.0, Kind.LEFT, "b")
    result = figures(run)
    assert result["exposure_service_seconds"] == pytest.approx(90 + 45)
    assert result["rate"] == pytest.approx(1 / 135)
    assert result["rate_upper95"] == pytest.approx(4.7439 / 135, rel=1e-4)
    assert result["per_hour"] == pytest.approx(40.0)
    assert result["duration_mean"] == pytest.approx(3.0)
    assert result["query_accuracy"] == pytest.approx(1 - 3 / 135)


def test_no_mistake_still_has_an_upper_bound() -> None:
    result = figures(History().alive("a"))
    assert (result["count"], result["rate"]) == (0, 0.0)
    assert result["rate_upper95"] == pytest.approx(2.9957 / 90, rel=1e-4)
    assert result["query_accuracy"] == 1.0


def test_mistakes_close_together_are_one_episode_in_each_run() -> None:
    def run(index: int) -> History:
        history = History(index=index).alive("a").alive("b").alive("c")
        history.told(20.0, Kind.LEFT, "a").told(20.9, Kind.LEFT, "b")
        return history.told(40.0, Kind.LEFT, "c")

    result = figures(run(0), run(1))
    assert (result["count"], result["episodes"]) == (6, 4)
    assert result["episodes_per_hour"] == pytest.approx(4 / (180 / 3600))


def test_a_run_that_broke_off_in_its_ramp_says_nothing() -> None:
    run = History().alive("a")
    run.rows = [row for row in run.rows if row["kind"] != Kind.PHASE]
    result = figures(run)
    assert result["rate"] is result["rate_upper95"] is result["query_accuracy"] is None


TURNS = st.lists(st.floats(11, 99), max_size=8, unique=True).map(sorted)


@settings(max_examples=15, deadline=None)
@given(TURNS, TURNS)
def test_accuracy_is_what_the_observers_turns_leave_of_the_time(
    one: list[float], two: list[float]
) -> None:
    """left, joined, left, … of one observer about two services that live throughout."""
    run = History().alive("a").alive("b")
    wrong = 0.0
    for name, turns in (("a", one), ("b", two)):
        for number, t in enumerate(turns):
            run.told(t, Kind.JOINED if number % 2 else Kind.LEFT, name)
        edges = [*turns, 100.0][: len(turns) + len(turns) % 2]
        wrong += sum(edges[1::2]) - sum(edges[::2])
    result = figures(run)
    assert result["count"] == bool(one) + bool(two)
    assert result["query_accuracy"] == pytest.approx(1 - wrong / 180)
