"""One run in a model of its servers: what the live engine's records hold, without any server."""

from __future__ import annotations

from typing import Any

from bench.calibration import Calibration
from bench.engines.sim.outcome import Outcome
from bench.engines.sim.sql.run import simulate as simulate_sql
from bench.engines.sim.zookeeper.run import simulate as simulate_zookeeper
from bench.plan import Run
from bench.result import Record


def simulated(run: Run, calibration: Calibration, *, plain: bool = False) -> Record:
    """The record of one run. ``plain``: one process a service, which gives the same, slowly."""
    found = outcome(run, calibration, plain=plain)
    return found.record(run, described(calibration), only_live(run))


def outcome(run: Run, calibration: Calibration, *, plain: bool = False) -> Outcome:
    """What became of it, before it is written down."""
    simulate = simulate_sql if run.backend.kind == "sql" else simulate_zookeeper
    return simulate(run, calibration, plain=plain)


def only_live(run: Run) -> tuple[str, ...]:
    """What the scenario asks for that no simulation has: for a warning."""
    scenario, found = run.scenario, []
    if run.backend.image is not None:
        found.append(f"backends.{run.backend_name}.image: no container is started")
    if scenario.services.library:
        found.append("services.library: the model knows one kind of client, named as asked for")
    if scenario.audit.harness_cpu is not None:
        found.append("audit.harness_cpu: the harness's processors are those of the calibration")
    return tuple(found)


def described(calibration: Calibration) -> dict[str, Any]:
    """What records and manifests say of a calibration."""
    return {
        "made": calibration.made,
        "machine": calibration.machine.cpu,
        "warnings": list(calibration.warnings()),
    }
