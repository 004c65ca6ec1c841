"""Recovery: how long until every live service is a member again, for every observer."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.recovery import absences, recoveries, recovery
from bench.result import Kind, Parameters
from tests.unit.history import History

ZK = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, servers=3)
TWO = ("o1", "o2")


def by_cause(run: History) -> dict[str, list[float]]:
    rows = recoveries(run.record())
    return {str(after): group["seconds"].tolist() for after, group in rows.groupby("after")}


def test_a_service_is_absent_from_its_left_to_its_joined_while_it_lives() -> None:
    run = History(TWO).alive("a").alive("b", token=2).alive("c", token=3)
    run.told(20.0, Kind.LEFT, "a", "o1").told(25.0, Kind.JOINED, "a", "o1")
    run.truth(30.0, Kind.CRASHED, "b").told(40.0, Kind.LEFT, "b", "o1", 2)
    run.told(50.0, Kind.LEFT, "c", "o2", 3)
    rows = absences(run.record())
    assert rows.fillna(-1.0).values.tolist() == [
        ["o1", "a", 20.0, 25.0],
        ["o2", "c", 50.0, -1.0],
    ]


def test_a_mistake_is_over_when_the_last_of_its_episode_is_taken_back() -> None:
    run = History(TWO).alive("a").alive("b", token=2).told(20.0, Kind.LEFT, "a", "o1")
    run.told(20.5, Kind.LEFT, "b", "o2", 2).told(23.0, Kind.JOINED, "a", "o1")
    run.told(27.0, Kind.JOINED, "b", "o2", 2).told(60.0, Kind.LEFT, "a", "o2")
    found = by_cause(run)["mistakes"]
    assert found[0] == 7.0
    assert np.isnan(found[1])
    figures = recovery(recoveries(run.record()))["mistakes"]
    assert (figures["count"], figures["never"], figures["mean"]) == (2, 1, 7.0)


def test_a_heal_is_recovered_from_when_all_have_that_service_again() -> None:
    """`a` was noticed by one observer, `b` by none: it had nothing to recover from."""
    run = History(TWO, parameters=ZK).alive("a").alive("b", token=2)
    for name in ("a", "b"):
        run.truth(20.0, Kind.CUT, name).truth(40.0, Kind.HEALED, name)
    run.told(31.0, Kind.LEFT, "a", "o1").truth(43.0, Kind.LOST, "a")
    run.truth(44.0, Kind.JOINED, "a", incarnation=3).told(44.1, Kind.JOINED, "a", "o1", 3)
    run.told(44.0, Kind.LEFT, "a", "o2").told(44.3, Kind.JOINED, "a", "o2", 3)
    assert by_cause(run) == {"cut": [pytest.approx(4.3), 0.0]}


def test_an_expiry_shortly_after_the_heal_is_still_of_it() -> None:
    run = History(parameters=ZK).alive("a").truth(20.0, Kind.LOSSY, "a", value=0.8)
    run.truth(30.0, Kind.HEALED, "a").told(36.0, Kind.LEFT, "a").told(39.0, Kind.JOINED, "a")
    assert by_cause(run)["lossy"] == [9.0]


def test_a_restart_is_recovered_from_when_all_were_told_of_the_new_life() -> None:
    run = History(TWO, parameters=ZK).alive("a").truth(20.0, Kind.LEFT, "a")
    run.told(20.1, Kind.LEFT, "a", "o1").told(20.1, Kind.LEFT, "a", "o2")
    run.truth(25.0, Kind.RESTARTED, "a").truth(26.0, Kind.JOINED, "a", incarnation=2)
    run.told(26.2, Kind.JOINED, "a", "o1", 2).told(26.5, Kind.JOINED, "a", "o2", 2)
    assert by_cause(run) == {"restarted": [1.5]}


def test_a_servers_return_is_recovered_from_when_everybody_is_back() -> None:
    """One who is frozen meanwhile isn't waited for."""
    run = History(parameters=ZK).alive("a").alive("b", token=2).alive("c", token=3)
    run.truth(15.0, Kind.FROZEN, "c").told(26.0, Kind.LEFT, "c", token=3)
    run.truth(20.0, Kind.SERVER_KILLED, "zk-1").truth(30.0, Kind.SERVER_BACK, "zk-1")
    run.told(36.0, Kind.LEFT, "a").told(37.0, Kind.JOINED, "a")
    run.told(36.0, Kind.LEFT, "b", token=2).told(41.0, Kind.JOINED, "b", token=2)
    found = by_cause(run)
    assert found["servers"] == [11.0]
    assert found["mistakes"] == [5.0]


def test_where_no_server_returns_it_counts_from_the_blow() -> None:
    run = History(parameters=ZK).alive("a").truth(20.0, Kind.SERVER_KILLED, "zk-1")
    assert by_cause(run) == {"servers": [0.0]}


def test_a_run_in_which_nothing_happened_recovers_from_nothing() -> None:
    run = History().alive("a")
    figures = recovery(recoveries(run.record()))
    assert {cause: (each["count"], each["never"]) for cause, each in figures.items()} == {
        "mistakes": (0, 0),
        "servers": (0, 0),
    }
    run.rows = [row for row in run.rows if row["kind"] != Kind.PHASE]
    assert recoveries(run.record()).empty
