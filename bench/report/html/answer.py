"""What came of the question, in a sentence or a few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.report.html.columns import Column
from bench.report.paths import at
from bench.report.quantity import plain, seconds

FEW = 4
"""More backends than these are told by their extremes."""


def answer(columns: Sequence[Column]) -> tuple[str, ...]:
    """The figures that matter, as sentences; what the tables say at length."""
    return tuple(_sentences(columns)) or ("Nothing was measured.",)


def objectives(slo: Sequence[Mapping[str, Any]]) -> str:
    """How many of a result's objectives were met."""
    failed = sum(not rule["ok"] for rule in slo)
    if not slo:
        return "No objective was set."
    if failed:
        return f"{failed} of {len(slo)} objectives failed."
    return "The objective was met." if len(slo) == 1 else f"All {len(slo)} objectives were met."


def _sentences(columns: Sequence[Column]) -> Iterator[str]:
    noticed = sorted(
        (each for each in columns if at(each.figures, "detection.mean") is not None),
        key=lambda each: at(each.figures, "detection.mean") or 0.0,
    )
    if noticed:
        yield f"A crash was noticed {_list([_noticed(each) for each in _few(noticed)])}."
    struck = [each for each in columns if at(each.figures, "detection.count")]
    if struck:
        missed = [each for each in struck if at(each.figures, "detection.missed")]
        yield (
            f"{_list([_missed(each) for each in _few(missed)])}."
            if missed
            else "Every crash was noticed."
        )
    judged = [each for each in columns if at(each.figures, "mistakes.count") is not None]
    if judged:
        mistaken = [each for each in judged if at(each.figures, "mistakes.count")]
        yield (
            f"{_list([_mistaken(each) for each in _few(mistaken)])}."
            if mistaken
            else "No live service was called dead."
        )
    loaded = [each for each in columns if at(each.figures, "load.server_cpu_cores") is not None]
    if loaded:
        yield f"The servers used {_list([_used(each) for each in _few(loaded)])}."


def _few(columns: Sequence[Column]) -> Sequence[Column]:
    """The first and the last of many."""
    return columns if len(columns) <= FEW else (columns[0], columns[-1])


def _noticed(column: Column) -> str:
    mean, p99 = (at(column.figures, f"detection.{name}") for name in ("mean", "p99"))
    return f"after {seconds(mean)} on average by {column.label} (p99 {seconds(p99)})"


def _missed(column: Column) -> str:
    missed, count = (at(column.figures, f"detection.{name}") for name in ("missed", "count"))
    return f"{column.label} never noticed {plain(missed)} of {plain(count)} crashes"


def _mistaken(column: Column) -> str:
    count = at(column.figures, "mistakes.count")
    services = "service" if count == 1 else "services"
    return f"{column.label} called {plain(count)} live {services} dead"


def _used(column: Column) -> str:
    cores, services = (at(column.figures, name) for name in ("load.server_cpu_cores", "services"))
    return f"{plain(cores)} cores with {column.label} ({plain(services)} services)"


def _list(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
