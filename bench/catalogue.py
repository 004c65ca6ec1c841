"""What can be named on the command line: `list` shows it, `completion` has the shell know it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.options import as_json
from bench.scenario import load, shipped

if TYPE_CHECKING:
    from bench.store import Listed

PROGRAM = "heartbench"


def scenarios(_ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Completes an argument that is a scenario: one that is shipped, or a file."""
    names = [path.stem for path in shipped() if path.stem.startswith(begun)]
    # The file first: bash drops what it was told before, and asks for files if nothing comes after.
    return [CompletionItem(begun, type="file"), *map(CompletionItem, names)]


@click.command("list")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="The folder of all results.",
)
@as_json
def list_(out: Path, as_json: bool) -> None:
    """List the scenarios that are shipped, each with its question, and the results here."""
    from bench.store import results  # not at import: it needs pandas

    known = [load(path) for path in shipped()]
    made = list(results(out))
    if as_json:
        told = {
            "scenarios": [{"name": each.name, "question": each.question} for each in known],
            "results": [{**dataclasses.asdict(each), "path": str(each.path)} for each in made],
        }
        click.echo(json.dumps(told, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_table(("scenario", "question"), [(it.name, it.question) for it in known]))
    if made:
        headings = ("scenario", "result", "engine", "verdict")
        rows = [(it.scenario, it.path.name, it.engine, _verdict(it)) for it in made]
        console.print(_table(headings, rows))
    for each in made:
        if each.problem:
            click.echo(each.problem, err=True)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading != "question")
    for row in rows:
        table.add_row(*map(Text, row))  # a name is no markup
    return table


def _verdict(result: Listed) -> str:
    missed = result.verdict == "valid" and not result.good
    return f"{result.verdict}, objectives missed" if missed else result.verdict


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that has a shell complete this command.

    \b
    bash  eval "$(heartbench completion bash)"      in ~/.bashrc
    zsh   eval "$(heartbench completion zsh)"       in ~/.zshrc
    fish  heartbench completion fish | source       in ~/.config/fish/config.fish
    """
    whole = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    click.echo(kind(whole, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())


COMMANDS = (list_, completion)
