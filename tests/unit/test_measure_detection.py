"""Detection times: from the confirmed fault to each observer's event."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.measure.detection import COLUMNS, PARTS, first_and_every, quantiles, victims
from bench.measure.figures import mean_ci95, poisson_bounds95, poisson_upper95, spread
from bench.result import EVENTS, Kind, Parameters, frame
from tests.unit.history import History

TWO = ("o1", "o2")
TEN = Parameters(kind="sql", profile="nova", interval=4.0, timeout=10.0)
POLLED = replace(TEN, poll=2.0)
ZK = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, epoch=1000.0)


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
        "count": 1, "noticed": 1, "missed": 0, "mean": 57.0, "sd": None,
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


@pytest.mark.parametrize("onset", [Kind.CUT, Kind.LOSSY, Kind.DELAYED, Kind.SKEWED])
def test_what_befalls_a_link_or_a_clock_is_noticed_until_the_service_has_recovered(
    onset: Kind,
) -> None:
    """Nova read at each expiry: a timeout (60 s) and the delivery (1 s) after the healing."""
    healing = Kind.UNSKEWED if onset == Kind.SKEWED else Kind.HEALED
    run = History().alive("a").alive("b", token=2)
    for name in ("a", "b"):
        run.truth(12.0, onset, name, detail="in").truth(20.0, healing, name)
    run.told(70.0, Kind.LEFT, "a", token=1).told(82.0, Kind.LEFT, "b", token=2)
    rows = victims(run.record()).set_index("subject")
    assert set(rows["fault"]) == {str(onset)}
    assert rows["detection"].to_dict() == {"a": 58.0, "b": pytest.approx(np.nan, nan_ok=True)}
    assert rows["watched"].tolist() == [69.0, 69.0]
    assert rows["due"].isna().all()


def test_each_stop_of_a_service_that_flaps_is_an_onset_of_its_own() -> None:
    """Stopped at 20 and at 50, for 15 s each, with 10 s of patience: T = 10, read at expiry."""
    run = History(parameters=TEN).alive("a")
    for t in (20.0, 50.0):
        run.truth(t - 1, Kind.RENEWED, "a").truth(t, Kind.FROZEN, "a")
        run.truth(t + 15, Kind.RESUMED, "a").truth(t + 15.1, Kind.RENEWED, "a")
    run.told(29.1, Kind.LEFT, "a").told(35.2, Kind.JOINED, "a").told(59.3, Kind.LEFT, "a")
    rows = victims(run.record())
    assert rows["fault"].tolist() == ["flapped", "flapped"]
    assert rows["onset"].tolist() == [20.0, 50.0]
    assert rows["detection"].tolist() == [pytest.approx(9.1), pytest.approx(9.3)]
    assert rows["delivery"].tolist() == [pytest.approx(0.1), pytest.approx(0.3)]


def test_who_is_held_for_gone_already_need_not_be_noticed_again() -> None:
    """Stopped again before it had a chance to renew. The other observer had not yet noticed."""
    run = History(TWO, parameters=TEN).alive("a").truth(19.0, Kind.RENEWED, "a")
    for t in (20.0, 40.0):
        run.truth(t, Kind.FROZEN, "a").truth(t + 19, Kind.RESUMED, "a")
    run.told(29.1, Kind.LEFT, "a", "o1").truth(60.0, Kind.RENEWED, "a")
    rows = victims(run.record()).set_index(["observer", "onset"])["due"]
    assert [rows["o1", 20.0], rows["o2", 20.0], rows["o2", 40.0]] == [True, True, True]
    assert rows["o1", 40.0] is pd.NA
    assert quantiles(victims(run.record()))["missed"] == 1


def test_the_death_within_a_restart_is_of_the_old_life_and_has_no_closed_form() -> None:
    """The new process may end the old life before it expires."""
    run = History(parameters=TEN).alive("a").truth(19.0, Kind.RENEWED, "a")
    run.truth(20.0, Kind.CRASHED, "a").truth(22.0, Kind.RESTARTED, "a")
    run.truth(24.0, Kind.JOINED, "a", incarnation=2)
    run.told(24.1, Kind.LEFT, "a", token=1).told(24.1, Kind.JOINED, "a", token=2)
    (row,) = victims(run.record()).to_dict("records")
    assert (row["fault"], row["incarnation"], row["due"]) == ("restarted", 1, True)
    assert row["detection"] == pytest.approx(4.1)
    assert np.isnan([row[part] for part in PARTS]).all()


def test_a_loss_of_power_is_a_death() -> None:
    run = History().alive("a").truth(18.0, Kind.RENEWED, "a").truth(20.0, Kind.POWER_LOST, "a")
    run.told(78.2, Kind.LEFT, "a")
    (row,) = victims(run.record()).to_dict("records")
    assert (row["fault"], row["detection"], row["delivery"]) == (
        "power_lost",
        pytest.approx(58.2),
        pytest.approx(0.2),
    )


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        # Renewed at 18.5, struck at 20, noticed at 31.2.
        pytest.param(TEN, (-1.5, 10.0, 0.0, 2.7), id="read at expiry: due at 28.5"),
        pytest.param(POLLED, (-1.5, 10.0, 2.0, 0.7), id="polled every 2 s: by 30.5 at the latest"),
        pytest.param(ZK, (-1.5, 10.0, 1.5, 1.2), id="bucket: 28.5 is rounded up to 30"),
    ],
)
def test_the_parts_of_a_detection_add_up(
    parameters: Parameters, parts: tuple[float, float, float, float]
) -> None:
    run = History(parameters=parameters).alive("a").truth(18.5, Kind.RENEWED, "a")
    run.truth(20.0, Kind.CRASHED, "a").told(31.2, Kind.LEFT, "a")
    (row,) = victims(run.record()).to_dict("records")
    assert [row[part] for part in PARTS] == pytest.approx(parts)
    assert sum(row[part] for part in PARTS) == pytest.approx(row["detection"])
    figures = quantiles(victims(run.record()))
    assert figures["parts"] == pytest.approx(dict(zip(PARTS, parts, strict=True)))


def test_a_journal_of_reads_says_when_an_expiry_could_be_seen() -> None:
    """Sent at 28.4 and 30.1, answered 0.1 s later; what expires at 28.5 is in the second."""
    run = History(parameters=POLLED).alive("a").truth(18.5, Kind.RENEWED, "a")
    run.truth(28.5, Kind.READ, None, observer="o1", value=0.1)
    run.truth(30.2, Kind.READ, None, observer="o1", value=0.1)
    run.truth(20.0, Kind.CRASHED, "a").told(30.25, Kind.LEFT, "a")
    (row,) = victims(run.record()).to_dict("records")
    assert [row[part] for part in PARTS] == pytest.approx([-1.5, 10.0, 1.6, 0.15])


def test_a_tuned_reader_counts_from_the_answer_that_showed_it_the_last_beat() -> None:
    """The beat of 18.5 is in the read sent at 19 and answered at 19.2: due at 29.2."""
    tuned = replace(POLLED, profile="tuned")
    run = History(parameters=tuned).alive("a").truth(18.5, Kind.RENEWED, "a")
    for answered in (18.4, 19.2, 29.1, 29.5):
        run.truth(answered, Kind.READ, None, observer="o1", value=0.2)
    run.truth(20.0, Kind.CRASHED, "a").told(29.6, Kind.LEFT, "a")
    (row,) = victims(run.record()).to_dict("records")
    assert [row[part] for part in PARTS] == pytest.approx([-1.5, 10.0, 0.8, 0.3])


def test_a_tuned_readers_look_at_the_very_instant_shows_a_death() -> None:
    """Due at 29.2, and looked at by a journal whose clock says 0.5 ms before: not a poll later."""
    tuned = replace(POLLED, profile="tuned")
    run = History(parameters=tuned).alive("a").truth(18.5, Kind.RENEWED, "a")
    run.truth(18.9, Kind.LOOKED, None, observer="o1", value=0.3)  # at others
    for sent, answered in ((19.0, 19.2), (30.0, 30.2)):
        run.truth(answered, Kind.READ, None, observer="o1", value=answered - sent)
    run.truth(29.203, Kind.LOOKED, None, observer="o1", value=0.0035)
    run.truth(20.0, Kind.CRASHED, "a").told(29.204, Kind.LEFT, "a")
    (row,) = victims(run.record()).to_dict("records")
    assert row["delivery"] == pytest.approx(0.0045)


def test_a_tuned_reader_may_count_from_any_moment_of_the_read_that_showed_the_last_beat() -> None:
    """Sent at 19 and over at 19.2: the look sent at 29.05 may have been due."""
    tuned = replace(POLLED, profile="tuned")
    run = History(parameters=tuned).alive("a").truth(18.5, Kind.RENEWED, "a")
    for sent, answered in ((19.0, 19.2), (30.0, 30.2)):
        run.truth(answered, Kind.READ, None, observer="o1", value=answered - sent)
    run.truth(29.06, Kind.LOOKED, None, observer="o1", value=0.01)
    run.truth(20.0, Kind.CRASHED, "a").told(29.07, Kind.LEFT, "a")
    (row,) = victims(run.record()).to_dict("records")
    assert row["delivery"] == pytest.approx(0.02)


def test_near_an_outage_of_servers_no_closed_form_is_claimed() -> None:
    """A leader killed at 25 gives every session its whole timeout anew."""
    run = History(parameters=replace(ZK, servers=3)).alive("a").alive("b", token=2)
    run.truth(18.5, Kind.RENEWED, "a").truth(20.0, Kind.CRASHED, "a")
    run.truth(25.0, Kind.SERVER_KILLED, "zk-1").told(38.0, Kind.LEFT, "a")
    run.truth(78.5, Kind.RENEWED, "b").truth(80.0, Kind.CRASHED, "b").told(
        90.1, Kind.LEFT, "b", "o1", 2
    )
    rows = victims(run.record()).set_index("subject")
    assert np.isnan(rows.loc["a", list(PARTS)].astype(float)).all()
    assert rows.loc["a", "detection"] == 18.0
    assert rows.loc["b", "delivery"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("length", "noticed", "figures"),
    [
        # The last renewal at 19, so it expires at 29; a stop to 28 is over before, to 40 is not.
        pytest.param(8.0, False, (1, 0, 0, 0), id="too short, and not noticed: as it has to be"),
        pytest.param(8.0, True, (1, 1, 0, 1), id="too short, and noticed: unexpected"),
        pytest.param(20.0, True, (1, 1, 0, 0), id="long enough, and noticed"),
        pytest.param(20.0, False, (1, 0, 1, 0), id="long enough, and not noticed: missed"),
        pytest.param(9.5, False, (1, 0, 0, 0), id="near the edge, either is right"),
        pytest.param(9.5, True, (1, 1, 0, 0), id="near the edge, either is right: noticed"),
    ],
)
def test_only_a_stop_that_outlasts_the_timeout_has_to_be_noticed(
    length: float, noticed: bool, figures: tuple[int, int, int, int]
) -> None:
    run = History(parameters=TEN).alive("a").truth(19.0, Kind.RENEWED, "a")
    run.truth(20.0, Kind.FROZEN, "a").truth(20.0 + length, Kind.RESUMED, "a")
    run.truth(20.1 + length, Kind.RENEWED, "a")
    if noticed:
        run.told(min(29.5, 20.05 + length), Kind.LEFT, "a")
    found = quantiles(victims(run.record()))
    names = ("count", "noticed", "missed", "unexpected")
    assert tuple(found[name] for name in names) == figures


@pytest.mark.parametrize(
    ("direction", "healed", "due"),
    [
        # Interval 3, timeout 10: it expires between 27 and 30; what TCP holds up comes after as
        # long again as the cut took, and an observer is a second behind.
        pytest.param("both", 23.0, False, id="heard of again at 26 at the latest"),
        pytest.param("out", 24.0, None, id="perhaps not before 28"),
        pytest.param("out", 30.5, None, id="the observer may be behind"),
        pytest.param("both", 32.0, True, id="surely expired"),
        pytest.param("in", 60.0, None, id="its own packets pass"),
    ],
)
def test_a_cut_has_to_be_noticed_whichever_renewal_was_the_last(
    direction: str, healed: float, due: bool | None
) -> None:
    parameters = replace(TEN, interval=3.0)
    run = History(parameters=parameters).alive("a").truth(20.0, Kind.CUT, "a", detail=direction)
    run.truth(healed, Kind.HEALED, "a")
    (found,) = victims(run.record())["due"]
    assert found is pd.NA if due is None else found == due


def test_what_is_missed_was_watched_to_the_end_or_to_the_recovery() -> None:
    run = History(parameters=TEN).alive("a").alive("b", token=2)
    run.truth(20.0, Kind.CRASHED, "a").truth(30.0, Kind.FROZEN, "b")
    run.truth(50.0, Kind.RESUMED, "b").truth(51.0, Kind.RENEWED, "b")
    rows = victims(run.record()).set_index("subject")
    assert rows["watched"].to_dict() == {"a": 80.0, "b": 22.0}


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


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)]
)
def test_the_poisson_bounds_are_garwoods(count: int, low: float, high: float) -> None:
    """Two-sided; from tables."""
    assert poisson_bounds95(count) == pytest.approx((low, high), abs=1e-4)


def test_an_interval_over_runs_is_students() -> None:
    """1, 2, 3: mean 2, sd 1, and t of two degrees of freedom 4.3027: 2 +- 4.3027 / sqrt(3)."""
    assert mean_ci95([1.0, 2.0, 3.0]) == pytest.approx((-0.4841, 4.4841), abs=1e-4)
    assert mean_ci95([1.0]) is None


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
