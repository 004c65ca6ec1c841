"""Mistakes: live services that an observer called dead."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.measure.exposure import Exposure, exposure
from bench.measure.mistakes import mistakes, quality
from bench.result import Kind, Parameters
from tests.unit.history import History

ZK = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, servers=3)


def figures(*runs: History) -> dict[str, Any]:
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


def test_a_frozen_service_called_dead_is_impaired_until_a_second_after_its_renewal() -> None:
    """An observer that reads at each expiry is behind by the delivery alone."""
    run = History().alive("a").truth(20.0, Kind.FROZEN, "a").truth(40.0, Kind.RESUMED, "a")
    run.truth(41.0, Kind.RENEWED, "a").told(30.0, Kind.LEFT, "a").told(43.0, Kind.JOINED, "a")
    row = mistakes(run.record()).iloc[0]
    assert (row["state"], row["start"], row["end"], row["wrong"]) == ("frozen", 30.0, 43.0, 1.0)
    result = figures(run)
    assert (result["count"], result["impaired"]["count"], result["frozen"]["count"]) == (0, 1, 1)
    assert (result["duration_mean"], result["frozen"]["duration_mean"]) == (None, 13.0)
    # Up from 10 to 20 and from 42 to 100; one second of that it was still called dead.
    assert result["exposure_service_seconds"] == pytest.approx(68.0)
    assert result["frozen"]["exposure_service_seconds"] == pytest.approx(22.0)
    assert result["query_accuracy"] == pytest.approx(1 - 1 / 68)


@pytest.mark.parametrize(
    ("begin", "end", "state"),
    [
        (Kind.CUT, Kind.HEALED, "cut"),
        (Kind.LOSSY, Kind.HEALED, "lossy"),
        (Kind.DELAYED, Kind.HEALED, "delayed"),
        (Kind.SKEWED, Kind.UNSKEWED, "skewed"),
    ],
)
@pytest.mark.parametrize(("t", "charged"), [(19.0, "up"), (21.0, None), (42.9, None), (43.1, "up")])
def test_what_links_and_clocks_cost_is_theirs_for_a_timeout_and_a_lag_after_the_healing(
    begin: Kind, end: Kind, state: str, t: float, charged: str | None
) -> None:
    """Nobody tells when such a service recovers: healed at 30, timeout 10, tick 2, delivery 1."""
    run = History(parameters=ZK).alive("a").truth(20.0, begin, "a").truth(30.0, end, "a")
    run.told(t, Kind.LEFT, "a")
    assert mistakes(run.record())["state"].tolist() == [charged or state]


def test_who_lost_its_membership_by_a_cut_is_impaired_until_it_joins_again() -> None:
    run = History(parameters=ZK).alive("a").truth(20.0, Kind.CUT, "a").truth(30.0, Kind.HEALED, "a")
    run.told(29.0, Kind.LEFT, "a").truth(35.0, Kind.LOST, "a")
    run.truth(50.0, Kind.JOINED, "a", incarnation=2).told(50.1, Kind.JOINED, "a", token=2)
    # Up from 10 to 20 and from 53 to 100: a lag of 3 s after the join.
    result = figures(run)
    assert result["exposure_service_seconds"] == pytest.approx(57.0)
    assert (result["count"], result["cut"]["count"]) == (0, 1)
    assert result["query_accuracy"] == 1.0


def outage() -> History:
    """A leader killed at 30 and back at 40: felt for 5 + 10 + 3 s after each, until 58."""
    run = History(parameters=ZK).alive("a").alive("b").alive("c")
    run.truth(30.0, Kind.SERVER_KILLED, "zk-1", detail="leader")
    return run.truth(40.0, Kind.SERVER_BACK, "zk-1", value=10.0)


def test_what_servers_fail_is_counted_against_them_as_one_episode() -> None:
    run = outage().told(41.0, Kind.LEFT, "a").told(57.0, Kind.LEFT, "b").told(64.0, Kind.LEFT, "c")
    result = figures(run)
    assert (result["count"], result["episodes"]) == (3, 2)
    assert (result["outage"]["count"], result["outage"]["episodes"]) == (2, 1)
    assert (result["up"]["count"], result["up"]["episodes"]) == (1, 1)
    # Three services for 90 s, 28 s of them (30 to 58) in the outage.
    assert result["exposure_service_seconds"] == pytest.approx(3 * 90)
    assert result["outage"]["exposure_service_seconds"] == pytest.approx(3 * 28)
    assert result["up"]["exposure_service_seconds"] == pytest.approx(3 * 62)
    assert result["outage"]["per_hour"] == pytest.approx(2 / (28 / 3600))
    assert result["up"]["per_hour"] == pytest.approx(1 / (62 / 3600))


def test_an_impaired_services_mistake_in_an_outage_is_its_impairments() -> None:
    run = outage().truth(25.0, Kind.FROZEN, "a").told(41.0, Kind.LEFT, "a")
    assert mistakes(run.record())["state"].tolist() == ["frozen"]
    assert figures(run)["outage"]["exposure_service_seconds"] == pytest.approx(2 * 28)


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
    # Garwood: one seen bounds the mean to 0.0253 to 5.572.
    assert result["rate_bounds95"] == pytest.approx([0.025318 / 135, 5.571643 / 135], rel=1e-4)
    assert result["per_hour_bounds95"] == pytest.approx([0.025318 * 40, 5.571643 * 40], rel=1e-4)


def test_no_mistake_still_has_an_upper_bound() -> None:
    result = figures(History().alive("a"))
    assert (result["count"], result["rate"]) == (0, 0.0)
    assert result["rate_upper95"] == pytest.approx(2.9957 / 90, rel=1e-4)
    assert result["query_accuracy"] == 1.0


def test_mistakes_that_an_observer_may_learn_of_together_are_one_episode_in_each_run() -> None:
    """It is behind by a second at most if it reads each row at its expiry, by 3 with a tick of 2:
    a bucket of sessions is as far from the next one."""

    def run(index: int) -> History:
        history = History(index=index).alive("a").alive("b").alive("c")
        history.told(20.0, Kind.LEFT, "a").told(20.9, Kind.LEFT, "b")
        return history.told(40.0, Kind.LEFT, "c")

    result = figures(run(0), run(1))
    assert (result["count"], result["episodes"]) == (6, 4)
    assert result["episodes_per_hour"] == pytest.approx(4 / (180 / 3600))
    buckets = History(parameters=ZK).alive("a").alive("b").alive("c")
    buckets.told(20.0, Kind.LEFT, "a").told(22.1, Kind.LEFT, "b").told(25.2, Kind.LEFT, "c")
    assert figures(buckets)["episodes"] == 2


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
