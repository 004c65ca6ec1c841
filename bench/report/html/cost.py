"""What detection costs, and how both grow: each backend as a point, or as a curve of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan

from bench.report.html.canvas import INK, Chart, dashes, drawn, key, panels, shade
from bench.report.html.columns import Column
from bench.report.paths import at, interval
from bench.report.quantity import NONE, plain, seconds, size
from bench.report.sweep import swept_field

COSTS = (
    ("server CPU, cores for 1,000 services", "load.server_cpu_cores_per_service_second", 1e3),
    ("network, B/s for each service", "load.network_bytes_per_service_second", 1.0),
    ("disk writes, B/s for each service", "load.disk_write_bytes_per_service_second", 1.0),
)
MARKS = "osD^vPX*"

NAMED = 8
"""More points than these would have names over each other; the key tells them."""


def cost(columns: Sequence[Column]) -> Iterator[Chart]:
    """Mean detection time against each cost, where there is more than one point."""
    points = [each for each in columns if at(each.figures, "detection.mean") is not None]
    if len(points) < 2:
        return
    title = "Cost against latency"
    caption = (
        "Mean time to notice a crash against what the servers spend; lower left is better. Where "
        "there were several runs, the bars are 95% intervals over them."
    )
    with panels(len(COSTS), height=4.8) as (figure, axes):
        for drawing, (label, path, scale) in zip(axes, COSTS, strict=True):
            for number, column in enumerate(points):
                mean, value = _point(column, path, scale)
                drawing.errorbar(
                    mean,
                    value,
                    xerr=_reach(column, "detection.mean", mean, 1.0),
                    yerr=_reach(column, path, value, scale),
                    elinewidth=1.0,
                    marker=MARKS[column.shade % len(MARKS)],
                    color=shade(column.shade),
                    markersize=7,
                    linestyle="none",
                    markerfacecolor="none" if column.place else shade(column.shade),
                )
                if len(points) <= NAMED:
                    right = column.place % 2 == 0
                    drawing.annotate(
                        column.label,
                        (mean, value),
                        xytext=(7 if right else -7, 3 if number % 2 else -8),
                        textcoords="offset points",
                        horizontalalignment="left" if right else "right",
                        color=INK,
                    )
            there = [value for _, value in (_point(each, path, scale) for each in points)]
            drawing.set_ylim(0, _room([value for value in there if not isnan(value)]))
            drawing.set_title(label)
        axes[-1].set_xlim(0, _room([_point(each, "", 1.0)[0] for each in points]))
        axes[-1].set_xlabel("mean time to notice a crash, s")
        svg = drawn(figure, "cost", title, caption)
    yield Chart(
        title=title,
        caption=caption,
        svg=svg,
        headings=("", "mean detection", *(label for label, _, _ in COSTS)),
        rows=[
            (
                column.label,
                seconds(at(column.figures, "detection.mean")),
                *(_scaled(at(column.figures, path), scale) for _, path, scale in COSTS),
            )
            for column in points
        ],
        keys=[key(column.label, column.shade, 0) for column in points],
    )


GROWTHS = (
    ("p99 of detection, s", "detection.p99"),
    ("live services called dead", "mistakes.count"),
    ("server CPU, cores", "load.server_cpu_cores"),
)


def growth(columns: Sequence[Column]) -> Iterator[Chart]:
    """How it grows along a sweep, where one numeric field was swept."""
    field = swept_field(column.figures.get("point") or {} for column in columns)
    if field is None:
        return
    curves: dict[tuple[int, str], list[Column]] = {}
    for column in columns:
        curves.setdefault((column.place, column.figures["backend"]), []).append(column)
    shades = {name: number for number, name in enumerate(dict.fromkeys(n for _, n in curves))}
    title = f"Growth with {field}"
    caption = f"Each backend at every {field} that was run."
    with panels(len(GROWTHS), height=4.8) as (figure, axes):
        for drawing, (label, path) in zip(axes, GROWTHS, strict=True):
            for (place, name), members in curves.items():
                ordered = sorted(members, key=lambda each: float(each.figures["point"][field]))
                drawing.plot(
                    [each.figures["point"][field] for each in ordered],
                    [_or_nan(at(each.figures, path)) for each in ordered],
                    color=shade(shades[name]),
                    linestyle=dashes(place or shades[name]),
                    marker=MARKS[shades[name] % len(MARKS)],
                    markersize=4,
                )
            drawing.set_title(label)
            drawing.set_ylim(bottom=0)
        axes[-1].set_xlabel(field)
        values = [float(column.figures["point"][field]) for column in columns]
        if min(values) > 0 and max(values) / min(values) >= 8:
            axes[-1].set_xscale("log")
        svg = drawn(figure, "growth", title, caption)
    yield Chart(
        title=title,
        caption=caption,
        svg=svg,
        headings=("", *(label for label, _ in GROWTHS)),
        rows=[
            (column.label, *(plain(at(column.figures, path)) for _, path in GROWTHS))
            for column in columns
        ],
        keys=[key(name, shades[name], place or shades[name]) for place, name in curves],
    )


def _point(column: Column, path: str, scale: float) -> tuple[float, float]:
    """The mean detection time and a cost."""
    mean, value = at(column.figures, "detection.mean"), at(column.figures, path)
    return _or_nan(mean), _or_nan(value) * scale


def _reach(column: Column, path: str, value: float, scale: float) -> list[list[float]] | None:
    """How far the 95% interval over runs reaches below and above, where there is one."""
    ends = interval(column.figures, path)
    if ends is None:
        return None
    low, high = (bound * scale for bound in ends)
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _room(values: Sequence[float]) -> float:
    """Where an axis from zero ends, so that the names beside the points have their place."""
    return 1.3 * max(values, default=0.0) or 1.0


def _scaled(value: float | None, scale: float) -> str:
    if value is None:
        return NONE
    return plain(value * scale) if scale != 1 else f"{size(value)}/s"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
