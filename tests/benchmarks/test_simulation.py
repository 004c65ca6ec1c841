"""How fast the simulator is: events of one process a service, and a million services for an hour.

Meant are, on a quiet machine, 450,000 events a second, and 60 s and 2 GiB for the million. What is
seen goes into the table, by the processor's time; memory alone can be held to its bound anywhere.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import simpy

from bench.calibration import STATED
from bench.engines.sim.engine import outcome
from bench.engines.sim.outcome import Outcome
from bench.plan import Run, plan
from bench.scenario import load, loads

BYTES = 2 * 2**30
SERVICES, INTERVAL = 10_000, 10.0


def _run(name: str, backend: str, **settings: Any) -> Run:
    overrides = [f"{path.replace('__', '.')}={value}" for path, value in settings.items()]
    runs = plan(load(f"scenarios/{name}.yaml", overrides))
    return next(run for run in runs if run.backend_name == backend)


def _bare_events_a_second() -> float:
    """Of SimPy itself: as many processes, which do nothing but wait."""

    def wait(first: float) -> Generator[simpy.Event, Any, None]:
        yield environment.timeout(first)
        while True:
            yield environment.timeout(INTERVAL)

    environment = simpy.Environment()
    for service in range(SERVICES):
        environment.process(wait(INTERVAL * service / SERVICES))
    begun = time.process_time()
    environment.run(until=20 * INTERVAL)
    return 20 * SERVICES / (time.process_time() - begun)


@pytest.mark.parametrize("backend", ["db-nova", "db-tuned", "zk"])
def test_events_of_ten_thousand_services_a_second(benchmark: Any, backend: str) -> None:
    """The whole model, observers included, for ten minutes; beside SimPy alone, which with that
    many processes is slower than the calendar that the model has in place of its queue."""
    text = Path("scenarios/crash-10k.yaml").read_text().replace("- hold: 25s", "- hold: 600s")
    run = next(run for run in plan(loads(text, "crash-10k")) if run.backend_name == backend)
    rates, bare = [], []

    def simulate() -> Outcome:
        bare.append(_bare_events_a_second())
        begun = time.process_time()
        found = outcome(run, STATED, plain=True)
        rates.append(found.events / (time.process_time() - begun))
        return found

    found = benchmark.pedantic(simulate, rounds=3)
    benchmark.extra_info["events_per_second"] = max(rates)
    benchmark.extra_info["bare_simpy_per_second"] = max(bare)
    assert run.scenario.services.count == SERVICES
    assert found.events > 100 * SERVICES


@pytest.mark.parametrize("backend", ["db-tuned", "zk"])
def test_a_million_services_for_an_hour(benchmark: Any, backend: str) -> None:
    """On one core, with the record that is handed on."""
    run = _run("million", backend, matrix="{services.count: [1_000_000]}")
    begun = time.process_time()
    record = benchmark.pedantic(lambda: outcome(run, STATED).record(run, {}), rounds=1)
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    benchmark.extra_info.update(seconds=time.process_time() - begun, bytes=highest)
    assert record.services == 1_000_000
    assert highest < BYTES
