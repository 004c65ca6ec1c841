"""What is done to services takes hold, is told, is seen as its mechanism implies, and is healed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from bench.engines.live.faults import Stage, inflict
from bench.engines.live.muster import Swarm, mustered
from bench.engines.live.provision import Deployment
from bench.engines.live.racks import racks
from bench.engines.live.swarm import skew
from bench.engines.live.swarm.shard import Event, monotonic
from bench.errors import MachineError
from bench.kind import Kind
from bench.plan import Run, plan
from bench.scenario import loads
from membership.testing import eventually

pytestmark = pytest.mark.alone

NAMES = ("nova", "tuned", "zk")
TIMEOUT = 4.0
"""Of every backend, in s."""
FORGIVEN = 2.0
"""Every backend forgives so long a silence, on a busy machine too."""
LATEST = TIMEOUT + 3.0
"""No backend takes longer to notice a death."""

SQL = "kind: sql, interval: 500ms, timeout: 4s, poll: 500ms, connections: 4"
SQL += ", synchronous_commit: false"  # others keep the disk busy
SCENARIO = """
name: faults
question: Does each fault do what it says?
seed: 3
backends:
  nova: {profile: nova, SQL}
  tuned: {profile: tuned, SQL}
  zk: {kind: zookeeper, session_timeout: 4s, tick: 500ms}
services: {count: 24, library: 12, ramp: 24/s, group: GROUP}
observers: 1
phases:
  - fault: {kind: crash, select: {names: [GROUP-000000, GROUP-000001]}}
  - fault: {kind: power-loss, select: {names: [GROUP-000002, GROUP-000003]}}
  - fault: {kind: leave, select: {names: [GROUP-000004, GROUP-000005]}}
  - fault: {kind: freeze, for: 1s, select: {names: [GROUP-000006, GROUP-000007]}}
  - fault: {kind: freeze, for: 9s, select: {names: [GROUP-000008, GROUP-000009]}}
  - fault: {kind: flap, for: 1s, up: 1s, select: {names: [GROUP-000010, GROUP-000011]}}
  - fault: {kind: restart, select: {names: [GROUP-000012, GROUP-000013]}}
  - fault: {kind: restart, stop: leave, for: 1s, select: {names: [GROUP-000014, GROUP-000015]}}
  - fault: {kind: skew, offset: -30s, for: 4s, select: {names: [GROUP-000016, GROUP-000017]}}
  - fault: {kind: skew, offset: 30s, for: 4s, select: {names: [GROUP-000018, GROUP-000019]}}
  - fault: {kind: freeze, for: 1h, select: {names: [GROUP-000020, GROUP-000021]}}
  - hold: 14s
"""
"""Each fault hits a wire service and, the next one, a library service."""

CRASH, POWER_LOSS, LEAVE, DOZE, SLEEP, FLAP, RESTART, ROLLING, BEHIND, AHEAD, ENDLESS, UNHURT = (
    (first, first + 1) for first in range(0, 24, 2)
)


@dataclass(frozen=True)
class History:
    """What was done and what an observer was told, on one backend; t0 is 0."""

    backend: str
    events: tuple[Event, ...]
    failed: tuple[str, ...]
    """What the shards complained of."""
    processes: tuple[int, ...]
    """The shards', and those of their services at the end."""

    def truth(self, service: int, *kinds: Kind) -> list[Event]:
        return [event for event in self._of(service, *kinds) if event.observer is None]

    def told(self, service: int) -> list[Event]:
        return [event for event in self._of(service) if event.observer is not None]

    def _of(self, service: int, *kinds: Kind) -> list[Event]:
        name = f"{self.backend}-{service:06d}"
        mine = [event for event in self.events if event.subject == name]
        return [event for event in mine if not kinds or event.kind in kinds]

    def done(self, service: int) -> list[Kind]:
        """What was done to it, without what it learnt and renewed."""
        learnt = (Kind.RENEWED, Kind.LOST, Kind.JOINING, Kind.JOINED)
        return [event.kind for event in self.truth(service) if event.kind not in learnt]


