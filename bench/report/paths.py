"""Figures of a summary by their paths, such as `detection.every.p99`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figures = Mapping[str, Any]


def found(figures: Figures, path: str) -> Any:
    """Whatever is at the path; None where nothing is."""
    value: Any = figures
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def at(figures: Figures, path: str) -> float | None:
    """The figure of a path; None where there is none."""
    value = found(figures, path)
    return float(value) if isinstance(value, int | float) else None


def interval(figures: Figures, path: str) -> tuple[float, float] | None:
    """The figure's 95% interval over runs; None where there were too few."""
    ends = found(figures, f"ci95.{path}")
    return (float(ends[0]), float(ends[1])) if isinstance(ends, list) else None
