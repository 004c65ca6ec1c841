"""What each fault does to the services of each backend, and what their observers make of it."""

from __future__ import annotations

import pytest

from bench.result import Kind, Record
from tests.sim.runs import detections, planned, record, told

BACKENDS = {
    "nova": "{kind: sql, profile: nova, interval: 2s, timeout: 12s, poll: 1s}",
    "tuned": "{kind: sql, profile: tuned, interval: 2s, timeout: 10s, poll: 500ms}",
    "zk": "{kind: zookeeper, servers: 3, session_timeout: 10s, tick: 2s}",
}
EVERY = tuple(BACKENDS)


def struck(backend: str, fault: str, *, hold: str = "60s", seed: int = 1) -> Record:
    """A run of 200 services in four racks, with one fault."""
    text = f"""
seed: {seed}
services: {{count: 200, ramp: 100/s, racks: 4}}
observers: 2
phases:
  - settle: 12s
  - fault: {fault}
  - hold: {hold}
backends:
  it: {BACKENDS[backend]}
"""
    (run,) = planned(text)
    return record(run)


def dead_at_the_end(found: Record, observer: str = "observer-0") -> set[str]:
    """Whom the observer's view lacks when the run is over."""
    events = found.events
    seen = events[(events["observer"] == observer) & events["kind"].isin(["joined", "left"])]
    last = seen.sort_values("t", kind="stable").drop_duplicates("subject", keep="last")
    return set(last.loc[last["kind"] == "left", "subject"])


def count(found: Record, kind: Kind) -> int:
    return len(told(found, kind, "observer-0"))


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("kind", ["crash", "power-loss"])
def test_the_dead_are_noticed_by_everybody_and_stay_dead(backend: str, kind: str) -> None:
    onset = Kind.CRASHED if kind == "crash" else Kind.POWER_LOST
    found = struck(backend, f"{{kind: {kind}, select: {{count: 20}}, over: 4s}}")
    for observer in found.observers:
        assert detections(found, onset, observer).notna().sum() == 20
        assert dead_at_the_end(found, observer) == set(told(found, onset)["subject"])


@pytest.mark.parametrize("backend", EVERY)
def test_a_leave_is_no_death_that_has_to_be_waited_for(backend: str) -> None:
    found = struck(backend, "{kind: leave, select: {count: 20}, over: 4s}")
    times = detections(found, Kind.LEFT)
    assert times.notna().sum() == 20
    assert times.max() < (1.1 if backend == "nova" else 0.2)


@pytest.mark.parametrize("backend", EVERY)
def test_a_stop_shorter_than_is_forgiven_goes_unnoticed(backend: str) -> None:
    found = struck(backend, "{kind: freeze, select: {count: 20}, over: 4s, for: 6s}")
    assert count(found, Kind.LEFT) == 0
    assert len(told(found, Kind.RENEWED)) == 40  # before and after


@pytest.mark.parametrize("backend", EVERY)
def test_a_longer_stop_is_a_death_that_is_taken_back(backend: str) -> None:
    found = struck(backend, "{kind: freeze, select: {count: 20}, over: 4s, for: 20s}")
    assert count(found, Kind.LEFT) == 20
    assert dead_at_the_end(found) == set()
    assert len(told(found, Kind.RENEWED)) == 40  # the last before, and the first after
    # Whose session has expired learns of it and begins a new life; a row goes on with the old one.
    assert len(told(found, Kind.LOST)) == (20 if backend == "zk" else 0)


@pytest.mark.parametrize("backend", EVERY)
def test_a_restarted_service_is_another_life(backend: str) -> None:
    found = struck(backend, "{kind: restart, select: {count: 20}, over: 4s, for: 1s}")
    victims = set(told(found, Kind.RESTARTED)["subject"])
    lives = told(found, Kind.JOINED)
    tokens = lives[lives["subject"].isin(victims)].groupby("subject")["incarnation"]
    assert len(victims) == 20
    assert (tokens.nunique() == 2).all()
    assert tokens.is_monotonic_increasing.all()
    assert dead_at_the_end(found) == set()


