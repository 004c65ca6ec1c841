"""The commands that decide: a report, a comparison, a gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bench.errors import ScenarioError
from bench.options import as_json
from bench.scenario import find

_tolerances = click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="FIGURE=5%",
    help="How much more of a figure is tolerated; 0 is exact. May be repeated.",
)


@click.command()
@click.argument("results", metavar="RESULT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@as_json
def report(results: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write a page about a result, or about several side by side; it opens offline."""
    from bench.report.html import report as write  # not at import: it needs matplotlib

    written = write(results, out)
    click.echo(json.dumps(written.to_json(), indent=2) if as_json else f"report: {written.path}")


@click.command()
@click.argument("baseline", metavar="A")
@click.argument("result", metavar="B")
@_tolerances
@as_json
def compare(baseline: str, result: str, tolerances: tuple[str, ...], as_json: bool) -> None:
    """Show what changed from result A to result B.

    Of one scenario B is judged by A, as `gate` does; of different ones nothing is judged. A live
    and a simulated result show how far the prediction was off.
    """
    from bench.compare import compare as compared
    from bench.compare import text
    from bench.gate.tolerances import Tolerances

    found = compared(baseline, result, Tolerances().changed(tolerances))
    _end(json.dumps(found.to_json(), indent=2) if as_json else text(found), found.exit_code)


@click.command()
@click.argument("subject", metavar="RESULT|SCENARIO")
@click.option("--baseline", metavar="B", help="Judge the result by this one, or a saved baseline.")
@click.option("--against", metavar="GIT-REF", help="Run the scenario on that version by turns.")
@click.option("--calibrate", metavar="FILE", help="Write down how far identical runs lie apart.")
@click.option("--save-baseline", metavar="FILE", help="Save the result as a baseline.")
@click.option("--save-benchmark", metavar="FILE", help="Save it for pytest-benchmark compare.")
@click.option("--counts", is_flag=True, help="Judge counts alone: times need six pairs of runs.")
@_tolerances
@click.option("--noise", metavar="FILE", help="What --calibrate wrote; told beside each time.")
@click.option("--pairs", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--servers", multiple=True, default=("auto",), metavar="auto|docker|local|URL")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "junit"]),
    default="text",
    show_default=True,
)
@as_json
def gate(subject: str, form: str, as_json: bool, **options: Any) -> None:
    """Say whether a result is worse than a baseline.

    Exit codes: 0 pass; 1 fail; 3 inconclusive or invalid.

    \b
    heartbench gate RESULT --baseline B          judge a result
    heartbench gate RESULT --save-baseline FILE  make the baseline
    heartbench gate SCENARIO --against GIT-REF   run two versions by turns and judge
    heartbench gate SCENARIO --calibrate FILE    the noise floor of this machine
    """
    outcome = _gated(subject, **options)
    if outcome is None:
        return
    from bench.gate.formats import FORMATS

    told = json.dumps(outcome.to_json(), indent=2) if as_json else FORMATS[form](outcome)
    _end(told, outcome.exit_code)


def _gated(
    subject: str,
    *,
    baseline: str | None,
    against: str | None,
    calibrate: str | None,
    save_baseline: str | None,
    save_benchmark: str | None,
    counts: bool,
    tolerances: tuple[str, ...],
    noise: str | None,
    pairs: int,
    servers: tuple[str, ...],
    overrides: tuple[str, ...],
) -> Any:
    """The outcome; None where nothing was to be judged."""
    from bench.gate import gate as judged
    from bench.gate import measured
    from bench.gate import pairs as turns
    from bench.gate.benchmark import benchmark
    from bench.gate.tolerances import Tolerances

    ways = [
        name
        for name, given in (
            ("--baseline", baseline),
            ("--against", against),
            ("--calibrate", calibrate),
        )
        if given
    ]
    if len(ways) > 1 or not (ways or save_baseline or save_benchmark):
        raise ScenarioError(
            ["gate: give one of --baseline, --against, --calibrate, --save-baseline"]
        )
    tolerated = Tolerances().changed(tolerances)
    tolerated = tolerated.counts_only() if counts else tolerated
    running: dict[str, Any] = {
        "pairs": pairs,
        "servers": servers,
        "overrides": overrides,
        "say": lambda words: click.echo(words, err=True),
    }
    if against:
        return turns.against(find(subject), against, tolerated, **running)
    if calibrate:
        floor = turns.calibrate(find(subject), tolerated, **running)
        floor.save(calibrate)
        click.echo(f"noise floor of {floor.pairs} pairs: {calibrate}")
        return None
    if save_baseline:
        measured(subject).save(save_baseline)
    if save_benchmark:
        Path(save_benchmark).write_text(json.dumps(benchmark(measured(subject)), indent=1))
    return judged(subject, baseline, tolerated, noise=noise) if baseline else None


def _end(told: str, exit_code: int) -> None:
    click.echo(told)
    if exit_code:
        raise click.exceptions.Exit(exit_code)


COMMANDS = (report, compare, gate)
