"""The queue in front of a database: one beat after another, and where its throughput ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.calibration import STATED
from bench.costs import SqlCosts
from bench.engines.sim.sql.queue import Queue

SQL = STATED.sql


def queue(connections: int = 16, *, durable: bool = True, costs: SqlCosts = SQL) -> Queue:
    return Queue(costs, SQL.nova, connections, durable=durable)


def throughput(it: Queue, offered: float, *, beats: int = 20_000) -> float:
    """Beats a second that are answered, where so many are due."""
    at = np.arange(beats) / offered
    served = it.serve_all(at, np.full(beats, 0.5))
    return beats / float(served.end[-1])


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(100, 20_000),
    connections=st.integers(1, 20),
    durable=st.booleans(),
    seed=st.integers(0, 2**32),
    cut=st.integers(0, 3_000),
)
def test_many_at_once_are_as_many_one_by_one(
    rate: float, connections: int, durable: bool, seed: int, cut: int
) -> None:
    random = np.random.default_rng(seed)
    at, noise = np.cumsum(random.exponential(1 / rate, 3_000)), random.random(3_000)
    together, singly = (queue(connections, durable=durable) for _ in range(2))
    parts = [together.serve_all(at[part], noise[part]) for part in (slice(cut), slice(cut, None))]
    alone = [singly.serve(t, u) for t, u in zip(at.tolist(), noise.tolist(), strict=True)]
    for name, column in zip(
        ("sent", "turn", "visible", "end"), zip(*alone, strict=True), strict=True
    ):
        both = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(both, column, rtol=0, atol=1e-9)


def test_an_idle_server_takes_its_round_trips_its_work_and_a_flush() -> None:
    sent, turn, visible, end = queue().serve(1.0, 0.5)
    way = SQL.nova.exchanges * SQL.round_trip / 2
    busy = max(SQL.nova.client_cpu, (SQL.nova.client_cpu + SQL.nova.server_cpu) / SQL.cores)
    assert sent == 1.0
    assert turn == pytest.approx(1.0 + way)
    assert visible == pytest.approx(1.0 + way + busy + SQL.commit)
    assert end == pytest.approx(1.0 + 2 * way + busy + SQL.commit)


def test_commits_that_come_during_a_flush_share_the_next() -> None:
    it = queue(costs=replace(SQL, commit=0.1))
    visible = [it.serve(t, 0.5)[2] for t in (0.0, 0.02, 0.04, 0.06)]
    assert visible[1] == visible[2] == visible[3] == pytest.approx(visible[0] + 0.1)


def test_the_knee_is_where_the_processors_are_busy() -> None:
    # Of the two cores the client's loop, a single thread, can take one only.
    beat = SQL.nova
    knee = 1 / max(beat.client_cpu, (beat.client_cpu + beat.server_cpu) / SQL.cores)
    assert throughput(queue(64, durable=False), 0.5 * knee) == pytest.approx(0.5 * knee, rel=0.01)
    assert throughput(queue(64, durable=False), 5.0 * knee) == pytest.approx(knee, rel=0.01)


def test_a_closed_loop_gives_no_more_than_its_connections_do() -> None:
    busy = max(SQL.nova.client_cpu, (SQL.nova.client_cpu + SQL.nova.server_cpu) / SQL.cores)
    one = queue(1, durable=False, costs=replace(SQL, round_trip=1e-3))
    assert throughput(one, 10_000, beats=2_000) == pytest.approx(1 / (4e-3 + busy), rel=0.01)
    slow_disk = queue(16, costs=replace(SQL, commit=10e-3))
    assert throughput(slow_disk, 10_000) < 16 / 10e-3


def test_nothing_gets_a_turn_while_the_server_stands_still() -> None:
    it = queue()
    it.stop_until(5.0)
    assert it.serve(1.0, 0.5)[1] == 5.0