def test_a_new_process_waits_for_its_own_dead_session() -> None:
    found = struck("zk", "{kind: restart, select: {count: 20}, over: 4s}")
    began = told(found, Kind.RESTARTED).set_index("subject")["t"]
    joined = told(found, Kind.JOINED).drop_duplicates("subject", keep="last")
    waited = joined.set_index("subject")["t"].reindex(began.index) - began
    assert waited.min() > 6
    assert waited.max() < 14


@pytest.mark.parametrize("backend", EVERY)
def test_short_flaps_go_unnoticed(backend: str) -> None:
    flap = "{kind: flap, select: {count: 10}, over: 4s, for: 1500ms, up: 2500ms, times: 4}"
    found = struck(backend, flap)
    assert len(told(found, Kind.FROZEN)) == 40
    assert count(found, Kind.LEFT) == 0


@pytest.mark.parametrize(("backend", "killed"), [("nova", 10), ("tuned", 0), ("zk", 0)])
@pytest.mark.parametrize("offset", ["-30s", "30s"])
def test_a_wrong_clock_kills_where_clocks_are_compared(
    backend: str, killed: int, offset: str
) -> None:
    skew = f"{{kind: skew, select: {{count: 10}}, offset: {offset}, for: 20s}}"
    found = struck(backend, skew)
    assert count(found, Kind.LEFT) == killed
    assert dead_at_the_end(found) == set()


@pytest.mark.parametrize("backend", EVERY)
def test_a_rack_without_network_is_gone_and_comes_back(backend: str) -> None:
    found = struck(backend, "{kind: cut, select: {racks: [2]}, for: 30s}")
    rack = set(told(found, Kind.CUT)["subject"])
    assert len(rack) == 50
    assert set(told(found, Kind.LEFT, "observer-1")["subject"]) == rack
    assert dead_at_the_end(found) == set()


def test_what_a_cut_costs_depends_on_its_direction() -> None:
    """Cut on the way out, nothing more is heard. On the way in, one more ping is, before the
    missing answer is noticed: a residual period later."""
    means = {}
    for direction in ("in", "out"):
        fault = f"{{kind: cut, select: {{racks: 3}}, for: 40s, direction: {direction}}}"
        times = [detections(struck("zk", fault, seed=seed), Kind.CUT) for seed in range(6)]
        means[direction] = sum(each.mean() for each in times) / len(times)
    assert means["out"] == pytest.approx(9.9, abs=0.8)  # seen on real servers: 9.8
    assert means["in"] == pytest.approx(12.9, abs=0.8)  # 12.9


def test_the_more_packets_are_lost_the_more_sessions_die() -> None:
    expired = []
    for rate in ("20%", "60%", "80%"):
        fault = f"{{kind: loss, select: {{racks: 4}}, rate: {rate}, direction: out, for: 60s}}"
        found = struck("zk", fault, hold="90s")
        expired.append(told(found, Kind.LEFT, "observer-0")["subject"].nunique())
        assert dead_at_the_end(found) == set()
    assert expired[0] == 0
    assert expired[0] < expired[1] < expired[2]


LOSSY = "{kind: loss, select: {racks: 2}, rate: 80%, for: 60s}"


def test_behind_a_link_that_loses_80_percent_every_session_expires_sooner_or_later() -> None:
    """Seen on real servers: 100 of 100, after 16.5 s on average, the last after 34 s."""
    found = [detections(struck("zk", LOSSY, hold="90s", seed=seed), Kind.LOSSY) for seed in (1, 2)]
    for times in found:
        assert times.notna().mean() > 0.95
        assert times.mean() == pytest.approx(16.5, abs=3.0)


def test_a_rack_behind_such_a_link_loses_its_database_connections_and_all_its_rows() -> None:
    """Each is held by a beat whose packets are lost over and over, and none can be opened anew.
    Seen on real servers: 100 of 100, after 9.9 s on average, the last after 18 s; 5 came back in
    between."""
    found = struck("tuned", LOSSY, hold="90s")
    times = detections(found, Kind.LOSSY)
    assert times.notna().all()
    assert times.mean() == pytest.approx(9.9, abs=2.5)
    assert count(found, Kind.LEFT) < 1.4 * len(times)
    assert dead_at_the_end(found) == set()


