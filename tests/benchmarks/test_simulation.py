"""How fast the simulator is: events of one process a service, and a million services."""

from __future__ import annotations

import resource
import time
from typing import Any

import pytest

from bench.calibration import STATED
from bench.engines.sim.engine import outcome
from bench.engines.sim.outcome import Outcome
from bench.plan import Run, plan
from bench.scenario import load

EVENTS_PER_SECOND = 450_000
SECONDS = 60.0
BYTES = 2 * 2**30


def _run(name: str, backend: str, **settings: Any) -> Run:
    overrides = [f"{path.replace('__', '.')}={value}" for path, value in settings.items()]
    runs = plan(load(f"scenarios/{name}.yaml", overrides))
    return next(run for run in runs if run.backend_name == backend)


@pytest.mark.parametrize("backend", ["db-nova", "db-tuned", "zk"])
def test_events_of_ten_thousand_services_a_second(benchmark: Any, backend: str) -> None:
    """The whole model, observers included, by the processor's time."""
    run = _run("crash-10k", backend)
    rates = []

    def simulate() -> Outcome:
        begun = time.process_time()
        found = outcome(run, STATED, plain=True)
        rates.append(found.events / (time.process_time() - begun))
        return found

    benchmark.pedantic(simulate, rounds=3)
    benchmark.extra_info["events_per_second"] = max(rates)
    assert max(rates) > EVENTS_PER_SECOND


@pytest.mark.parametrize("backend", ["db-tuned", "zk"])
def test_a_million_services_for_an_hour(benchmark: Any, backend: str) -> None:
    """One core, and the record that is handed on, by the processor's time."""
    run = _run("million", backend, matrix="{services.count: [1_000_000]}")
    begun = time.process_time()
    record = benchmark.pedantic(lambda: outcome(run, STATED).record(run, {}), rounds=1)
    took = time.process_time() - begun
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    benchmark.extra_info.update(seconds=took, bytes=highest)
    assert record.complete
    assert took < SECONDS
    assert highest < BYTES
