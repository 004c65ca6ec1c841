"""The `heartbench` command: arguments in, one value out, one call.

Exit codes: 0 good; 1 an objective or a regression failed; 2 the scenario or the call is wrong;
3 the run is invalid, or broke off by an exception; 4 the machine or a server is not up to it;
130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from bench import catalogue, decide, shell
from bench import doctor as machine
from bench.errors import HarnessError, ScenarioError
from bench.interruption import interruptible
from bench.options import as_json
from bench.plan import Cost, Run, cost
from bench.plan import plan as planned
from bench.report.progress import shown
from bench.report.table import table as result_table
from bench.scenario import find, load
from bench.scenario import schema as scenario_schema

if TYPE_CHECKING:
    from bench.run import Outcome

INTERRUPTED = 130
BROKE_OFF = 3
FROM_SCRATCH = {
    "scenarios": "SCENARIO",
    "overrides": "--set",
    "repeat": "--repeat",
    "out": "--out",
}
"""What a run that is resumed takes from its result."""


class Commands(click.Group):
    """Turns what ends a command into its exit code; SIGTERM ends it like Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with interruptible():
                return super().invoke(ctx)
        except HarnessError as error:
            problems = error.problems if isinstance(error, ScenarioError) else [str(error)]
            _complain(ctx, problems, error.exit_code, type(error).__name__)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _complain(ctx, ["interrupted"], INTERRUPTED, "KeyboardInterrupt")
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - Python would exit with 1: a failed objective
            traceback.print_exc()
            _complain(ctx, [str(error)], BROKE_OFF, type(error).__name__)
            ctx.exit(BROKE_OFF)


def _complain(ctx: click.Context, problems: Sequence[str], exit_code: int, error: str) -> None:
    for problem in problems:
        click.echo(problem, err=True)
    if ctx.meta.get("json"):
        told = {"error": error, "exit_code": exit_code, "problems": list(problems)}
        click.echo(json.dumps(told))  # one line: what came before it may have been lines too


def _say(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Set a field of the scenario, such as services.count=500. May be repeated.",
)
servers = click.option(
    "--servers",
    multiple=True,
    default=("auto",),
    metavar="auto|docker|local|URL",
    help="Where the servers come from; one URL for each kind that already runs.",
)


@click.group(cls=Commands)
@click.version_option(package_name="heartbench")
def main() -> None:
    """Measure group membership on SQL heartbeats and on ZooKeeper.

    A SCENARIO is a file, or the name of one that is shipped, such as quickstart.
    """


for command in (*shell.COMMANDS, *decide.COMMANDS, *catalogue.COMMANDS):
    main.add_command(command)


@main.command()
@click.argument(
    "scenarios", metavar="SCENARIO...", nargs=-1, required=True, shell_complete=catalogue.scenarios
)
@overrides
@as_json
def validate(scenarios: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Check scenarios, and name everything that is wrong with them."""
    right: dict[str, tuple[Run, ...]] = {}
    problems: list[str] = []
    for scenario in scenarios:
        try:
            right[scenario] = planned(load(find(scenario), overrides))
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    if as_json:
        _say([{"scenario": name, "runs": len(runs)} for name, runs in right.items()])
    else:
        for name, runs in right.items():
            click.echo(f"{name}: right, {_many(len(runs), 'run')}")


@main.command()
@as_json
def schema(as_json: bool) -> None:  # noqa: ARG001 - it is JSON in any case
    """Print the JSON Schema of scenarios, for editors."""
    _say(scenario_schema())


@main.command()
@click.argument("scenario", shell_complete=catalogue.scenarios)
@overrides
@as_json
def plan(scenario: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what a run would do and take, without starting anything."""
    runs = planned(load(find(scenario), overrides))
    costs = [cost(run) for run in runs]
    if as_json:
        _say(_plan_value(runs, costs))
    else:
        _show_plan(runs, costs)


@main.command()
@click.argument("scenario", default="quickstart", shell_complete=catalogue.scenarios)
@overrides
@servers
@click.option("--clean", is_flag=True, help="Only remove what dead harnesses have left here.")
@as_json
def doctor(
    scenario: str, overrides: tuple[str, ...], servers: tuple[str, ...], clean: bool, as_json: bool
) -> None:
    """Say what this machine lacks for a scenario, and the command that mends it."""
    if clean:
        _clean(as_json)
        return
    lacks = machine.examine(planned(load(find(scenario), overrides)), servers)
    if as_json:
        _say({"ok": not lacks, "lacks": [dataclasses.asdict(lack) for lack in lacks]})
    else:
        for lack in lacks:
            click.echo(f"{lack.what}\n  why:  {lack.why}\n  mend: {lack.command}")
        if not lacks:
            click.echo(f"{scenario}: this machine has all it takes")
    if lacks:
        raise click.exceptions.Exit(4)


def _clean(as_json: bool) -> None:
    from bench.engines.live.leftovers import clean  # not at import: most commands need no engine

    removed = []
    for leftover in clean():
        removed.append(dataclasses.asdict(leftover))
        if not as_json:
            click.echo(f"removed {leftover.what} of the dead process {leftover.owner}")
    if as_json:
        _say({"removed": removed})
    elif not removed:
        click.echo("nothing is left of dead harnesses")


@main.command()
@click.argument("scenarios", metavar="[SCENARIO]...", nargs=-1, shell_complete=catalogue.scenarios)
@overrides
@click.option("--repeat", type=click.IntRange(min=1), help="Repeat so often; overrides the file.")
@click.option(
    "--engine",
    type=click.Choice(["live", "sim"]),
    default="live",
    show_default=True,
    help="On real servers, or in a model of them.",
)
@click.option(
    "--calibration",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What the model's servers take, as heartbench calibrate measured it; for --engine sim.",
)
@servers
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="The folder of all results.",
)
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Complete this result, in place of SCENARIO: do the runs that it lacks.",
)
@as_json
@click.pass_context
def run(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    overrides: tuple[str, ...],
    repeat: int | None,
    engine: str,
    calibration: Path | None,
    servers: tuple[str, ...],
    out: Path,
    resume: Path | None,
    as_json: bool,
) -> None:
    """Run scenarios on real servers or in a model of them, and say what came of them."""
    from bench.arms import Live, Simulated
    from bench.run import resume as resume_result  # not at import: validate needs no engine
    from bench.run import run as run_scenario

    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    more = [word for name, word in FROM_SCRATCH.items() if name in given]
    if resume is not None and more:
        raise click.UsageError(f"--resume takes all of that from DIR: leave out {more[0]}")
    if resume is None and not scenarios:
        raise click.UsageError("name a SCENARIO, or a result to --resume")
    if engine == "sim" and "servers" in given:
        raise click.UsageError("--engine sim has no servers: leave out --servers")
    if engine == "live" and calibration is not None:
        raise click.UsageError("real servers need no --calibration: add --engine sim")
    arm = Simulated.calibrated(calibration) if engine == "sim" else Live(servers)
    console = Console(stderr=True)
    outcomes = []
    if resume is not None:
        with shown(console, as_json=as_json) as listen:
            chosen = arm if given & {"servers", "engine", "calibration"} else None
            outcome = resume_result(resume, arm=chosen, listen=listen)
        if outcome is None:
            _say_finished(resume, as_json)
            return
        outcomes.append(outcome)
        _say_outcome(outcome, as_json)
    if repeat is not None:
        overrides = (*overrides, f"repeat={repeat}")
    for scenario in [load(find(scenario), overrides) for scenario in scenarios]:
        with shown(console, as_json=as_json) as listen:
            argv = ["heartbench", *sys.argv[1:]]  # by whatever path it was found
            outcome = run_scenario(scenario, arm=arm, out=out, argv=argv, listen=listen)
        outcomes.append(outcome)
        _say_outcome(outcome, as_json)
    if worst := max(outcome.exit_code for outcome in outcomes):
        raise click.exceptions.Exit(worst)


