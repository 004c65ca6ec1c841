"""Outages: when servers were failing, and what is told apart for that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.measure.outages import outages
from bench.measure.spans import length, position, spans, touched, union
from bench.result import Kind, Parameters
from tests.unit.history import History

ZK = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, servers=3)
"""Felt for 18 s: an election (5), a whole timeout (10), a tick (2) and the delivery (1)."""
PG = Parameters(kind="sql", profile="nova", interval=4.0, timeout=20.0, poll=2.0)
"""Felt for 28 s."""

KILLED, PAUSED, CUT, BACK = (
    Kind.SERVER_KILLED,
    Kind.SERVER_PAUSED,
    Kind.SERVER_CUT,
    Kind.SERVER_BACK,
)
Blows = list[tuple[float, Kind, str]]


@pytest.mark.parametrize(
    ("parameters", "blows", "expected"),
    [
        pytest.param(ZK, [], [], id="nothing failed"),
        pytest.param(ZK, [(20, KILLED, "zk-1")], [(20, 38)], id="the others take over"),
        pytest.param(
            ZK,
            [(20, KILLED, "zk-1"), (60, BACK, "zk-1")],
            [(20, 38), (60, 78)],
            id="a late return is a blow of its own",
        ),
        pytest.param(
            ZK,
            [(20, PAUSED, "zk-1"), (30, BACK, "zk-1")],
            [(20, 48)],
            id="a return in time prolongs it",
        ),
        pytest.param(
            ZK,
            [(20, KILLED, "zk-1"), (21, KILLED, "zk-2"), (80, BACK, "zk-1")],
            [(20, 98)],
            id="without a majority it lasts until there is one",
        ),
        pytest.param(
            ZK,
            [(20, CUT, "zk-1"), (20, CUT, "zk-2")],
            [(20, np.inf)],
            id="a majority that never returns",
        ),
        pytest.param(
            PG, [(20, KILLED, "pg"), (50, BACK, "pg")], [(20, 78)], id="there is but one database"
        ),
    ],
)
def test_an_outage_lasts_while_no_majority_is_up_and_as_long_as_a_blow_is_felt(
    parameters: Parameters, blows: Blows, expected: list[tuple[float, float]]
) -> None:
    run = History(parameters=parameters).alive("a")
    for t, kind, server in blows:
        run.truth(t, kind, server, detail="leader")
    found = outages(run.record())
    assert list(found.itertuples(index=False, name=None)) == expected


def test_an_outage_begins_when_a_server_is_told_to_stop() -> None:
    """It is confirmed to be gone 1.5 s later, and felt from then on for as long as any other."""
    run = History(parameters=PG).alive("a")
    run.truth(21.5, Kind.SERVER_STOPPED, "pg", value=1.5).truth(23.0, BACK, "pg", value=1.5)
    found = outages(run.record())
    assert list(found.itertuples(index=False, name=None)) == [(20.0, 51.0)]


def test_a_server_that_is_ordered_down_before_another_is_back_counts_as_down() -> None:
    """Its end is confirmed only after the other's return: for a second there was no majority."""
    run = History(parameters=ZK).alive("a").truth(20.0, KILLED, "zk-1")
    run.truth(50.0, BACK, "zk-1", value=30.0).truth(51.0, Kind.SERVER_STOPPED, "zk-2", value=2.0)
    found = outages(run.record())
    assert list(found.itertuples(index=False, name=None)) == [(20, 38), (49, 69)]


def test_one_server_needs_itself() -> None:
    run = History(parameters=replace(ZK, servers=1)).truth(20.0, KILLED, "zk-1")
    assert outages(run.record())["until"].tolist() == [np.inf]


def test_spans_that_meet_are_one() -> None:
    merged = spans([(5, 6), (1, 3), (3, 4), (2, 2.5), (8, 8), (9, np.inf)])
    assert merged.values.tolist() == [[1, 4], [5, 6], [9, np.inf]]
    assert length(union(merged, 2, 10)) == 2 + 1 + 1
    times = np.array([0.5, 1.0, 4.0, 5.5, 100.0])
    assert position(times, merged).tolist() == [-1, 0, -1, 1, 2]
    since, until = np.array([0.0, 4.2, 6.5, np.nan]), np.array([0.9, 5.0, 50.0, 50.0])
    assert touched(since, until, merged).tolist()[:3] == [False, True, True]
    assert not touched(since, until, spans([])).any()
    assert position(times, spans([])).tolist() == [-1] * 5
