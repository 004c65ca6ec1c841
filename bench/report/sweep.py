"""What a sweep bought: at which points each backend did what the scenario asks for, at what cost.

A point of a backend is bought where its runs are valid and meet every objective of the scenario.
Elsewhere its costs are the price of something else, and aren't told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.report.paths import Figures, at
from bench.report.quantity import plain
from bench.result import Verdict
from bench.store import Loaded


@dataclass(frozen=True)
class Cost:
    """Something that servers spend on each service."""

    label: str
    unit: str
    """Of a service and second."""
    paths: tuple[str, ...]
    """Below a backend of the summary; a backend has one of them."""
    scale: float = 1.0
    """From the summary's unit to `unit`."""

    def path(self, figures: Figures) -> str:
        """The one that this backend has."""
        return next((path for path in self.paths if at(figures, path) is not None), self.paths[0])


EACH = "per_service_second"
COSTS = (
    Cost("server CPU", "µs/s", (f"load.server_cpu_cores_{EACH}",), 1e6),
    Cost("network", "B/s", (f"load.network_bytes_{EACH}",)),
    Cost("disk writes", "B/s", (f"load.disk_write_bytes_{EACH}",)),
    Cost("statements or packets", "1/s", (f"load.statements_{EACH}", f"load.packets_{EACH}")),
)


@dataclass(frozen=True)
class Point:
    """A backend at one value of the swept field."""

    backend: str
    value: float
    figures: Figures
    lacking: tuple[str, ...]
    """Why it isn't bought, in words; empty where it is."""

    @property
    def bought(self) -> bool:
        return not self.lacking


@dataclass(frozen=True)
class Sweep:
    """A result in which one numeric field was swept."""

    field: str
    points: tuple[Point, ...]
    """By value, and for each in the order of the backends."""
    rules: tuple[str, ...]
    """The objectives that had to be met."""

    @property
    def backends(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.backend for point in self.points))

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(point.value for point in self.points))

    def of(self, backend: str) -> tuple[Point, ...]:
        """The points of a backend, by value."""
        return tuple(point for point in self.points if point.backend == backend)

    def knee(self, backend: str) -> float | None:
        """The largest value that the backend bought below the first that it didn't; None where
        that is the first one."""
        last = None
        for point in self.of(backend):
            if not point.bought:
                break
            last = point.value
        return last


def sweep(result: Loaded) -> Sweep | None:
    """None unless just one field was swept, and its values are numbers."""
    summary = result.summary
    field = swept_field(figures.get("point") or {} for figures in summary["backends"].values())
    if field is None:
        return None
    points = [
        Point(
            backend=figures["backend"],
            value=figures["point"][field],
            figures=figures,
            lacking=tuple(_lacking(name, figures, summary)),
        )
        for name, figures in summary["backends"].items()
    ]
    return Sweep(
        field=field,
        points=tuple(sorted(points, key=lambda point: point.value)),
        rules=tuple(dict.fromkeys(row["rule"] for row in summary["slo"])),
    )


def swept_field(points: Iterable[Mapping[str, Any]]) -> str | None:
    """The one field in which these points of a matrix differ, if its values are numbers."""
    known = list(points)
    fields = {field for point in known for field in point}
    differing = [field for field in fields if len({repr(point.get(field)) for point in known}) > 1]
    if len(differing) != 1:
        return None
    (field,) = differing
    return field if all(isinstance(point.get(field), int | float) for point in known) else None


def _lacking(name: str, figures: Figures, summary: Mapping[str, Any]) -> Iterator[str]:
    if figures.get("verdict", summary["verdict"]) != Verdict.VALID:
        joined, planned = (at(figures, f"audit.services_{what}") for what in ("joined", "planned"))
        if joined is not None and planned is not None and joined < planned:
            yield f"only {plain(joined)} of {plain(planned)} joins were answered"
        yield from figures.get("reasons") or ["its runs are not valid"]
    for row in summary["slo"]:
        if row["backend"] == name and not row["ok"]:
            yield row["reason"] or f"{row['rule']}, but it was {plain(row['value'])}"
