"""How late renewals went out: counted, rounded up to the next step, and handed on once."""

from __future__ import annotations

import pytest

from bench.engines.live.swarm.lateness import FINEST, SLICE, Lateness


def test_every_renewal_is_counted_in_its_slice_and_handed_on_once() -> None:
    lateness = Lateness()
    for due in (10.0, 10.1, 10.1 + SLICE):
        lateness.add(due, 0.003)
    rows = lateness.drain()
    assert [(row.t, row.count) for row in rows] == [(10.125, 2), (10.375, 1)]
    assert {(row.metric, row.unit) for row in rows} == {("lateness", "s")}
    assert lateness.drain() == []


@pytest.mark.parametrize("seconds", [0.0001001, 0.003, 0.05, 1.0, 61.7])
def test_a_lateness_is_rounded_up_by_less_than_five_per_cent(seconds: float) -> None:
    lateness = Lateness()
    lateness.add(0.0, seconds)
    [row] = lateness.drain()
    assert seconds <= row.value * (1 + 1e-9)
    assert row.value < seconds * 1.0501


@pytest.mark.parametrize("seconds", [-0.002, 0.0, FINEST])
def test_what_is_early_or_hardly_late_counts_as_the_finest_step(seconds: float) -> None:
    lateness = Lateness()
    lateness.add(0.0, seconds)
    [row] = lateness.drain()
    assert row.value == pytest.approx(FINEST)
