"""What a plan makes of each kind of fault: the same for every backend, drawn from the seed."""

import json
import math
from collections.abc import Iterable

import numpy as np
import pytest

from bench.plan import OnLinks, OnServers, OnServices, Run, cost, plan
from bench.plan.draws import spread
from bench.randomness import stream
from bench.scenario import Spread, find, load

EIGHT_RACKS = ("services.count=400", "services.library=40", "services.racks=8")


def runs(*faults: str, more: Iterable[str] = ()) -> tuple[Run, ...]:
    """With these faults, a second apart."""
    phases = ", {hold: 1s}, ".join(f"{{fault: {{{fault}}}}}" for fault in faults)
    return plan(load(find("quickstart"), [*EIGHT_RACKS, f"phases=[{phases}]", *more]))


def services(run: Run, number: int = 0) -> OnServices:
    fault = run.faults[number]
    assert isinstance(fault, OnServices)
    return fault


def links(run: Run, number: int = 0) -> OnLinks:
    fault = run.faults[number]
    assert isinstance(fault, OnLinks)
    return fault


def test_a_rolling_fault_hits_one_victim_after_the_other_and_its_phase_lasts_that_long() -> None:
    run = runs("kind: restart, select: {count: 20}, every: 200ms, stop: leave, for: 1s")[0]
    fault = services(run)
    assert fault.at.tolist() == pytest.approx([0.2 * turn for turn in range(20)])
    assert run.phases[0].end == pytest.approx(4.0)
    assert fault.orderly
    assert set(fault.duration.tolist()) == {1.0}


@pytest.mark.parametrize(
    ("kind", "duration"),
    [("crash", math.inf), ("power-loss", math.inf), ("leave", math.inf), ("restart", 0.0)],
)
def test_what_is_not_said_lasts_for_good_and_a_restart_is_immediate(
    kind: str, duration: float
) -> None:
    fault = services(runs(f"kind: {kind}, select: {{count: 3}}")[0])
    assert fault.duration.tolist() == [duration] * 3
    assert (fault.onsets, fault.orderly) == (3, False)


def test_a_flap_has_an_onset_for_each_stop() -> None:
    fault = services(runs("kind: flap, select: {count: 4}, for: 2s, up: 3s, times: 5")[0])
    assert (fault.times, fault.up, fault.onsets) == (5, 3.0, 20)
    assert services(runs("kind: flap, select: {count: 4}, for: 2s, up: 3s")[0]).times == 3


def test_a_skew_keeps_its_sign_and_its_end() -> None:
    run = runs(
        "kind: skew, select: {count: 1}, offset: -90s",
        "kind: skew, select: {count: 1}, offset: 90s, for: 5s",
    )[0]
    behind, ahead = services(run, 0), services(run, 1)
    assert (behind.offset, behind.duration.tolist()) == (-90.0, [math.inf])
    assert (ahead.offset, ahead.duration.tolist()) == (90.0, [5.0])


def test_only_skews_of_library_services_need_their_clocks_to_be_settable() -> None:
    skew = "kind: skew, offset: 9s, select: {{count: 3, client: {}}}"
    assert runs(skew.format("library"))[0].skews_library
    assert not runs(skew.format("wire"))[0].skews_library
    assert not runs("kind: freeze, for: 9s, select: {count: 3, client: library}")[0].skews_library


def test_all_services_of_a_rack_can_be_selected_or_those_of_one_client() -> None:
    run = runs(
        "kind: crash, select: {racks: [2, 5]}",
        "kind: crash, select: {racks: [3], client: library}",
    )[0]
    assert services(run, 0).victims.tolist() == [*range(100, 150), *range(250, 300)]
    library = services(run, 1).victims
    assert run.library[library].all()
    assert set(run.rack[library].tolist()) == {3}
    assert len(library) == 5


def test_links_of_listed_racks_and_of_drawn_ones_take_in_all_their_services() -> None:
    run = runs(
        "kind: loss, select: {racks: [1]}, direction: out, rate: 80%, for: 9s",
        "kind: delay, select: {racks: 2}, delay: 100ms, jitter: 20ms",
    )[0]
    loss, delay = links(run, 0), links(run, 1)
    assert loss.racks == (1,)
    assert loss.victims.tolist() == list(range(50, 100))
    assert (loss.direction, loss.rate, loss.duration, loss.onsets) == ("out", 0.8, 9.0, 50)
    assert loss.at.tolist() == [0.0]
    assert len(delay.racks) == 2
    assert 1 not in delay.racks
    assert set(run.rack[delay.victims].tolist()) == set(delay.racks)
    assert (delay.direction, delay.delay, delay.jitter) == ("both", 0.1, 0.02)
    assert (delay.duration, delay.onsets) == (math.inf, 100)
    assert run.linked_racks == tuple(sorted({1, *delay.racks}))


def test_racks_are_drawn_from_the_seed_and_the_same_on_every_backend() -> None:
    cut = "kind: cut, select: {racks: 3}"
    drawn = [links(run).racks for seed in range(4) for run in runs(cut, more=[f"seed={seed}"])]
    by_seed = [set(drawn[place : place + 3]) for place in range(0, 12, 3)]
    assert [len(each) for each in by_seed] == [1] * 4
    assert len(set.union(*by_seed)) > 1


def test_no_service_meets_two_faults_whatever_is_drawn() -> None:
    faults = (
        "kind: crash, select: {count: 60}",
        "kind: cut, select: {racks: 2}",
        "kind: freeze, for: 3s, select: {count: 10, client: library}",
        "kind: power-loss, select: {names: [compute-000399]}",
        "kind: flap, for: 1s, up: 1s, select: {racks: [0]}",
        "kind: leave, select: {count: 100, client: wire}",
    )
    for seed in range(20):
        run = runs(*faults, more=[f"seed={seed}"])[0]
        victims = np.concatenate([fault.victims for fault in run.faults])
        assert len(set(victims.tolist())) == len(victims), f"seed {seed}"
        assert [len(fault.victims) for fault in run.faults] == [60, 100, 10, 1, 50, 100]


