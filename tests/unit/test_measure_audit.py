"""The audit: what is held against the harness, and what is explained by a fault."""

from __future__ import annotations

import pytest

from bench.measure.audit import Bounds, audit
from bench.measure.detection import victims
from bench.result import Kind, Parameters, Verdict
from tests.unit.history import History

ZK = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, servers=3)
BEATS = Parameters(kind="sql", profile="nova", interval=2.0, timeout=10.0)
"""Half a renewal a second."""


def judged(run: History, bounds: Bounds = Bounds()) -> tuple[str, dict[str, float | None], str]:  # noqa: B008 - frozen
    record = run.record()
    found = audit([record], victims(record), bounds)
    return str(found.verdict), found.figures, "\n".join(found.reasons)


def late(run: History, *times: float, shard: str = "shard-0") -> History:
    for t in times:
        run.sample(t, shard, "lateness", 3.0)
    return run


def test_lateness_is_told_apart_by_its_circumstances() -> None:
    """Only the steady state is held against the harness."""
    run = History(parameters=ZK).alive("a", clock="rack-0").alive("b", token=2, clock="shard-0")
    run.truth(20.0, Kind.SERVER_KILLED, "zk-1").truth(70.0, Kind.CUT, "a")
    run.truth(80.0, Kind.HEALED, "a")
    late(run, 5.0).sample(25.0, "shard-0", "lateness", 4.0)
    run.sample(75.0, "rack-0", "lateness", 5.0).audited()
    verdict, figures, _ = judged(run)
    assert (verdict, figures["lateness_p99"]) == (Verdict.VALID, 0.001)
    assert figures["lateness_p99_ramp"] == 3.0
    assert figures["lateness_p99_failover"] == 4.0
    assert figures["lateness_p99_impaired"] == 5.0


@pytest.mark.parametrize("t", [15.0, 40.0])
def test_the_bad_links_of_one_rack_excuse_no_other_shard(t: float) -> None:
    run = History(parameters=ZK).alive("a", clock="rack-0").truth(14.0, Kind.CUT, "a")
    verdict, _, reasons = judged(late(run.audited(), t))
    assert verdict == Verdict.INVALID
    assert "beats went out" in reasons


@pytest.mark.parametrize(
    ("t", "valid"),
    [
        pytest.param(19.0, False, id="before anything failed"),
        pytest.param(37.0, True, id="while the leader's death is felt"),
        pytest.param(39.0, False, id="long after"),
    ],
)
def test_a_loss_is_the_harnesss_unless_servers_were_failing(t: float, valid: bool) -> None:
    run = History(parameters=ZK).alive("a").truth(20.0, Kind.SERVER_KILLED, "zk-1")
    verdict, figures, _ = judged(run.truth(t, Kind.LOST, "a").audited())
    assert (verdict == Verdict.VALID, figures["losses"]) == (valid, 1 - valid)


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.LOSSY, Kind.DELAYED, Kind.SKEWED])
def test_a_loss_by_a_bad_link_or_clock_is_not_the_harnesss(kind: Kind) -> None:
    run = History(parameters=ZK).alive("a").truth(20.0, kind, "a").truth(40.0, Kind.LOST, "a")
    assert judged(run.audited())[0] == Verdict.VALID


@pytest.mark.parametrize("metric", ["loop_stall", "gil_stall"])
def test_a_shard_that_stood_still_makes_the_run_invalid(metric: str) -> None:
    run = History().alive("a").audited()
    run.sample(5.0, "shard-0", metric, 9.0).sample(30.0, "shard-0", metric, 0.4)
    verdict, figures, _ = judged(run)
    assert (verdict, figures[f"{metric}_max"]) == (Verdict.VALID, 0.4)
    verdict, _, reasons = judged(run.sample(40.0, "shard-0", metric, 1.5))
    assert verdict == Verdict.INVALID
    assert "stood still for 1.5s" in reasons
    assert "(bound 1s)" in reasons


def beating(count: int, missing: int = 0) -> History:
    """As many services on one shard, each second's renewals counted, from 10 s to 100 s."""
    run = History(parameters=BEATS)
    for number in range(count):
        run.alive(f"s{number}", token=number, clock="shard-0")
    for t in range(10, 101):
        run.sample(float(t), "shard-0", "renewals", 0.5 * (count - missing))
    return run


