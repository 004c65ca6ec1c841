"""The composition root: scenario -> plan -> engine -> measure -> store.

One scenario in, one result directory out; or half a result in, the whole one out. Nothing is
started before the machine has been found fit, and whatever ends the runs early, what they had
recorded by then is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arms import Arm, Live, arm_of
from bench.interruption import postponed
from bench.manifest import manifest, version
from bench.measure.audit import Bounds
from bench.measure.summary import summarise
from bench.plan import Run, plan
from bench.progress import Listener, silent
from bench.result import Record, Verdict
from bench.scenario import Scenario, dump
from bench.scenario import load as load_scenario
from bench.store import Loaded, Recording, ResultError, Store, load
from bench.store import resume as reopen


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
    arm: Arm = Live(),  # noqa: B008 - frozen
    out: Path,
    argv: Sequence[str] = (),
    listen: Listener = silent,
) -> Outcome:
    """Run a scenario and judge it.

    ``arm``: on which servers, or in which model of them. ``out``: the folder of all results.
    ``argv``: the command, for the manifest.

    Raises: MachineError, before anything is started, where this machine can't do it; and what the
    engine raises. What was recorded until then is in the result's directory.
    """
    runs = plan(scenario)
    arm.fit(runs)
    described = manifest(
        scenario=scenario.name,
        seed=scenario.seed,
        engine=arm.name,
        argv=argv,
        told=arm.described(),
    )
    recording = Store(out).begin(scenario.name, dump(scenario), described)
    return _carry_out(scenario, runs, recording, [], arm, listen)


def resume(directory: Path, *, arm: Arm | None = None, listen: Listener = silent) -> Outcome | None:
    """Complete a result whose runs broke off, or whose harness was killed; None if it is whole.

    Runs that were recorded to their end are kept as they are, all others are done (again).
    ``arm``: as for `run`; None: as the result says that it was begun.

    Raises: ResultError where it is no result, or one that can't be completed: of another
    scenario than the one beside it, of another version of heartbench, or one that is still being
    written. Otherwise as `run`.
    """
    result = load(directory)
    scenario = load_scenario(result.path / "scenario.yaml")
    runs = plan(scenario)
    _expect_ours(result, scenario, runs, arm)
    kept = [record for record in result.records() if record.complete]
    done = {record.index for record in kept}
    left = [each for each in runs if each.index not in done]
    if not left and result.finished:
        return None
    chosen = arm or arm_of(result)
    if left:
        chosen.fit(left)
    return _carry_out(scenario, left, reopen(result, done), kept, chosen, listen)


def _carry_out(
    scenario: Scenario,
    runs: Sequence[Run],
    recording: Recording,
    records: list[Record],
    arm: Arm,
    listen: Listener,
) -> Outcome:
    """Do these runs, and judge them together with the ``records`` that are there already."""
    with recording:

        def keep(record: Record) -> None:
            records.append(record)
            recording.add(record)

        try:
            arm.execute(runs, keep, listen)
        except BaseException as error:
            with postponed():
                recording.finish(judge(scenario, records, arm.name), broken_off=_why(error))
            raise
        summary = judge(scenario, records, arm.name)
        with postponed():
            return Outcome(recording.finish(summary), summary)


def judge(scenario: Scenario, records: Sequence[Record], engine: str) -> dict[str, Any]:
    """The summary of these records, by the scenario's bounds and objectives."""
    bounds = Bounds(
        lateness_p99=scenario.audit.lateness_p99,
        stall=scenario.audit.stall,
        rate_reached=scenario.audit.rate_reached,
        harness_cpu_cores=scenario.audit.harness_cpu,
        model_error_p99=scenario.audit.model_error_p99,
    )
    return summarise(records, bounds, scenario.slo, engine=engine)


def _expect_ours(result: Loaded, scenario: Scenario, runs: Sequence[Run], arm: Arm | None) -> None:
    """Raises: ResultError unless these are the runs that the result was begun for, by us."""
    made = result.manifest
    ours = {"scenario": scenario.name, "seed": scenario.seed}
    if arm is not None:
        ours["engine"] = arm.name
    for what, right in ours.items():
        if made.get(what) != right:
            raise ResultError(
                f"{result.path}: its manifest says {what} {made.get(what)}, but {right} is to be "
                "resumed; restore it from a copy, or run the scenario again"
            )
    theirs = made.get("versions", {}).get("heartbench")
    if theirs != version():
        raise ResultError(
            f"{result.path}: begun by heartbench {theirs}, this is {version()}: their runs can't "
            "be judged together; resume it with that version, or run the scenario again"
        )
    planned = {each.index: (each.backend_name, each.repeat, dict(each.point)) for each in runs}
    for record in result.records():
        if planned.get(record.index) != (record.backend, record.repeat, dict(record.point)):
            raise ResultError(
                f"{result.path}: run {record.index} is not one of its scenario.yaml; restore it "
                "from a copy, or run the scenario again"
            )


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
