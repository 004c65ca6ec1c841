"""What a sweep bought, as a figure: each cost against the swept field, small multiples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes

from bench.report.html.canvas import INK, alone, dashes, drawn, panels, shade
from bench.report.paths import Figures, at, interval
from bench.report.quantity import plain
from bench.report.sweep import COSTS, Point, Sweep, sweep
from bench.store import Loaded, ResultError

MARKS = "osD^vPX*"

LOGARITHMIC = 8
"""From this ratio of the largest to the smallest value on, the axis is logarithmic."""

COLUMNS = 3

APART = 0.012
"""By which share of the axis each backend's points stand beside the last one's, so that their
intervals can be told apart."""

ROOM = 1.08
"""So much higher than what is drawn an axis ends."""

DETECTION = "detection.mean"

PathOf = Callable[[Figures], str]


def figure(result: Loaded) -> str:
    """An SVG file of its own: mean detection and each cost, a line for each backend.

    Raises: ResultError where there is nothing to draw along.
    """
    swept = sweep(result)
    if swept is None:
        raise ResultError(
            f"{result.path}: a figure needs a matrix that sweeps one field over numbers; write "
            "the page instead (-o report.html)"
        )
    title = f"What {result.manifest['scenario']} costs, by {swept.field}"
    drawings: list[tuple[str, float, PathOf]] = [
        ("noticed after, mean, s", 1.0, lambda _: DETECTION),
        *(
            (f"{cost.label}, {cost.unit} a service", cost.scale, cost.path)
            for cost in COSTS
            if any(at(point.figures, cost.path(point.figures)) for point in swept.points)
        ),
    ]
    height = 2.5 * -(-(len(drawings) + 1) // COLUMNS)
    with panels(len(drawings) + 1, columns=COLUMNS, width=9.6, height=height) as (canvas, axes):
        *parts, last = axes
        for part, (label, scale, path) in zip(parts, drawings, strict=True):
            part.set_title(label)
            _draw(part, swept, path, scale)
        for point, x in _places(swept):
            mean = at(point.figures, DETECTION)
            if mean is not None and not point.bought:
                parts[0].plot(x, mean, color=_colour(swept, point.backend), marker="x")
                parts[0].set_ylim(top=max(parts[0].get_ylim()[1], ROOM * mean))
        _set_across(parts, swept)
        handles, labels = parts[0].get_legend_handles_labels()
        last.legend(handles, labels, loc="center left", frameon=False, labelcolor=INK)
        last.axis("off")
        return alone(drawn(canvas, "sweep", title, described(swept)))


def described(swept: Sweep) -> str:
    """What is to be seen, in words."""
    lost = [
        f"{point.backend} at {plain(point.value)}" for point in swept.points if not point.bought
    ]
    missing = f" Not bought, and a cross at most: {', '.join(lost)}." if lost else ""
    return (
        f"Small multiples against {swept.field}, a line for each of {', '.join(swept.backends)}. "
        f"Bars are 95% intervals over runs.{missing}"
    )


def _draw(axes: Axes, swept: Sweep, path: PathOf, scale: float) -> None:
    highest = 0.0
    for number, backend in enumerate(swept.backends):
        there = [
            (x, value * scale, _reach(point.figures, path(point.figures), scale))
            for point, x in _places(swept)
            if point.backend == backend
            and point.bought
            and (value := at(point.figures, path(point.figures))) is not None
        ]
        xs, values, reaches = zip(*there, strict=True) if there else ((), (), ())
        axes.errorbar(
            xs,
            values,
            yerr=reaches if there else None,
            label=backend,
            color=shade(number),
            linestyle=dashes(number),
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            elinewidth=1.0,
        )
        tops = [value + min(reach, value) for value, reach in zip(values, reaches, strict=True)]
        highest = max([highest, *tops])
    axes.set_ylim(0, ROOM * highest or 1.0)


def _reach(figures: Figures, path: str, scale: float) -> float:
    """How far the interval reaches to either side; nowhere where there is none."""
    ends = interval(figures, path)
    return (ends[1] - ends[0]) / 2 * scale if ends else 0.0


def _places(swept: Sweep) -> Iterator[tuple[Point, float]]:
    """Where along the axis each point stands."""
    least, most = min(swept.values), max(swept.values)
    middle = (len(swept.backends) - 1) / 2
    for point in swept.points:
        aside = APART * (swept.backends.index(point.backend) - middle)
        if _logarithmic(swept):
            yield point, point.value * (most / least) ** aside
        else:
            yield point, point.value + (most - least) * aside


def _logarithmic(swept: Sweep) -> bool:
    return min(swept.values) > 0 and max(swept.values) / min(swept.values) >= LOGARITHMIC


def _set_across(parts: Sequence[Axes], swept: Sweep) -> None:
    if _logarithmic(swept):
        parts[0].set_xscale("log")
    parts[0].set_xticks(swept.values, [plain(value) for value in swept.values])
    parts[0].set_xticks([], minor=True)
    for part in parts[len(parts) - COLUMNS :]:  # those with no other below them
        part.tick_params(labelbottom=True)
        part.set_xlabel(swept.field)


def _colour(swept: Sweep, backend: str) -> str:
    return shade(swept.backends.index(backend))