@pytest.fixture(scope="module")
def histories(postgres: Deployment, zookeeper: Deployment) -> dict[str, History]:
    """All of the faults at once, on all backends side by side."""

    def history(name: str) -> History:
        scenario = loads(SCENARIO.replace("SQL", SQL).replace("GROUP", name), "faults")
        [run] = [run for run in plan(scenario) if run.backend_name == name]
        return carry_out(run, zookeeper if name == "zk" else postgres)

    with ThreadPoolExecutor(len(NAMES)) as pool:
        return dict(zip(NAMES, pool.map(history, NAMES), strict=True))


@pytest.fixture(params=NAMES)
def history(histories: dict[str, History], request: pytest.FixtureRequest) -> History:
    return histories[request.param]


def carry_out(run: Run, deployment: Deployment) -> History:
    events: list[Event] = []
    with racks(()) as fabric, mustered(run, deployment, fabric) as swarm:
        _join(swarm)
        stage = Stage(run, monotonic() + 0.5, swarm.shards, fabric, deployment, events.append)
        with ExitStack() as guards:
            for fault in run.faults:
                guards.enter_context(inflict(fault, stage))
            time.sleep(stage.t0 + run.phases[-1].end - monotonic())
        time.sleep(0.2)  # what is healed at the end says so by then
        for shard in swarm.everyone:
            since = shard.offset.seconds - stage.t0
            events += [replace(event, t=event.t + since) for event in shard.drain().events]
        failed = [words for shard in swarm.everyone for words in shard.status().failed]
        mine = [psutil.Process(shard.pid) for shard in swarm.everyone]
        theirs = [child for process in mine for child in process.children(recursive=True)]
        swarm.close(goodbye=True)
    return History(
        backend=run.backend_name,
        events=tuple(sorted(events, key=lambda event: event.t)),
        failed=tuple(failed),
        processes=tuple(process.pid for process in (*mine, *theirs)),
    )


def _join(swarm: Swarm) -> None:
    for shard in swarm.shards:
        shard.begin(monotonic())
    eventually(lambda: sum(shard.status().live for shard in swarm.shards) == 24, 60)
    eventually(lambda: swarm.observers[0].status().live == 24, 10)
    for shard in swarm.everyone:
        shard.drain()


@pytest.mark.parametrize(
    ("services", "kinds"),
    [
        (CRASH, [Kind.CRASHED]),
        (POWER_LOSS, [Kind.POWER_LOST]),
        (LEAVE, [Kind.LEFT]),
        (DOZE, [Kind.FROZEN, Kind.RESUMED]),
        (SLEEP, [Kind.FROZEN, Kind.RESUMED]),
        (FLAP, [Kind.FROZEN, Kind.RESUMED] * 3),
        (RESTART, [Kind.CRASHED, Kind.RESTARTED]),
        (ROLLING, [Kind.LEFT, Kind.RESTARTED]),
        (BEHIND, [Kind.SKEWED, Kind.UNSKEWED]),
        (AHEAD, [Kind.SKEWED, Kind.UNSKEWED]),
        (ENDLESS, [Kind.FROZEN, Kind.RESUMED]),  # at the end of the run
        (UNHURT, []),
    ],
)
def test_each_fault_leaves_its_onsets_and_its_healing_behind(
    history: History, services: tuple[int, int], kinds: list[Kind]
) -> None:
    for service in services:
        assert history.done(service) == kinds
    assert history.failed == ()


def test_onsets_are_where_the_plan_has_them_and_say_how_late_they_were_confirmed(
    history: History,
) -> None:
    for service in (*CRASH, *POWER_LOSS, *DOZE):
        [onset] = history.truth(service, Kind.CRASHED, Kind.POWER_LOST, Kind.FROZEN)
        assert onset.value is not None
        assert -0.01 < onset.t - onset.value < 0.01  # all are due at t0
    for service in FLAP:
        stops = history.truth(service, Kind.FROZEN)
        due = [onset.t - (onset.value or 0.0) for onset in stops]
        assert due == pytest.approx([0.0, 2.0, 4.0], abs=0.01)


@pytest.mark.parametrize("services", [CRASH, POWER_LOSS, SLEEP, ENDLESS])
def test_who_falls_silent_is_called_dead_after_the_timeout(
    history: History, services: tuple[int, int]
) -> None:
    for service in services:
        told = history.told(service)
        assert told[0].kind is Kind.LEFT
        assert FORGIVEN < told[0].t < LATEST


def test_the_last_renewal_before_a_silence_is_told_with_it(history: History) -> None:
    for service in (*CRASH, *POWER_LOSS):
        renewed, onset = history.truth(service)[:2]
        assert renewed.kind is Kind.RENEWED
        assert onset.t - TIMEOUT < renewed.t <= onset.t


