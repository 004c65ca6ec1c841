"""Several ways to the same end, measured in one run and shown side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

OURS = "membership"


def measured(
    benchmark: BenchmarkFixture,
    ways: Mapping[str, Callable[[], Any]],
    rounds: int,
    right: Callable[[Any], bool],
) -> dict[str, list[float]]:
    """Seconds that each way took, in turns, so that what the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}

    def one_round() -> None:
        for name, way in ways.items():
            begun = time.perf_counter()
            answer = way()
            seconds[name].append(time.perf_counter() - begun)
            assert right(answer), name

    benchmark.pedantic(one_round, rounds=rounds)
    benchmark.extra_info.update(medians(seconds))
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(each) for name, each in seconds.items()}


def slower_than_ours(seconds: Mapping[str, Sequence[float]]) -> bool:
    """Whether each of the peers' medians is above ours."""
    peers = medians(seconds)
    mine = peers.pop(OURS)
    return all(mine < theirs for theirs in peers.values())


def shown(
    capsys: pytest.CaptureFixture[str],
    title: str,
    seconds: Mapping[str, Sequence[float]],
    caption: str = "",
) -> None:
    table = Table(title=title, caption=caption)
    table.add_column("")
    for column in ("least, ms", "median, ms", "most, ms", "ratio"):
        table.add_column(column, justify="right")
    middle = medians(seconds)
    for name, each in seconds.items():
        median, mine = middle[name], middle[OURS]
        figures = (min(each) * 1e3, median * 1e3, max(each) * 1e3)
        table.add_row(name, *(f"{figure:,.1f}" for figure in figures), f"{median / mine:.2f}")
    with capsys.disabled():
        console = Console(width=100)
        console.print()
        console.print(table)
