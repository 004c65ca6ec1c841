"""How a run looks while it runs: a line that keeps changing, or plain lines without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from bench.progress import Listener, Moment


@contextmanager
def shown(console: Console) -> Iterator[Listener]:
    """A listener that shows each moment on the console for as long as the block lasts."""
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
            console.print(f"{_title(moment)}: {moment.phase}{_planned(moment)}{_counts(moment)}")

    return listen


def _row(moment: Moment) -> Table:
    row = Table.grid(padding=(0, 2))
    left = "" if moment.length is None else f"{max(0.0, moment.length - moment.elapsed):.0f} s left"
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
        f", {moment.joined:,} joined, {moment.live:,} live, {moment.dead:,} dead, "
        f"{moment.seen:,} seen"
    )
