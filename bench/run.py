"""The composition root: scenario -> plan -> engine -> measure -> store.

One scenario in, one result directory out. Nothing is started before the machine has been found
fit, and whatever ends the runs early, what they had recorded by then is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import doctor
from bench.engines.live.engine import execute
from bench.engines.live.provision import kind_of
from bench.errors import MachineError
from bench.interruption import postponed
from bench.manifest import manifest
from bench.measure.audit import Bounds
from bench.measure.summary import summarise
from bench.plan import Run, plan
from bench.progress import Listener, silent
from bench.result import Record, Verdict
from bench.scenario import Scenario, dump
from bench.store import Store


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario."""

    path: Path
    """The result's directory."""
    summary: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0 good; 1 an objective failed; 3 the numbers may not be believed."""
        if self.summary["verdict"] != Verdict.VALID:
            return 3
        return 0 if all(rule["ok"] for rule in self.summary["slo"]) else 1


def run(
    scenario: Scenario,
    *,
    servers: Sequence[str] = ("auto",),
    out: Path,
    argv: Sequence[str] = (),
    listen: Listener = silent,
) -> Outcome:
    """Run a scenario on real servers and judge it.

    ``servers``: ``auto``, ``local``, ``docker``, or URLs of servers that already run, one for
    each kind. ``out``: the folder of all results. ``argv``: the command, for the manifest.

    Raises: MachineError, before anything is started, where this machine can't do it; and what the
    engine raises. What was recorded until then is in the result's directory.
    """
    runs = plan(scenario)
    fit(runs, servers)
    store = Store(out)
    described = manifest(scenario=scenario.name, seed=scenario.seed, engine="live", argv=argv)
    with store.begin(scenario.name, dump(scenario), described) as recording:
        records: list[Record] = []

        def keep(record: Record) -> None:
            records.append(record)
            recording.add(record)

        try:
            for each in runs:
                execute(each, where=_where(each, servers), keep=keep, listen=listen)
        except BaseException as error:
            with postponed():
                recording.finish(judge(scenario, records), broken_off=_why(error))
            raise
        summary = judge(scenario, records)
        with postponed():
            return Outcome(recording.finish(summary), summary)


def fit(runs: Sequence[Run], servers: Sequence[str]) -> None:
    """Raises: MachineError with all that this machine lacks, and the commands that mend it."""
    if lacks := doctor.examine(runs, servers):
        told = "\n".join(f"{lack.what}: {lack.why}; mend it: {lack.command}" for lack in lacks)
        raise MachineError(f"this machine is not up to {runs[0].scenario.name}:\n{told}")


def judge(scenario: Scenario, records: Sequence[Record]) -> dict[str, Any]:
    """The summary of these records, by the scenario's bounds and objectives."""
    bounds = Bounds(
        lateness_p99=scenario.audit.lateness_p99,
        harness_cpu_cores=scenario.audit.harness_cpu,
        model_error_p99=scenario.audit.model_error_p99,
    )
    return summarise(records, bounds, scenario.slo)


def _where(each: Run, servers: Sequence[str]) -> str:
    if servers[0] in ("auto", "local", "docker"):
        return servers[0]
    return next(url for url in servers if kind_of(url) == each.backend.kind)


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