def test_a_delay_takes_the_connections_of_a_rack_where_they_are_few() -> None:
    """A nova beat keeps one for four round trips; what that costs was seen on real servers."""
    text = """
seed: 1
services: {{count: 200, ramp: 100/s, racks: 4}}
observers: 1
phases:
  - settle: 12s
  - fault: {{kind: delay, select: {{racks: 1}}, delay: 100ms, for: 30s}}
  - hold: 40s
backends:
  it: {{kind: sql, profile: nova, interval: 1s, timeout: 4s, poll: read, connections: {count}}}
"""
    for connections, some in ((2, True), (64, False)):
        (run,) = planned(text.format(count=connections))
        assert (count(record(run), Kind.LEFT) > 0) is some


def test_an_outage_longer_than_the_timeout_kills_all_rows_of_nova_and_none_of_tuned() -> None:
    fault = "{kind: restart, servers: all, for: 20s}"
    nova, tuned = struck("nova", fault), struck("tuned", fault)
    assert count(nova, Kind.LEFT) > 100
    assert dead_at_the_end(nova) == set()
    assert count(tuned, Kind.LEFT) == 0


def test_after_an_outage_all_come_back_together_and_a_reader_is_before_or_behind_them() -> None:
    """They wait for the connections that they share; so it is all or nobody whom it calls dead."""
    fault = "{kind: restart, servers: all, for: 20s}"
    called = [count(struck("nova", fault, seed=seed), Kind.LEFT) for seed in range(10)]
    assert sum(10 < each < 190 for each in called) <= 2, called
    assert max(called) > 190, called


@pytest.mark.parametrize("kind", ["kill", "restart"])
def test_sessions_survive_the_death_of_their_leader(kind: str) -> None:
    found = struck("zk", f"{{kind: {kind}, servers: leader, for: 20s}}")
    assert count(found, Kind.LEFT) == 0
    assert len(told(found, Kind.LOST)) == 0
    assert [len(told(found, state, "observer-0")) for state in (Kind.STALE, Kind.FRESH)] == [1, 1]


def test_a_new_leader_gives_the_dead_their_whole_timeout_again() -> None:
    text = f"""
seed: 4
services: {{count: 200, ramp: 100/s}}
observers: 1
phases:
  - settle: 12s
  - fault: {{kind: crash, select: {{count: 40}}, over: 4s}}
  - hold: 1s
  - fault: {{kind: kill, servers: leader, for: 30s}}
  - hold: 60s
backends:
  it: {BACKENDS["zk"]}
"""
    (run,) = planned(text)
    found = record(run)
    times = detections(found)
    assert times.notna().all()
    assert 11 < times.mean() < 20


def test_nobody_can_be_expired_without_a_majority() -> None:
    text = f"""
seed: 4
services: {{count: 200, ramp: 100/s}}
observers: 1
phases:
  - settle: 12s
  - fault: {{kind: kill, servers: majority, for: 30s}}
  - hold: 5s
  - fault: {{kind: crash, select: {{count: 20}}}}
  - hold: 80s
backends:
  it: {BACKENDS["zk"]}
"""
    (run,) = planned(text)
    found = record(run)
    back = told(found, Kind.SERVER_BACK)["t"].min()
    left = told(found, Kind.LEFT, "observer-0")
    assert len(left) == 20
    assert left["t"].min() > back + 10


def test_a_follower_that_is_cut_off_costs_its_sessions_their_lives() -> None:
    """It answers their pings until it gives up, and nobody else hears of them."""
    found = struck("zk", "{kind: cut, servers: follower, for: 30s}")
    left = set(told(found, Kind.LEFT, "observer-0")["subject"])
    assert 30 < len(left) < 110  # a third of 200
    assert set(told(found, Kind.LOST)["subject"]) == left
    assert dead_at_the_end(found) == set()


def test_a_paused_server_is_left_by_its_clients_before_their_sessions_end() -> None:
    found = struck("zk", "{kind: pause, servers: follower, for: 30s}")
    assert count(found, Kind.LEFT) == 0