@main.command()
@click.option(
    "--servers",
    type=click.Choice(["auto", "local", "docker"]),
    default="auto",
    show_default=True,
    help="Where the servers come from.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("results/calibrations/here.json"),
    show_default=True,
    help="The calibration's file.",
)
@as_json
def calibrate(servers: str, output: Path, as_json: bool) -> None:
    """Measure what this machine's servers take, for --engine sim, in twenty minutes."""
    from bench.durable import write_text
    from bench.engines.live.calibrate import calibrate as measure

    with shown(Console(stderr=True), as_json=as_json) as listen:
        found = measure(servers, listen)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, found.dump())
    if as_json:
        _say({"path": str(output), "calibration": json.loads(found.dump())})
    else:
        click.echo(f"calibration: {output}; use it with --engine sim --calibration {output}")


def _say_outcome(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        _say({"path": str(outcome.path), "summary": outcome.summary})
    else:
        shell = Console(width=None if sys.stdout.isatty() else 100)
        shell.print(result_table(outcome.summary))
        shell.print(f"results: {outcome.path}", soft_wrap=True)


def _say_finished(path: Path, as_json: bool) -> None:
    if as_json:
        _say({"path": str(path), "finished": True})
    else:
        click.echo(f"{path}: finished already, no run is missing")


def _plan_value(runs: tuple[Run, ...], costs: list[Cost]) -> dict[str, Any]:
    return {
        "scenario": runs[0].scenario.name,
        "seconds": sum(each.seconds for each in costs),
        "runs": [
            {
                "index": run.index,
                "backend": run.backend_name,
                "repeat": run.repeat,
                "point": dict(run.point),
                "services": run.scenario.services.count,
                "duration": run.duration,
                "faults": [fault.plain(run.service_name) for fault in run.faults],
                "cost": dataclasses.asdict(each),
            }
            for run, each in zip(runs, costs, strict=True)
        ],
    }


def _show_plan(runs: tuple[Run, ...], costs: list[Cost]) -> None:
    total = sum(each.seconds for each in costs)
    scenario = runs[0].scenario
    table = Table(
        title=f"{scenario.name}: {_many(len(runs), 'run')}, about {_clock(total)}",
        caption="connections, ports: towards the servers, and towards one of them; "
        "files: open at once in one process",
    )
    table.add_column("run", justify="right")
    for column in ("backend", "point"):
        table.add_column(column)
    for column in ("services", "victims", "time", "connections", "ports", "files", "processes"):
        table.add_column(column, justify="right")
    for column in ("memory", "cores"):
        table.add_column(column, justify="right")
    for run, each in zip(runs, costs, strict=True):
        table.add_row(
            str(run.index + 1),
            run.backend_name,
            ", ".join(f"{field}={value}" for field, value in run.point.items()),
            f"{run.scenario.services.count:,}",
            f"{sum(len(fault.victims) for fault in run.faults):,}",
            _clock(each.seconds),
            f"{each.connections:,}",
            f"{each.ports:,}",
            f"{each.open_files:,}",
            f"{each.processes:,}",
            f"{each.memory / 1e9:.1f} GB",
            f"{each.cores:.2f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 132)
    console.print(table)
    late = {run.backend_name: each.unseen for run, each in zip(runs, costs, strict=True)}
    for name, seconds in late.items():
        if seconds > 0:
            console.print(
                f"{name}: the run ends {seconds:.1f} s before its slowest detection is due; "
                "what is not detected by then counts as missed (hold longer)"
            )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
