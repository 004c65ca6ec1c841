"""The calendar's events take place when, and in the order in which, SimPy's own would."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engines.sim.calendar import DAYS, Calendar, Instants, Sleeper

END = 4.0
# On the edges of days and seconds, many at the same instant, and anywhere.
finite = st.one_of(st.sampled_from([0.0, 1 / DAYS, 1 / (2 * DAYS), 0.5, 1.0]), st.floats(0, 2))


def programs(waits: st.SearchStrategy[float]) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(waits, min_size=1, max_size=6), min_size=1, max_size=12)


History = list[tuple[float, int, int]]


def processes(environment: simpy.Environment, program: list[list[float]]) -> History:
    """Each of these waits, notes that it has, and from the second wait on has a child do so too."""
    history: History = []

    def work(name: int, times: list[float]) -> Generator[simpy.Event, Any, None]:
        for step, wait in enumerate(times):
            yield environment.timeout(wait)
            history.append((environment.now, name, step))
            if step == 1:
                environment.process(work(100 + name, times[2:]))
        yield environment.event().succeed()
        history.append((environment.now, name, -1))

    for name, times in enumerate(program):
        environment.process(work(name, times))
    return history


@settings(max_examples=100, deadline=None)
@given(program=programs(finite | st.just(math.inf)))
def test_the_order_is_simpys(program: list[list[float]]) -> None:
    environment, calendar, stepped = simpy.Environment(), Calendar(), Calendar()
    expected = processes(environment, program)
    environment.run(until=END)
    passed = processes(calendar, program)
    calendar.pass_until(END / 2)
    calendar.pass_until(END)
    one_by_one = processes(stepped, program)
    stepped.run(until=END)
    assert passed == one_by_one == expected
    assert calendar.now == END
    assert calendar.peek() >= END


@settings(max_examples=50, deadline=None)
@given(program=programs(finite))
def test_a_sleeper_is_a_process_that_only_waits(program: list[list[float]]) -> None:
    environment, calendar = simpy.Environment(), Calendar()
    expected: History = []
    history: History = []

    def process(name: int, times: list[float]) -> Generator[simpy.Event, Any, None]:
        for step, wait in enumerate(times):
            yield environment.timeout(wait)
            expected.append((environment.now, name, step))

    def sleeper(name: int, times: list[float]) -> Instants:
        for step, wait in enumerate(times):
            yield calendar.now + wait
            history.append((calendar.now, name, step))

    for name, times in enumerate(program):
        environment.process(process(name, times))
        Sleeper(calendar, sleeper(name, times))
    environment.run(until=END)
    calendar.pass_until(END)
    assert history == expected


def test_it_counts_what_it_was_asked_for() -> None:
    calendar = Calendar()
    for _ in range(3):
        calendar.timeout(1.0)
    assert calendar.scheduled == calendar.scheduled == 3


@pytest.mark.parametrize("sleeps", [True, False])
def test_what_goes_wrong_in_a_process_ends_the_run(sleeps: bool) -> None:
    calendar = Calendar()

    def sleep() -> Instants:
        yield 1.0
        raise RuntimeError("seen")

    def wait() -> Generator[simpy.Event, Any, None]:
        yield calendar.timeout(1.0)
        raise RuntimeError("seen")

    if sleeps:
        Sleeper(calendar, sleep())
    else:
        calendar.process(wait())
    with pytest.raises(RuntimeError, match="seen"):
        calendar.pass_until(END)
