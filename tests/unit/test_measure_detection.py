"""Detection times: from the confirmed fault to each observer's event."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.measure.detection import COLUMNS, first_and_every, quantiles, victims
from bench.measure.figures import poisson_upper95, spread
from bench.result import EVENTS, Kind, frame
from tests.unit.history import History

TWO = ("o1", "o2")


def test_a_crash_is_detected_once_per_observer() -> None:
    run = History(TWO).alive("a").truth(18.0, Kind.RENEWED, "a").truth(20.0, Kind.CRASHED, "a")
    run.told(75.0, Kind.LEFT, "a", "o1").told(77.0, Kind.LEFT, "a", "o2")
    rows = victims(run.record())
    assert list(rows.columns) == COLUMNS
    assert rows[
        ["subject", "fault", "incarnation", "client"]
    ].drop_duplicates().values.tolist() == [["a", "crashed", 1, "wire"]]
    assert rows["renewed"].tolist() == [18.0, 18.0]
    assert dict(zip(rows["observer"], rows["detection"], strict=True)) == {"o1": 55.0, "o2": 57.0}


def test_the_first_observer_gives_the_figures_and_the_last_stands_beside_them() -> None:
    run = History(TWO).alive("a").truth(20.0, Kind.CRASHED, "a")
    run.told(75.0, Kind.LEFT, "a", "o1").told(77.0, Kind.LEFT, "a", "o2")
    figures = quantiles(victims(run.record()))
    assert (figures["count"], figures["missed"], figures["mean"], figures["sd"]) == (
        1,
        0,
        55.0,
        None,
    )
    assert figures["every"] == {
        "count": 1, "missed": 0, "mean": 57.0, "sd": None,
        "p50": 57.0, "p90": 57.0, "p99": 57.0, "max": 57.0,
    }  # fmt: skip


def test_a_fault_that_one_observer_misses_is_detected_but_not_by_every_one() -> None:
    run = History(TWO).alive("a").truth(20.0, Kind.CRASHED, "a").told(75.0, Kind.LEFT, "a", "o1")
    rows = first_and_every(victims(run.record()))
    assert rows["first"].tolist() == [55.0]
    assert rows["every"].isna().all()


def test_a_fault_that_nobody_notices_is_counted_as_missed_and_has_no_times() -> None:
    figures = quantiles(victims(History(TWO).alive("a").truth(20.0, Kind.CRASHED, "a").record()))
    assert (figures["count"], figures["missed"]) == (1, 1)
    assert figures["mean"] is figures["p50"] is figures["p99"] is figures["max"] is None


def test_a_departure_told_before_the_fault_is_no_detection_of_it() -> None:
    run = History().alive("a").told(15.0, Kind.LEFT, "a").told(16.0, Kind.JOINED, "a")
    run.truth(20.0, Kind.CRASHED, "a").told(75.0, Kind.LEFT, "a")
    assert victims(run.record())["detected"].tolist() == [75.0]


@pytest.mark.parametrize("rest", [{"value": 0.05}, {"clock_error": 0.05}])
def test_a_notice_between_the_order_and_the_confirmation_takes_no_time(
    rest: dict[str, float],
) -> None:
    run = History().alive("a").truth(20.0, Kind.LEFT, "a", **rest).told(19.98, Kind.LEFT, "a")
    rows = victims(run.record())
    assert rows["detected"].tolist() == [19.98]
    assert rows["detection"].tolist() == [0.0]


def test_a_departure_of_another_life_is_no_detection_of_this_one() -> None:
    """The first life's end, heard of late, must not stand for the second one's."""
    run = History().alive("a", token=1).truth(30.0, Kind.JOINED, "a", incarnation=2)
    run.truth(40.0, Kind.CRASHED, "a", incarnation=2)
    run.told(41.0, Kind.LEFT, "a", token=1).told(41.0, Kind.JOINED, "a", token=2)
    run.told(90.0, Kind.LEFT, "a", token=2)
    rows = victims(run.record())
    assert rows["incarnation"].tolist() == [2]
    assert rows["detection"].tolist() == [50.0]


def test_without_tokens_the_life_begun_last_is_meant() -> None:
    run = History().alive("a", token=None).truth(20.0, Kind.CRASHED, "a")
    run.truth(60.0, Kind.JOINED, "a").told(50.0, Kind.LEFT, "a", token=None)
    run.told(70.0, Kind.LEFT, "a", token=None)
    assert victims(run.record())["detection"].tolist() == [30.0]


def test_a_renewal_of_an_earlier_life_is_none_of_this_one() -> None:
    run = History().alive("a").truth(5.0, Kind.RENEWED, "a")
    run.truth(30.0, Kind.JOINED, "a", incarnation=2).truth(40.0, Kind.CRASHED, "a", incarnation=2)
    assert victims(run.record())["renewed"].isna().all()


def test_a_freeze_is_noticed_only_while_it_lasts() -> None:
    run = History().alive("a").alive("b")
    for name in ("a", "b"):
        run.truth(20.0, Kind.FROZEN, name).truth(40.0, Kind.RESUMED, name)
        run.truth(40.5, Kind.RENEWED, name)
    run.told(30.0, Kind.LEFT, "a").told(60.0, Kind.LEFT, "b")
    rows = first_and_every(victims(run.record())).set_index("subject")["first"]
    assert rows["a"] == 10.0
    assert np.isnan(rows["b"])


def test_the_server_of_a_victim_is_that_of_its_join_unless_the_fault_says_so() -> None:
    run = History().alive("a", server="zk-1").truth(20.0, Kind.CRASHED, "a")
    run.alive("b", server="zk-1").truth(20.0, Kind.CRASHED, "b", server="zk-2")
    assert victims(run.record()).set_index("subject")["server"].to_dict() == {
        "a": "zk-1",
        "b": "zk-2",
    }


def test_no_fault_gives_no_rows_and_no_figures() -> None:
    rows = victims(History().alive("a").record())
    assert list(rows.columns) == COLUMNS
    assert quantiles(rows)["count"] == 0
    assert quantiles(rows)["mean"] is None


def test_ten_thousand_uniform_phases_give_the_closed_form_of_polled_sql() -> None:
    """Beat 10 s, timeout 60 s, poll 10 s: mean 60, 50 to 70, standard deviation 4.08."""
    rng = np.random.default_rng(1)
    times = 60 - rng.uniform(0, 10, 10_000) + rng.uniform(0, 10, 10_000)
    figures = spread(pd.Series(times))
    assert figures["mean"] == pytest.approx(60.0, abs=0.15)
    assert figures["sd"] == pytest.approx(4.08, abs=0.1)
    # Of a triangle from 50 to 70: 70 - sqrt(2 * 100 * 0.01).
    assert figures["p99"] == pytest.approx(68.59, abs=0.15)
    assert figures["p50"] == pytest.approx(60.0, abs=0.25)


def test_quantiles_lie_on_the_line_between_order_statistics() -> None:
    figures = spread(pd.Series([1.0, 2.0, 3.0, 4.0]))
    assert figures["p50"] == 2.5
    assert figures["p90"] == pytest.approx(3.7)
    assert figures["sd"] == pytest.approx(1.2909944)


def test_the_poisson_bound_is_exact() -> None:
    """None seen in the exposure: the rule of three. The others are from tables."""
    assert poisson_upper95(0) == pytest.approx(2.9957, abs=1e-4)
    assert poisson_upper95(1) == pytest.approx(4.7439, abs=1e-4)
    assert poisson_upper95(10) == pytest.approx(16.9622, abs=1e-4)


FATES = st.lists(
    st.tuples(
        st.sampled_from([None, Kind.CRASHED, Kind.LEFT]),
        st.floats(20, 40),
        st.lists(st.none() | st.floats(41, 99), min_size=2, max_size=2),
    ),
    max_size=6,
)


def _told(fates: list[tuple[Kind | None, float, list[float | None]]]) -> History:
    run = History(TWO)
    for number, (fault, onset, heard) in enumerate(fates):
        run.alive(f"s{number}", token=number)
        if fault is None:
            continue
        run.truth(onset, fault, f"s{number}", incarnation=number)
        for observer, t in zip(TWO, heard, strict=True):
            if t is not None:
                run.told(t, Kind.LEFT, f"s{number}", observer, number)
    return run


@settings(max_examples=15, deadline=None)
@given(FATES, st.randoms(use_true_random=False))
def test_every_victim_counts_once_whatever_the_order_of_rows(fates, random) -> None:  # type: ignore[no-untyped-def]
    """count = detected + missed; neither shuffled rows nor an unrelated event change a thing."""
    run = _told(fates)
    rows = victims(run.record())
    figures = quantiles(rows)
    heard = [[t for t in heard if t is not None] for fault, _, heard in fates if fault]
    assert figures["count"] == len(heard)
    assert figures["missed"] == sum(not times for times in heard)
    assert len(rows) == 2 * len(heard)

    random.shuffle(run.rows)
    run.truth(50.0, Kind.UPDATED, "s0", observer="o1").told(50.0, Kind.LEFT, "nobody")
    run.told(50.0, Kind.LEFT, "s0", observer="not-an-observer", token=0)
    again = victims(run.record())
    key = ["subject", "observer"]
    pd.testing.assert_frame_equal(
        again.sort_values(key, ignore_index=True), rows.sort_values(key, ignore_index=True)
    )


def test_an_empty_history_has_no_victims() -> None:
    record = History().record()
    empty = type(record)(**{**vars(record), "events": frame(EVENTS, {})})
    assert victims(empty).empty
