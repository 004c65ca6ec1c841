"""How a run looks while it runs: a line that keeps changing, plain lines without a terminal, or
JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from bench.progress import Listener, Moment


@contextmanager
def shown(console: Console, *, as_json: bool = False) -> Iterator[Listener]:
    """A listener that shows each moment on the console for as long as the block lasts."""
    if as_json:
        yield _stream(console)
        return
    if not console.is_terminal:
        yield _lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda moment: live.update(_row(moment))


def _lines(console: Console) -> Listener:
    """One line for each phase, as it begins."""
    last: tuple[str, int, str] | None = None

    def listen(moment: Moment) -> None:
        nonlocal last
        phase = (moment.backend, moment.repeat, moment.phase)
        if phase != last:
            last = phase
            line = f"{_title(moment)}: {moment.phase}{_planned(moment)}{_counts(moment)}"
            console.print(line, soft_wrap=True)

    return listen


def _stream(console: Console) -> Listener:
    """A line of JSON for each phase as it begins, and one for each further second of it."""
    last: tuple[str, int, str] | None = None
    told = 0.0

    def listen(moment: Moment) -> None:
        nonlocal last, told
        phase = (moment.backend, moment.repeat, moment.phase)
        if phase != last or moment.elapsed >= told + 1.0:
            last, told = phase, moment.elapsed
            console.out(json.dumps(moment.to_json()), highlight=False)

    return listen


def _row(moment: Moment) -> Table:
    row = Table.grid(padding=(0, 2))
    left = "" if moment.left is None else f"{moment.left:.0f} s left"
    bar = ProgressBar(
        total=moment.length or None,
        completed=moment.elapsed,
        pulse=moment.length is None,
        width=24,
    )
    row.add_row(f"[bold]{_title(moment)}[/]", moment.phase, bar, left, _counts(moment).strip(", "))
    return row


def _title(moment: Moment) -> str:
    return f"{moment.backend} #{moment.repeat + 1}" if moment.repeat else moment.backend


def _planned(moment: Moment) -> str:
    return "" if not moment.length else f" for {moment.length:.0f} s"


def _counts(moment: Moment) -> str:
    if moment.length is None:  # there are no services yet
        return ""
    return (
        f", {moment.joined:,} joined, {moment.live:,} live, {moment.suspected:,} suspected, "
        f"{moment.dead:,} dead, {moment.rate:,.0f}/s sent"
    )