def test_nobody_who_is_dead_for_good_comes_back(history: History) -> None:
    for service in (*CRASH, *POWER_LOSS, *LEAVE):
        assert [event.kind for event in history.told(service)] == [Kind.LEFT]


def test_a_leave_is_seen_at_once(history: History) -> None:
    for service in (*LEAVE, *ROLLING):
        assert history.told(service)[0].t < FORGIVEN


def test_stops_that_are_forgiven_go_unnoticed(history: History) -> None:
    for service in (*DOZE, *FLAP, *UNHURT):
        assert history.told(service) == []


def test_who_slept_too_long_is_back_when_it_goes_on(history: History) -> None:
    """On ZooKeeper as another life, since its session is over; a row only has to beat again."""
    for service in SLEEP:
        left, joined = history.told(service)
        [resumed] = history.truth(service, Kind.RESUMED)
        assert (left.kind, joined.kind) == (Kind.LEFT, Kind.JOINED)
        assert resumed.t < joined.t < resumed.t + FORGIVEN
        assert left.incarnation is not None
        assert joined.incarnation is not None
        if history.backend == "zk":
            assert joined.incarnation > left.incarnation
            assert history.truth(service, Kind.LOST)
        else:
            assert joined.incarnation == left.incarnation


def test_a_restarted_service_is_another_life_under_the_same_name(history: History) -> None:
    for service in (*RESTART, *ROLLING):
        old, new = history.told(service)
        assert (old.kind, new.kind) == (Kind.LEFT, Kind.JOINED)
        [joined] = history.truth(service, Kind.JOINED)
        assert joined.incarnation == new.incarnation
        assert old.incarnation is not None
        assert new.incarnation is not None
        assert new.incarnation > old.incarnation


def test_a_killed_service_gets_its_row_back_at_once_on_nova_and_waits_elsewhere(
    history: History,
) -> None:
    """The dead session's node, or the beating row of a dead life, is waited out."""
    for service in RESTART:
        [joined] = history.truth(service, Kind.JOINED)
        if history.backend == "nova":
            assert joined.t < TIMEOUT - 0.5  # one interval before it could be waited out
        else:
            assert FORGIVEN < joined.t < LATEST


def test_a_rolling_restart_starts_the_new_process_after_its_pause(history: History) -> None:
    for service in ROLLING:
        [left] = history.truth(service, Kind.LEFT)
        [restarted] = history.truth(service, Kind.RESTARTED)
        [joined] = history.truth(service, Kind.JOINED)
        assert left.t - (left.value or 0.0) == pytest.approx(0.0, abs=0.01)
        assert restarted.t - (restarted.value or 0.0) == pytest.approx(1.0, abs=0.01)
        assert restarted.t < joined.t < restarted.t + LATEST


def test_a_clock_that_is_off_is_confirmed_by_the_process_that_goes_by_it(history: History) -> None:
    for services, offset in ((BEHIND, -30.0), (AHEAD, 30.0)):
        for service in services:
            [skewed] = history.truth(service, Kind.SKEWED)
            [unskewed] = history.truth(service, Kind.UNSKEWED)
            assert skewed.value == pytest.approx(offset, abs=0.1)
            assert 2.0 < unskewed.t - skewed.t < 8.0


def test_only_nova_compares_wall_clocks_and_calls_a_live_service_dead_for_its_own(
    history: History,
) -> None:
    for service in (*BEHIND, *AHEAD):
        told = [event.kind for event in history.told(service)]
        assert told == ([Kind.LEFT, Kind.JOINED] if history.backend == "nova" else [])


def test_nothing_is_left_of_the_processes_nor_of_their_clocks(history: History) -> None:
    eventually(lambda: not any(map(psutil.pid_exists, history.processes)), 10)
    memory = [path.name for path in Path("/dev/shm").iterdir()]
    assert [name for name in memory if name.endswith(tuple(map(str, history.processes)))] == []


def test_without_libfaketime_clocks_cannot_be_set_and_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(skew, "_PLACES", (str(tmp_path),))
    [lack] = skew.missing()
    assert lack.command == "sudo apt-get install faketime"
    with pytest.raises(MachineError, match="libfaketime"):
        skew.environment()
