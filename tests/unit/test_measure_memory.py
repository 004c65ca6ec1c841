"""Memory: whose growth is told, and what is no growth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.measure.memory import memory
from tests.unit.history import History

MB = 1e6


def run(
    *processes: tuple[str, Callable[[float], float]], since: float = 0.0, every: float = 5.0
) -> History:
    """Judged from 10 to 100 s; its second half begins at 55 s."""
    history = History().alive("a")
    for name, octets in processes:
        t = since
        while t <= 100:
            history.sample(t, name, "rss_bytes", octets(t))
            t += every
    return history


def test_the_process_that_grows_most_is_told() -> None:
    """1 MB in 45 s, on 100 MB at the end of it."""
    steady = ("wire-0", lambda _: 50 * MB)
    growing = ("observer-0", lambda t: 100 * MB + (t - 100) * MB / 45)
    found: dict[str, Any] = memory([run(steady, growing).record()])
    assert found["growth_bytes_per_hour"] == pytest.approx(80 * MB)
    assert found["growth_share"] == pytest.approx(1 / 99.4, rel=1e-2)
    assert list(found["processes"]) == ["observer-0", "wire-0"]
    assert found["processes"]["wire-0"]["growth_share"] == 0


def test_what_a_run_begins_with_is_no_growth() -> None:
    """All that it takes, it has taken by half-time."""
    settling = ("engine", lambda t: min(t, 50.0) * MB)
    assert memory([run(settling).record()])["growth_share"] == 0


def test_what_is_taken_for_a_moment_is_no_growth() -> None:
    spike = ("engine", lambda t: 90 * MB if 75 <= t < 80 else 60 * MB)
    found: dict[str, Any] = memory([run(spike).record()])
    assert found["growth_share"] == 0
    assert found["processes"]["engine"]["max_bytes"] == 90 * MB


def test_servers_are_not_ours_and_sums_are_no_processes() -> None:
    """The highest sum is that of harness and observers; what they are the sum of isn't added."""
    history = run(
        ("server", lambda t: t * MB),
        ("harness", lambda _: 200 * MB),
        ("observers", lambda t: 100 * MB + (t == 50) * MB),
        ("library", lambda _: 30 * MB),
        ("engine", lambda _: 80 * MB),
    )
    found: dict[str, Any] = memory([history.record()])
    assert list(found["processes"]) == ["engine", "library"]
    assert found["max_bytes"] == 331 * MB


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(run(), id="nothing was read"),
        pytest.param(run(("engine", lambda t: t), every=15.0), id="too seldom"),
        pytest.param(run(("wire-1", lambda t: t), since=20.0), id="it began late"),
    ],
)
def test_no_growth_is_told_of_what_cannot_be_judged(history: History) -> None:
    assert memory([history.record()])["growth_bytes_per_hour"] is None


def test_of_several_runs_the_worst_counts() -> None:
    flat, grown = run(("engine", lambda _: MB)), run(("engine", lambda t: MB + t))
    both = memory([grown.record(), flat.record()])
    assert both == memory([flat.record(), grown.record()])
    assert both["growth_bytes_per_hour"] == pytest.approx(3600)
