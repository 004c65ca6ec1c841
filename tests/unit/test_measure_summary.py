"""Summaries: what is pooled, what is audited, which verdict comes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.measure.across import ci95
from bench.measure.audit import Bounds
from bench.measure.convergence import convergence
from bench.measure.detection import victims
from bench.measure.joins import joins
from bench.measure.load import harness_cpu_cores, load
from bench.measure.reads import reads
from bench.measure.summary import summarise
from bench.result import EVENTS, METRICS, Kind, Record, frame
from bench.scenario.slo import parse
from tests.unit.history import NOVA, History


def crash(detected: float = 78.0, **rest: Any) -> History:
    """Two services, one of which crashes and is noticed by both observers."""
    run = History(("o1", "o2"), **rest).alive("a").alive("b", client="library")
    run.truth(18.0, Kind.RENEWED, "a").truth(20.0, Kind.CRASHED, "a")
    return run.told(detected, Kind.LEFT, "a", "o1").told(detected + 1, Kind.LEFT, "a", "o2")


def metered(run: History) -> History:
    for t in (5.0, 50.0, 105.0):
        for server in ("server", "server-2"):
            run.sample(t, server, "cpu_seconds", t / 4)
            run.sample(t, server, "rss_bytes", 1e8 + (5e7 if t == 50.0 else 0))
            run.sample(t, server, "packets_received", 30 * t)
            run.sample(t, server, "packets_sent", 20 * t)
        run.sample(t, "harness", "cpu_seconds", t / 10)
        run.sample(t, "library", "cpu_seconds", t)
        run.sample(t, "o1", "rss_bytes", 9e9)
        run.sample(t, "machine", "network_bytes", 1000 * t)
    return run


def test_loads_are_over_the_window_and_by_the_service() -> None:
    figures = load(metered(crash()).record())
    assert figures["server_cpu_cores"] == pytest.approx(0.5)
    assert figures["server_rss_max_bytes"] == pytest.approx(3e8)
    assert figures["network_bytes"] == pytest.approx(90_000)
    assert figures["network_bytes_per_service_second"] == pytest.approx(500)
    assert figures["packets_per_service_second"] == pytest.approx(50)
    assert figures["statements"] is figures["disk_write_bytes_per_service_second"] is None
    assert harness_cpu_cores(metered(crash()).record()) == pytest.approx(0.1)


def test_what_the_servers_send_and_write_goes_before_what_the_machine_does() -> None:
    """Two servers, each 10 + 5 + 3 B/s; what two servers say to each other is counted at one."""
    run = crash()
    for t in (0.0, 100.0):
        for server in ("server", "server-2"):
            run.sample(t, server, "client_bytes_received", 10 * t)
            run.sample(t, server, "client_bytes_sent", 5 * t)
            run.sample(t, server, "peer_bytes_received", 3 * t)
        run.sample(t, "machine", "network_bytes", 1000 * t)
        run.sample(t, "machine", "disk_write_bytes", 2000 * t)
    figures = load(run.record())
    assert figures["network_bytes_per_service_second"] == pytest.approx(18)
    assert figures["machine_network_bytes"] == pytest.approx(90_000)
    assert figures["disk_write_bytes"] == figures["machine_disk_write_bytes"] == 180_000


def test_settling_is_no_load() -> None:
    run = crash()
    run.rows[0]["subject"] = "settle"
    run.truth(60.0, Kind.PHASE, "hold")
    for t, value in ((0.0, 0.0), (60.0, 6000.0), (100.0, 6040.0)):
        run.sample(t, "server", "statements", value)
    assert load(run.record())["statements"] == pytest.approx(40)


def test_a_counter_goes_on_where_its_server_started_again() -> None:
    run = crash()
    for t, value in ((10.0, 100.0), (50.0, 140.0), (60.0, 10.0), (100.0, 50.0)):
        run.sample(t, "server", "statements", value)
    assert load(run.record())["statements"] == pytest.approx(90)


def test_convergence_is_when_the_last_observer_agreed_and_over_how_many_views() -> None:
    run = History(("o1", "o2")).alive("a").alive("b").alive("c")
    run.truth(20.0, Kind.CRASHED, "a").truth(21.0, Kind.CRASHED, "b")
    run.told(75.0, Kind.LEFT, "a", "o1").told(76.0, Kind.LEFT, "b", "o1")
    run.told(75.0, Kind.LEFT, "b", "o2").told(78.0, Kind.LEFT, "a", "o2")
    record = run.record()
    rows = convergence(record, victims(record))
    # All three; without a; without b; without both.
    assert rows[["phase", "victims", "onset", "agreed", "seconds", "views"]].values.tolist() == [
        ["hold", 2, 21.0, 78.0, 57.0, 4]
    ]


def test_a_bad_link_that_nobody_had_to_notice_keeps_nobody_from_agreeing() -> None:
    """Of two that were lossy one was noticed, by both observers; the other by none."""
    run = History(("o1", "o2")).alive("a").alive("b", token=2)
    run.truth(20.0, Kind.LOSSY, "a").truth(20.0, Kind.LOSSY, "b")
    run.told(40.0, Kind.LEFT, "a", "o1").told(43.0, Kind.LEFT, "a", "o2")
    record = run.record()
    rows = convergence(record, victims(record))
    assert rows[["victims", "seconds", "views"]].values.tolist() == [[1, 23.0, 2]]


def test_repeats_are_pooled_and_the_ramp_is_averaged() -> None:
    summary = summarise(
        [crash().audited().record(), crash(79.0, repeat=1, index=1).audited().record()]
    )
    figures = summary["backends"]["db"]
    assert (summary["verdict"], summary["reasons"]) == ("valid", [])
    assert (figures["runs"], figures["services"]) == (2, 2)
    assert figures["clients"] == {"wire": 1, "library": 1}
    assert figures["detection"]["count"] == 2
    assert figures["detection"]["mean"] == pytest.approx(58.5)
    assert figures["detection"]["every"]["mean"] == pytest.approx(59.5)
    assert (figures["join"]["ramp_seconds"], figures["join"]["p50"]) == (0.5, 0.5)
    assert figures["audit"]["model_error_p99"] == pytest.approx(0.99)
    assert figures["audit"]["faults_confirmed"] == 2


def test_the_points_of_a_matrix_stand_each_for_itself() -> None:
    runs = [crash(index=n, point={"services.count": n}).audited().record() for n in (1, 2)]
    summary = summarise(runs, slo=[parse("db: detection.missed == 0")])
    assert list(summary["backends"]) == ["db [services.count=1]", "db [services.count=2]"]
    assert [row["ok"] for row in summary["slo"]] == [True, True]


def test_detection_is_about_crashes_and_other_faults_have_their_own_figures() -> None:
    run = crash().alive("c").truth(30.0, Kind.LEFT, "c").told(31.0, Kind.LEFT, "c")
    detection = summarise([run.audited().record()])["backends"]["db"]["detection"]
    assert (detection["count"], detection["left"]["count"], detection["left"]["mean"]) == (
        1,
        1,
        1.0,
    )
    assert "frozen" not in detection


def test_each_run_stands_beside_the_pooled_figures_with_intervals_of_the_means() -> None:
    """Two runs whose first observers noticed after 58 and 59 s: mean 58.5, sd 0.7071, and t of one
    degree of freedom 12.706: 58.5 +- 12.706 x 0.7071 / sqrt(2) = 58.5 +- 6.353."""
    figures = summarise(
        [crash().audited().record(), crash(79.0, repeat=1, index=1).audited().record()]
    )["backends"]["db"]
    assert [(run["index"], run["repeat"]) for run in figures["per_run"]] == [(0, 0), (1, 1)]
    assert [run["detection"]["mean"] for run in figures["per_run"]] == [58.0, 59.0]
    assert figures["ci95"]["detection"]["mean"] == pytest.approx([52.147, 64.853], abs=1e-3)
    assert figures["ci95"]["detection"]["every"]["mean"] == pytest.approx(
        [53.147, 65.853], abs=1e-3
    )
    assert figures["ci95"]["detection"]["count"] == [1.0, 1.0]
    assert "sd" not in figures["ci95"]["detection"]
    assert figures["per_run"][0]["audit"]["faults_confirmed"] == 1


def test_one_run_has_no_interval() -> None:
    figures = summarise([crash().audited().record()])["backends"]["db"]
    assert not {"per_run", "ci95"} & figures.keys()


def test_an_interval_wants_two_runs_that_have_the_figure() -> None:
    runs: list[dict[str, Any]] = [
        {"a": {"x": 1.0, "y": None}, "b": 2},
        {"a": {"x": 1.0, "y": 3.0}, "c": [1.0]},
    ]
    assert ci95(runs) == {"a": {"x": [1.0, 1.0]}}


def test_joins_are_timed_to_the_answer_to_every_observer_and_again_after_a_loss() -> None:
    """Asked at 0.5, answered at 1; the last observer is told at 1.3. Lost at 30, back at 34;
    started anew at 40, back at 46."""
    run = History(("o1", "o2")).alive("a").alive("b", t=3.0, token=2)
    run.rows = [
        {**row, "t": 1.3} if (row["subject"], row.get("observer")) == ("a", "o2") else row
        for row in run.rows
    ]
    run.truth(30.0, Kind.LOST, "a").truth(34.0, Kind.JOINED, "a", incarnation=3)
    run.truth(35.0, Kind.CRASHED, "b").truth(40.0, Kind.RESTARTED, "b")
    run.truth(46.0, Kind.JOINED, "b", incarnation=4)
    assert joins([run.record()]) == {
        "ramp_seconds": 2.5,
        "p50": 0.5,
        "p99": 0.5,
        "seen_p50": pytest.approx(0.15),
        "seen_p99": pytest.approx(0.297),
        "views": 3,
        "again": {"count": 2, "p50": 5.0, "p99": pytest.approx(5.98)},
    }


def test_reads_are_by_the_observer_and_second() -> None:
    """90 s; one observer read 9 times, the other 18 times, in 0.1 s each."""
    run = History(("o1", "o2")).alive("a")
    for number in range(27):
        observer = "o2" if number % 3 else "o1"
        run.truth(11.0 + 3 * number, Kind.READ, None, observer=observer, value=0.1)
    run.sample(10.0, "o1", "rows_read", 100).sample(100.0, "o1", "rows_read", 1000)
    figures = reads([run.record()])
    assert figures["per_second"] == pytest.approx(27 / 2 / 90)
    assert figures["seconds_p50"] == figures["seconds_p99"] == pytest.approx(0.1)
    assert figures["rows_read_per_second"] == pytest.approx(10 / 2)
    assert figures["bytes_read_per_second"] is None
    assert reads([History().alive("a").record()])["per_second"] is None


def test_a_summary_is_plain_json() -> None:
    summary = summarise([History().alive("a").record()], slo=[parse("detection.p99 <= 1s")])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize(
    ("rule", "value", "ok"),
    [
        ("db: detection.p99 <= 58s", 58.0, True),
        ("detection.max < 58s", 58.0, False),
        ("mistakes.count == 0", 0, True),
        ("load.statements <= 5", None, False),
    ],
)
def test_an_objective_holds_by_its_figure_and_never_without_one(
    rule: str, value: float | None, ok: bool
) -> None:
    (row,) = summarise([crash().audited().record()], slo=[parse(rule)])["slo"]
    assert (row["rule"], row["backend"], row["value"], row["ok"]) == (rule, "db", value, ok)
    assert (row["reason"] is None) == (value is not None)


def test_an_objective_about_a_backend_that_did_not_run_fails() -> None:
    (row,) = summarise([crash().audited().record()], slo=[parse("zk: mistakes.count == 0")])["slo"]
    assert (row["backend"], row["ok"], row["reason"]) == ("zk", False, "no run of backend zk")


@dataclass(frozen=True)
class Flaw:
    """Something wrong with a run, and what is to be said about it."""

    make: Callable[[History], object]
    says: str
    verdict: str = "invalid"
    bounds: Bounds = field(default_factory=Bounds)


FLAWS = {
    "late": Flaw(lambda run: run.sample(30.0, "shard-0", "lateness", 9.0), "late at the 99th"),
    "clock": Flaw(
        lambda run: run.truth(30.0, Kind.RESYNCED, "a", observer="o1", clock_error=0.2),
        "the worst clock is known to 0.2s only",
    ),
    "cpu": Flaw(metered, "the harness used 0.1 cores", bounds=Bounds(harness_cpu_cores=0.05)),
    "cpu not measured": Flaw(
        lambda _: None,
        "harness_cpu_cores was not recorded",
        "unknown",
        Bounds(harness_cpu_cores=0.05),
    ),
    "model": Flaw(
        lambda run: run.told(77.0, Kind.LEFT, "a"),
        "detections lie 1s off the closed form",
        bounds=Bounds(model_error_p99=0.5),
    ),
    "fault": Flaw(lambda run: run.sample(1.0, "harness", "faults_planned", 3), "1 of 3 faults"),
    "join": Flaw(lambda run: setattr(run, "services", 5), "2 of 5 services joined in repeat 0"),
    "lost": Flaw(lambda run: run.truth(30.0, Kind.LOST, "b"), "1 live services lost"),
    "broken": Flaw(lambda run: setattr(run, "complete", False), "broke off", "unknown"),
    "no lateness": Flaw(lambda run: run.samples.pop(1), "lateness_p99 was not recorded", "unknown"),
}


@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS.keys())
def test_a_flawed_run_is_never_valid_and_says_why(flaw: Flaw) -> None:
    run = crash().audited()
    flaw.make(run)
    summary = summarise([run.record()], flaw.bounds)
    assert summary["verdict"] == flaw.verdict
    assert [reason for reason in summary["reasons"] if flaw.says in reason], summary["reasons"]
    assert all(reason.startswith("db: ") for reason in summary["reasons"])


def test_lateness_in_the_ramp_is_reported_apart_and_not_held_against_the_run() -> None:
    summary = summarise([crash().audited().sample(3.0, "shard-0", "lateness", 9.0).record()])
    assert summary["verdict"] == "valid"
    assert summary["backends"]["db"]["audit"]["lateness_p99_ramp"] == 9.0


def test_a_loss_while_frozen_is_the_faults_and_not_the_harnesss() -> None:
    run = crash().truth(30.0, Kind.FROZEN, "b").truth(95.0, Kind.RESUMED, "b")
    run.truth(95.1, Kind.LOST, "b").truth(95.2, Kind.JOINED, "b", incarnation=2)
    assert summarise([run.audited().record()])["verdict"] == "valid"


def test_losses_may_be_allowed_where_servers_fail_on_purpose() -> None:
    run = crash().truth(30.0, Kind.LOST, "b").audited()
    assert summarise([run.record()], Bounds(losses=None))["verdict"] == "valid"


def test_no_run_at_all_is_unknown() -> None:
    summary = summarise([])
    assert (summary["verdict"], summary["backends"]) == ("unknown", {})
    assert summary["reasons"] == ["no run was recorded"]


def ten_thousand() -> Record:
    """10,000 services, 4 observers, 1,000 crashes, 300,000 samples of lateness."""
    rng = np.random.default_rng(5)
    count, struck, observers = 10_000, 1_000, ("o1", "o2", "o3", "o4")
    names = np.array([f"compute-{number:06d}" for number in range(count)])
    tokens = np.arange(count) + 2**33
    joined = pd.DataFrame(
        {"t": rng.uniform(0, 9, count), "kind": "joined", "subject": names, "incarnation": tokens}
    ).assign(client="wire")
    crashed = pd.DataFrame({"t": rng.uniform(20, 40, struck), "kind": "crashed"})
    crashed = crashed.assign(subject=names[:struck], incarnation=tokens[:struck])
    renewed = crashed.assign(kind="renewed", t=crashed["t"] - rng.uniform(0, 10, struck))
    left = crashed.assign(kind="left", t=renewed["t"] + 60)
    told = [
        part.assign(observer=name, t=part["t"] + rng.uniform(0, 0.01, len(part)))
        for name in observers
        for part in (joined, left)
    ]
    edges = pd.DataFrame({"t": [10.0, 110.0], "kind": ["phase", "end"], "subject": ["hold", None]})
    events = pd.concat([joined.assign(kind="joining"), joined, crashed, renewed, edges, *told])
    lateness = pd.DataFrame({"t": rng.uniform(0, 110, 300_000), "value": 0.001})
    metrics = lateness.assign(source="shard-0", metric="lateness")
    planned = {"t": 0.0, "source": "harness", "metric": "faults_planned", "value": struck}
    metrics = pd.concat([metrics, pd.DataFrame([planned])])
    return Record(
        index=0,
        backend="db",
        repeat=0,
        services=count,
        observers=observers,
        parameters=NOVA,
        events=frame(EVENTS, events.assign(backend="db", repeat=0)),
        metrics=frame(METRICS, metrics.assign(backend="db", repeat=0)),
    )


def test_ten_thousand_services_are_summarised_in_seconds_of_cpu() -> None:
    """CPU time, which a busy machine doesn't stretch much; the bound is ten times what it takes."""
    record = ten_thousand()
    started = time.process_time()
    figures = summarise([record])["backends"]["db"]
    assert time.process_time() - started < 30
    assert (figures["detection"]["count"], figures["detection"]["missed"]) == (1000, 0)
    assert figures["detection"]["mean"] == pytest.approx(55.0, abs=0.3)
    assert figures["detection"]["sd"] == pytest.approx(2.89, rel=0.05)
    assert (figures["mistakes"]["count"], figures["mistakes"]["query_accuracy"]) == (0, 1.0)
