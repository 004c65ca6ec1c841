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

from bench import doctor
from bench.engines.live.engine import execute
from bench.engines.live.provision import kind_of
from bench.errors import MachineError
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

ENGINE = "live"


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
    described = manifest(
        scenario=scenario.name, seed=scenario.seed, engine=ENGINE, argv=argv, servers=servers
    )
    recording = Store(out).begin(scenario.name, dump(scenario), described)
    return _carry_out(scenario, runs, recording, [], servers, listen)


def resume(
    directory: Path, *, servers: Sequence[str] | None = None, listen: Listener = silent
) -> Outcome | None:
    """Complete a result whose runs broke off, or whose harness was killed; None if it is whole.

    Runs that were recorded to their end are kept as they are, all others are done (again).
    ``servers``: as for `run`; None: as the result says that it was begun.

    Raises: ResultError where it is no result, or one that can't be completed: of another
    scenario than the one beside it, of another version of heartbench, or one that is still being
    written. Otherwise as `run`.
    """
    result = load(directory)
    scenario = load_scenario(result.path / "scenario.yaml")
    runs = plan(scenario)
    _expect_ours(result, scenario, runs)
    kept = [record for record in result.records() if record.complete]
    done = {record.index for record in kept}
    left = [each for each in runs if each.index not in done]
    if not left and result.finished:
        return None
    chosen = _servers_of(result) if servers is None else servers
    if left:
        fit(left, chosen)
    return _carry_out(scenario, left, reopen(result, done), kept, chosen, listen)


def _carry_out(
    scenario: Scenario,
    runs: Sequence[Run],
    recording: Recording,
    records: list[Record],
    servers: Sequence[str],
    listen: Listener,
) -> Outcome:
    """Do these runs, and judge them together with the ``records`` that are there already."""
    with recording:

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
        stall=scenario.audit.stall,
        rate_reached=scenario.audit.rate_reached,
        harness_cpu_cores=scenario.audit.harness_cpu,
        model_error_p99=scenario.audit.model_error_p99,
    )
    return summarise(records, bounds, scenario.slo)


def _expect_ours(result: Loaded, scenario: Scenario, runs: Sequence[Run]) -> None:
    """Raises: ResultError unless these are the runs that the result was begun for, by us."""
    made = result.manifest
    ours = {"scenario": scenario.name, "seed": scenario.seed, "engine": ENGINE}
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


def _servers_of(result: Loaded) -> Sequence[str]:
    """Raises: ResultError where they were given with a password, which no result holds."""
    servers = [str(each) for each in result.manifest.get("servers", ["auto"])]
    if any("***" in each for each in servers):
        raise ResultError(
            f"{result.path}: was begun on servers with a password, which is not kept; "
            "name them again with --servers"
        )
    return servers


def _where(each: Run, servers: Sequence[str]) -> str:
    if servers[0] in ("auto", "local", "docker"):
        return servers[0]
    return next(url for url in servers if kind_of(url) == each.backend.kind)


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
