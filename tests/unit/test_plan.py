"""A plan is a pure function of the scenario: the same seed, the same victims, everywhere."""

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from bench.engines.live.allotment import allot
from bench.plan import JOIN_CONNECTIONS, OnServices, Run, cost, plan, slowest_detection
from bench.randomness import stream
from bench.scenario import find, load

PHASES = """[
  {settle: 5s},
  {fault: {kind: crash, select: {fraction: 20%}, over: 10s}},
  {hold: 5s},
  {fault: {kind: leave, select: {count: 45, client: library}}},
  {fault: {kind: freeze, select: {count: 300, client: wire}, over: 4s, for: 3s}},
  {fault: {kind: crash, select: {names: [compute-000009, compute-000003]}}},
  {hold: 9s},
]"""
FAULTY = ["services.count=500", "services.library=50", f"phases={PHASES}"]


def runs(*overrides: str) -> tuple[Run, ...]:
    return plan(load(find("quickstart"), [*FAULTY, *overrides]))


def fingerprint() -> str:
    """Everything drawn, as one number; also called from another process."""
    digest = hashlib.sha256()
    for run in runs("repeat=2"):
        for array in (run.join_at, run.beat_phase, run.library, run.rack):
            digest.update(array.tobytes())
        for fault in run.faults:
            digest.update(fault.victims.tobytes() + fault.at.tobytes())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_plan_in_every_process() -> None:
    program = (
        "import importlib.util as u; "
        f"s = u.spec_from_file_location('plan_of_another', {__file__!r}); "
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.fingerprint())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert prints == {fingerprint()}


def test_every_backend_loses_the_same_services_at_the_same_offsets_in_one_repeat() -> None:
    by_repeat: dict[int, set[bytes]] = {}
    for run in runs("repeat=3"):
        drawn = pickle.dumps([(f.victims.tolist(), f.at.tolist()) for f in run.faults])
        by_repeat.setdefault(run.repeat, set()).add(drawn)
    assert [len(each) for each in by_repeat.values()] == [1, 1, 1]
    assert len(set.union(*by_repeat.values())) == 3


def test_another_seed_gives_other_victims() -> None:
    mine, other = runs("seed=1")[0], runs("seed=2")[0]
    assert set(mine.faults[0].victims) != set(other.faults[0].victims)


def test_every_second_repeat_runs_the_backends_in_the_mirrored_order() -> None:
    found = runs("repeat=3", "matrix={observers: [1, 2]}")
    there = ["db-nova", "db-tuned", "zk"]
    assert [run.backend_name for run in found] == (there + there[::-1] + there) * 2
    assert [run.index for run in found] == list(range(18))
    assert [run.scenario.observers for run in found] == [1] * 9 + [2] * 9
    assert found[9].point == {"observers": 2}


def test_a_service_is_a_victim_of_at_most_one_fault() -> None:
    run = runs()[0]
    victims = np.concatenate([fault.victims for fault in run.faults])
    assert [len(fault.victims) for fault in run.faults] == [100, 45, 300, 2]
    assert len(set(victims.tolist())) == 447
    assert run.faults[3].victims.tolist() == [9, 3]


def test_faults_pick_the_client_that_they_ask_for() -> None:
    run = runs()[0]
    assert run.library[run.faults[1].victims].all()
    assert not run.library[run.faults[2].victims].any()


def test_instants_lie_in_their_phase_ascending_and_together_where_it_takes_no_time() -> None:
    run = runs()[0]
    for phase in run.phases:
        if phase.fault is not None:
            assert (np.diff(phase.fault.at) >= 0).all()
            assert phase.start <= phase.fault.at[0] <= phase.fault.at[-1] <= phase.end
    assert len(set(run.faults[0].at.tolist())) == 100
    assert set(run.faults[1].at.tolist()) == {20.0}
    assert isinstance(run.faults[2], OnServices)
    assert set(run.faults[2].duration.tolist()) == {3.0}


def test_phases_follow_each_other_from_the_end_of_the_ramp() -> None:
    run = runs("services.ramp=100/s")[0]
    assert [phase.kind for phase in run.phases] == [
        "settle", "fault", "hold", "fault", "fault", "fault", "hold",
    ]  # fmt: skip
    assert [phase.start for phase in run.phases] == [0, 5, 15, 20, 20, 24, 24]
    assert run.ramp == 5.0
    assert run.duration == 5.0 + 33.0
    assert run.join_at.tolist() == [index / 100 for index in range(500)]