def test_the_rate_reached_is_what_was_sent_of_what_living_services_owe() -> None:
    """One of four crashes at 55: 4 x 45 s and 3 x 45 s, at half a renewal a second."""
    run = beating(4).truth(55.0, Kind.CRASHED, "s0")
    run.samples = [
        {**row, "value": 1.5} if row["metric"] == "renewals" and row["t"] > 55 else row
        for row in run.samples
    ]
    assert judged(run.audited())[1]["rate_reached"] == pytest.approx(1.0)


def test_who_is_frozen_or_has_lost_its_membership_owes_nothing() -> None:
    """Of two, one is frozen from 20 to 50, and then without a membership until 60."""
    run = beating(2).truth(20.0, Kind.FROZEN, "s0").truth(50.0, Kind.RESUMED, "s0")
    run.truth(50.0, Kind.LOST, "s0").truth(60.0, Kind.JOINED, "s0", incarnation=9, clock="shard-0")
    run.samples = [
        {**row, "value": 0.5} if row["metric"] == "renewals" and 20 < row["t"] <= 60 else row
        for row in run.samples
    ]
    assert judged(run.audited())[1]["rate_reached"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("missing", "valid"), [(0, True), (20, True), (60, False)])
def test_a_harness_that_sends_too_little_is_invalid(missing: int, valid: bool) -> None:
    """Of 1,000 services: 6% are too few; 2%, and what chance may take from 45,000, are not."""
    verdict, figures, reasons = judged(beating(1000, missing).audited())
    assert figures["rate_reached"] == pytest.approx(1 - missing / 1000)
    assert (verdict == Verdict.VALID) is valid
    assert ("only 94.0% of the renewals" in reasons) is not valid


@pytest.mark.parametrize(("joins_within", "valid"), [(0.2, True), (2.0, False)])
def test_who_joined_in_step_may_fall_short_by_one_renewal_each(
    joins_within: float, valid: bool
) -> None:
    """In 15 intervals 14 renewals: of a crowd the last one may be still to come, of services
    whose phases lie evenly half of them."""
    run = History(parameters=BEATS)
    for number in range(100):
        joined = 1.0 + joins_within * number / 100
        run.alive(f"s{number}", joined, token=number, clock="shard-0")
    for t in range(10, 41):
        run.sample(float(t), "shard-0", "renewals", 50.0 * 14 / 15)
    verdict, figures, _ = judged(run.audited())
    assert figures["rate_reached"] == pytest.approx(14 / 15)
    assert (verdict == Verdict.VALID) is valid


def test_without_a_count_of_renewals_nothing_is_said_of_their_rate() -> None:
    assert judged(History().alive("a").audited())[1]["rate_reached"] is None


def test_every_kind_of_fault_is_confirmed_by_its_onset_and_by_nothing_else() -> None:
    run = History(parameters=ZK)
    for number in range(9):
        run.alive(f"s{number}", token=number)
    onsets = [Kind.CRASHED, Kind.POWER_LOST, Kind.LEFT, Kind.FROZEN, Kind.SKEWED]
    onsets += [Kind.CUT, Kind.LOSSY, Kind.DELAYED]
    for number, kind in enumerate(onsets):
        run.truth(20.0, kind, f"s{number}")
    run.truth(21.0, Kind.RESTARTED, "s0").truth(21.0, Kind.RESUMED, "s3")
    run.truth(21.0, Kind.UNSKEWED, "s4").truth(21.0, Kind.HEALED, "s5")
    run.truth(22.0, Kind.SERVER_KILLED, "zk-1").truth(22.0, Kind.SERVER_PAUSED, "zk-2")
    run.truth(22.0, Kind.SERVER_STOPPED, "zk-3").truth(30.0, Kind.SERVER_CUT, "zk-1")
    run.truth(40.0, Kind.SERVER_BACK, "zk-1").sample(0.0, "harness", "faults_planned", 12)
    run.sample(11.0, "shard-0", "lateness", 0.001)
    verdict, figures, reasons = judged(run)
    assert (verdict, figures["faults_confirmed"], reasons) == (Verdict.VALID, 12, "")
