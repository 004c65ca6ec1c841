"""How fast the simulator is: events of one process a service, and a million services for an hour.

Meant are, on a quiet machine, 450,000 events a second, and 60 s and 2 GiB for the million. What is
seen goes into the table, by the processor's time; memory alone can be held to its bound anywhere.
"""

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

BYTES = 2 * 2**30


def _run(name: str, backend: str, **settings: Any) -> Run:
    overrides = [f"{path.replace('__', '.')}={value}" for path, value in settings.items()]
    runs = plan(load(f"scenarios/{name}.yaml", overrides))
    return next(run for run in runs if run.backend_name == backend)


@pytest.mark.parametrize("backend", ["db-nova", "db-tuned", "zk"])
def test_events_of_ten_thousand_services_a_second(benchmark: Any, backend: str) -> None:
    """The whole model, observers included."""
    run = _run("crash-10k", backend)
    rates = []

    def simulate() -> Outcome:
        begun = time.process_time()
        found = outcome(run, STATED, plain=True)
        rates.append(found.events / (time.process_time() - begun))
        return found

    found = benchmark.pedantic(simulate, rounds=3)
    benchmark.extra_info["events_per_second"] = max(rates)
    assert found.events > 10 * run.scenario.services.count


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