@pytest.mark.parametrize("library", [0, 1, 3, 50, 499, 500])
def test_library_services_are_spread_evenly(library: int) -> None:
    phases = "phases=[{hold: 1s}]"
    run = plan(load(find("quickstart"), [*FAULTY, f"services.library={library}", phases]))[0]
    services = run.scenario.services
    assert run.library.tolist() == [services.is_library(index) for index in range(500)]
    assert run.library.sum() == library
    assert run.library[:250].sum() == library // 2


def test_racks_are_blocks_of_equal_size() -> None:
    run = runs("services.racks=7")[0]
    sizes = np.bincount(run.rack)
    assert len(sizes) == 7
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(run.rack) >= 0).all()


def test_a_plan_cannot_be_changed() -> None:
    run = runs()[0]
    arrays = [run.join_at, run.beat_phase, run.library, run.rack]
    arrays += [run.faults[0].at, run.faults[0].victims]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_run_can_be_sent_to_another_process() -> None:
    run = runs()[0]
    again = pickle.loads(pickle.dumps(run))
    assert again.scenario == run.scenario
    assert (again.faults[0].victims == run.faults[0].victims).all()


def test_names_are_zero_padded_and_can_be_read_back() -> None:
    services = runs()[0].scenario.services
    assert services.service_name(17) == "compute-000017"
    assert services.index_of("compute-000017") == 17
    for name in ("compute-17", "compute-000500", "other-000017", "compute-", "compute-+00017"):
        assert services.index_of(name) is None


def test_streams_are_keyed_by_purpose_and_never_by_order() -> None:
    first = stream(7, "a", 1).random(4).tolist()
    stream(7, "b", 1).random(100)
    assert stream(7, "a", 1).random(4).tolist() == first
    others = [(8, "a", 1), (7, "a", 2), (7, "a1"), (7, "a", "1"), (7, 1, "a"), (7, "a")]
    for seed, *purpose in others:
        assert isinstance(seed, int)
        assert stream(seed, *purpose).random(4).tolist() != first


def test_the_numbers_of_a_stream_are_those_of_every_other_machine() -> None:
    """Committed baselines name victims; a change here makes them incomparable."""
    assert stream(7, "victims", 0, 1).random(3).tolist() == PINNED


PINNED = [0.9855406784719494, 0.6599978062573035, 0.855918590842343]


def test_sessions_cost_sockets_and_rows_do_not() -> None:
    nova, _, zk = (cost(run) for run in plan(load(find("quickstart"))))
    assert zk.connections == 1004
    assert zk.open_files > 980 > nova.open_files
    assert zk.ports == 335
    assert nova.connections == 16 + JOIN_CONNECTIONS + 2 * 24
    for each in (nova, zk):
        assert each.seconds > 25
        assert each.processes > 20
        assert each.memory > 500_000_000
        assert each.unseen == 0


@pytest.mark.parametrize("count", [100, 1_000, 30_000])
def test_every_shard_has_the_connections_that_were_planned_for(count: int) -> None:
    """A database that is out of them refuses those of a rack, whose services then fall silent."""
    racks = "phases.1.fault.select={racks: [0, 3]}"
    run = plan(load(find("rack-loss"), [f"services.count={count}", racks]))[0]
    wire = [shard for shard in allot(run) if shard.client == "wire"]
    assert {shard.rack for shard in wire} == {None, 0, 3}
    assert all(shard.connections <= len(shard.members) for shard in wire)
    pools = {shard.name: shard.connections + JOIN_CONNECTIONS for shard in wire}
    cut = [shard.name for shard in wire if shard.rack is not None]
    members = run.scenario.services.library + run.scenario.observers
    left_behind = sum(pools[name] for name in cut)
    assert sum(pools.values()) + left_behind + 2 * members <= cost(run).connections


def test_a_run_that_ends_before_its_slowest_detection_says_by_how_much() -> None:
    short = plan(load(find("quickstart"), ["phases.1.fault.over=0", "phases.2.hold=7s"]))
    assert [slowest_detection(run.backend) for run in short] == [12.0, 10.0, 9.0]
    assert [cost(run).unseen for run in short] == [5.0, 3.0, 2.0]


def test_a_million_services_are_planned() -> None:
    run = plan(load(find("quickstart"), ["services.count=1_000_000"]))[0]
    assert len(run.faults[0].victims) == 50_000
    assert run.service_name(999_999) == "compute-999999"
