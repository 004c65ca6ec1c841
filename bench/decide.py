"""The commands that work on results: a report, an excerpt, a comparison, a gate."""

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
    help="The file to write: a page (.html), tables (.md), or the figure of a sweep (.svg).",
)
@as_json
def report(results: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write about a result, or about several side by side.

    A page opens offline. Tables go into a document that is there already, between its marks.
    """
    from bench.report.document import report as write  # not at import: it needs pandas

    written = write(results, out)
    click.echo(json.dumps(written.to_json(), indent=2) if as_json else f"report: {written.path}")


@click.command()
@click.argument("result", metavar="RESULT")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder of results to write it to, such as results/examples.",
)
@click.option("--figures", is_flag=True, help="Keep the figures alone, and no event.")
@as_json
def excerpt(result: str, out: Path, figures: bool, as_json: bool) -> None:
    """Write a result anew, small enough to be committed.

    All figures stay; of what they were made of, the victims' events do.
    """
    from bench.store import excerpt as write  # not at import: it needs pandas
    from bench.store import load

    written = write(load(result), out, victims=not figures)
    click.echo(json.dumps({"path": str(written)}) if as_json else f"excerpt: {written}")


@click.command()
@click.argument("results", metavar="A [B]", nargs=-1, required=True)
@_tolerances
@click.option(
    "--against-model",
    is_flag=True,
    help="Compare live results, those of a scenario pooled, with as many simulations as it takes.",
)
@click.option(
    "--calibration",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The simulations'; see heartbench calibrate.",
)
@click.option(
    "--detections",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Simulate until there are so many of each kind.",
)
@as_json
def compare(
    results: tuple[str, ...],
    tolerances: tuple[str, ...],
    against_model: bool,
    calibration: Path | None,
    detections: int,
    as_json: bool,
) -> None:
    """Show what changed from result A to result B, or how far the model is off.

    Of one scenario B is judged by A, as `gate` does; of different ones nothing is judged. A live
    and a simulated result show how far the prediction was off.

    \b
    heartbench compare A B
    heartbench compare LIVE... --against-model   exit codes: 0 near enough; 1 too far off;
                                                 3 too few detections to tell
    """
    if against_model:
        _try_model(results, calibration, detections, as_json)
        return
    if len(results) != 2:
        raise click.UsageError("compare takes two results, A and B; more with --against-model")
    from bench.compare import compare as compared
    from bench.compare import text
    from bench.gate.tolerances import Tolerances

    found = compared(*results, Tolerances().changed(tolerances))
    _end(json.dumps(found.to_json(), indent=2) if as_json else text(found), found.exit_code)


def _try_model(
    results: tuple[str, ...], calibration: Path | None, detections: int, as_json: bool
) -> None:
    from bench.calibration import STATED
    from bench.calibration import load as load_calibration
    from bench.trial import exit_code, text, trial

    def tell(scenario: str, done: int, of: int) -> None:
        if done in (1, of) or done % max(1, of // 10) == 0:
            click.echo(f"{scenario}: {done:,} of {of:,} simulated", err=True)

    costs = STATED if calibration is None else load_calibration(calibration)
    trials = trial(results, costs, detections, tell)
    told = json.dumps([each.to_json() for each in trials], indent=2) if as_json else text(trials)
    _end(told, exit_code(trials))


@click.command()
@click.argument("subject", metavar="RESULT|SCENARIO")
@click.option("--baseline", metavar="B", help="Judge the result by this one, or a saved baseline.")
@click.option("--against", metavar="GIT-REF", help="Run the scenario on that version by turns.")
@click.option("--calibrate", metavar="FILE", help="Add identical runs to this noise floor.")
@click.option("--save-baseline", metavar="FILE", help="Save the result as a baseline.")
@click.option("--save-benchmark", metavar="FILE", help="Save it for pytest-benchmark compare.")
@click.option("--counts", is_flag=True, help="Judge counts alone: times need six pairs of runs.")
@_tolerances
@click.option("--noise", metavar="FILE", help="What --calibrate wrote; told beside each time.")
@click.option("--pairs", type=click.IntRange(min=0), default=6, show_default=True)
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
    from bench.gate import noise
    from bench.gate.formats import FORMATS

    if as_json:
        told = json.dumps(outcome.to_json(), indent=2)
    elif isinstance(outcome, noise.Noise):
        told = noise.text(outcome)
    else:
        told = FORMATS[form](outcome)
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
    """The outcome, or the noise floor; None where neither was asked for."""
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
    if not pairs and not calibrate:
        raise ScenarioError(["gate: without a pair nothing can be said: leave out --pairs 0"])
    tolerated = Tolerances().changed(tolerances)
    tolerated = tolerated.counts_only() if counts else tolerated
    running: dict[str, Any] = {
        "pairs": pairs,
        "servers": servers,
        "overrides": overrides,
        "say": lambda words: click.echo(words, err=True),
    }
    if against:
        return turns.against(find(subject), against, tolerated, noise=noise, **running)
    if calibrate:
        return turns.calibrate(find(subject), Path(calibrate), tolerated, **running)
    if save_baseline:
        measured(subject).save(save_baseline)
    if save_benchmark:
        Path(save_benchmark).write_text(json.dumps(benchmark(measured(subject)), indent=1))
    return judged(subject, baseline, tolerated, noise=noise) if baseline else None


def _end(told: str, exit_code: int) -> None:
    click.echo(told)
    if exit_code:
        raise click.exceptions.Exit(exit_code)


COMMANDS = (report, excerpt, compare, gate)