def test_another_fault_beside_it_leaves_a_draw_as_it_was() -> None:
    """Who is drawn depends on the fault's place and on who is free, not on the order of draws."""
    freeze = "kind: freeze, for: 3s, select: {count: 30, client: wire}"
    alone = services(runs(freeze)[0])
    together = services(runs(freeze, "kind: skew, offset: 9s, select: {count: 5}")[0])
    assert together.victims.tolist() == alone.victims.tolist()
    assert together.at.tolist() == alone.at.tolist()


def test_durations_are_drawn_for_each_victim_and_shared_by_the_backends() -> None:
    pause = "kind: freeze, select: {count: 300}, for: {exponential: 8s}"
    found = runs(pause, more=["repeat=2"])
    drawn = [tuple(services(run).duration.tolist()) for run in found]
    assert len(set(drawn[0])) == 300
    assert len(set(drawn[:3])) == len(set(drawn[3:])) == 1
    assert drawn[0] != drawn[3]


@pytest.mark.parametrize(
    ("law", "mean", "median", "longest"),
    [
        ({"exponential": 8.0}, 8.0, 8.0 * math.log(2), math.inf),
        ({"uniform": (2.0, 30.0)}, 16.0, 16.0, 30.0),
        ({"lognormal": {"median": 4.0, "sigma": 1.0}}, 4.0 * math.exp(0.5), 4.0, math.inf),
    ],
)
def test_drawn_durations_follow_their_law(
    law: dict[str, object], mean: float, median: float, longest: float
) -> None:
    drawn = spread(Spread.model_validate(law), stream(7, "law"), 200_000)
    assert drawn.mean() == pytest.approx(mean, rel=0.02)
    assert np.median(drawn) == pytest.approx(median, rel=0.02)
    assert drawn.min() >= (2.0 if "uniform" in law else 0.0)
    assert drawn.max() <= longest


def test_a_law_with_an_endless_tail_stays_finite() -> None:
    law = Spread.model_validate({"lognormal": {"median": 1.0, "sigma": 1000.0}})
    assert np.isfinite(spread(law, stream(7, "law"), 1000)).all()


def test_servers_are_counted_by_backend_and_what_makes_no_sense_is_left_out() -> None:
    """The phase stays, so that all backends are watched at the same instants."""
    found = runs(
        "kind: kill, servers: leader, for: 5s",
        "kind: kill, servers: majority",
        more=["backends.zk.servers=3"],
    )
    sql = [run for run in found if run.backend.kind == "sql"]
    [zookeeper] = [run for run in found if run.backend.kind == "zookeeper"]
    for run in sql:
        assert [fault.onsets for fault in run.faults] == [1]
        assert [phase.kind for phase in run.phases] == ["fault", "hold", "fault"]
        assert run.phases[2].fault is None
    leader, majority = zookeeper.faults
    assert isinstance(leader, OnServers)
    assert isinstance(majority, OnServers)
    assert (leader.servers, leader.duration, leader.onsets) == ("leader", 5.0, 1)
    assert (majority.servers, majority.duration, majority.onsets) == ("majority", math.inf, 2)
    assert 0 <= leader.choice < 1
    assert leader.choice != majority.choice
    assert len(leader.victims) == 0


def test_a_restart_of_servers_starts_them_again_at_once() -> None:
    [fault] = runs("kind: restart, servers: all")[0].faults
    assert isinstance(fault, OnServers)
    assert fault.duration == 0.0


def test_every_planned_fault_can_be_written_as_json() -> None:
    run = runs(
        "kind: crash, select: {names: [compute-000007]}",
        "kind: cut, select: {racks: [1]}",
        "kind: pause, servers: [1], for: 3s",
    )[0]
    plain = [fault.plain(run.service_name) for fault in run.faults]
    crash, cut, pause = json.loads(json.dumps(plain, allow_nan=False))
    assert (crash["on"], crash["victims"], crash["duration"]) == (
        "services", ["compute-000007"], [None],
    )  # fmt: skip
    assert (cut["on"], cut["racks"], len(cut["victims"]), cut["at"]) == ("links", [1], 50, [1.0])
    assert (pause["on"], pause["servers"], pause["duration"]) == ("servers", [1], 3.0)


@pytest.mark.parametrize(
    ("fault", "unseen"),
    [
        ("kind: power-loss, select: {count: 1}", [12.0, 10.0, 9.0]),
        ("kind: cut, select: {racks: 1}", [12.0, 10.0, 9.0]),
        ("kind: cut, select: {racks: 1}, direction: out", [12.0, 10.0, 9.0]),
        ("kind: cut, select: {racks: 1}, for: 1s", [0.0, 0.0, 0.0]),
        ("kind: loss, select: {racks: 1}, rate: 90%", [0.0, 0.0, 0.0]),
        ("kind: leave, select: {count: 1}", [0.0, 0.0, 0.0]),
    ],
)
def test_a_run_that_ends_before_a_silence_is_noticed_says_so(
    fault: str, unseen: list[float]
) -> None:
    """What heals within what every backend forgives need not be noticed."""
    assert [cost(run).unseen for run in runs(fault)] == unseen


def test_racks_that_need_a_network_of_their_own_cost_processes() -> None:
    cut = "kind: cut, select: {racks: [1, 2]}"
    plain, linked = runs("kind: leave, select: {count: 1}")[0], runs(cut)[0]
    assert cost(linked).processes > cost(plain).processes
