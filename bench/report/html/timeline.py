"""A run as it went: faults, the views' sizes and the servers' load on one axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.measure.lives import lives, observations
from bench.report.html.canvas import FAINT, INK, Chart, Key, drawn, key, panels, shade
from bench.report.html.columns import Column
from bench.report.quantity import NONE, plain
from bench.result import Kind, Record

STEPS = 120
"""Steps of time that a run is drawn and listed in, at most: none is shorter than a second, the
period of the meters."""

MOST = 12
"""Timelines in a page."""

REQUESTS = ("statements", "packets_received", "packets_sent")
"""The metrics, as far as there are any, whose sum is what the servers were asked."""

UNREMARKABLE = (Kind.PHASE, Kind.END, Kind.JOINING, Kind.JOINED, Kind.RENEWED)
"""What happens to services in any run; everything else in the ground truth is drawn as a fault."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """What is drawn of a run: one entry for each step of time, in seconds from the ramp's start."""

    edges: Floats
    """One more than steps."""
    living: Floats
    """Services that truly lived, at the step's end."""
    least: Floats
    """Members in the smallest view that any observer held in the step; NaN: nobody observes."""
    most: Floats
    """And in the largest one."""
    cores: Floats
    """CPU of all servers; NaN where it was not metered."""
    requests: Floats
    """Statements or packets a second, of all servers."""
    faults: dict[str, Floats]
    """By kind: how many in each step."""
    phases: tuple[tuple[float, str], ...]


def timelines(columns: Sequence[Column]) -> Iterator[Chart]:
    """The first run of each, of no more than `MOST`; none of an excerpt, which lacks the rest."""
    for number, column in enumerate(columns[:MOST]):
        record = None if "excerpt" in column.result.manifest else column.first_run
        if record is not None and len(record.events):
            yield _chart(f"time{number}", column, record)


def course(record: Record) -> Course:
    """The run in steps of equal length."""
    events = record.events
    ends = events.loc[events["kind"] == Kind.END, "t"]
    end = float(ends.max() if len(ends) else events["t"].max())
    edges = np.linspace(0.0, max(end, 1.0), min(STEPS, max(1, int(end))) + 1)
    least, most = _views(record, edges)
    servers = record.metrics["source"].isin(
        [str(server["name"]) for server in record.environment.get("servers", ())]
    )
    metered = record.metrics[servers]
    happened = events[events["observer"].isna() & ~events["kind"].isin(UNREMARKABLE)]
    phases = events[events["kind"] == Kind.PHASE].sort_values("t")
    return Course(
        edges=edges,
        living=_living(record, edges[1:]),
        least=least,
        most=most,
        cores=_rate(metered, ("cpu_seconds",), edges),
        requests=_rate(metered, REQUESTS, edges),
        faults={
            str(kind): np.histogram(times, edges)[0].astype(np.float64)
            for kind, times in happened.groupby("kind", sort=False)["t"]
        },
        phases=tuple(zip(phases["t"], phases["subject"].astype(str), strict=True)),
    )


def _living(record: Record, at: Floats) -> Floats:
    spans = lives(record).sort_values("start")
    # A service that joined again is one service still.
    later = spans.groupby("subject")["start"].shift(-1).fillna(np.inf)
    ends = np.sort(np.minimum(spans["end"], later))
    starts = np.asarray(spans["start"], dtype=np.float64)
    began, ended = (np.searchsorted(times, at, side="right") for times in (starts, ends))
    return np.asarray(began - ended, dtype=np.float64)


def _views(record: Record, edges: Floats) -> tuple[Floats, Floats]:
    """The smallest and the largest view in each step."""
    told = observations(record, Kind.JOINED, Kind.LEFT)
    smallest = np.full(len(edges) - 1, np.nan)
    largest = np.full(len(edges) - 1, np.nan)
    for _, seen in told.groupby("observer", sort=False):
        joined = (seen["kind"] == Kind.JOINED).astype(int)
        # Who is told twice that a service came or went has still one of it.
        turned = joined.groupby(seen["subject"], sort=False).diff().fillna(joined)
        sizes = np.concatenate([[0.0], turned.cumsum().to_numpy(dtype=np.float64)])
        times = np.asarray(seen["t"], dtype=np.float64)
        first = np.searchsorted(times, edges[:-1], side="left")
        last = np.searchsorted(times, edges[1:], side="left")
        for step, (start, stop) in enumerate(zip(first, last, strict=True)):
            held = sizes[start : stop + 1]
            smallest[step] = np.fmin(smallest[step], held.min())
            largest[step] = np.fmax(largest[step], held.max())
    return smallest, largest


def _rate(metrics: pd.DataFrame, names: Sequence[str], edges: Floats) -> Floats:
    """The growth a second of these counters, summed; NaN where none of them was read."""
    total = np.full(len(edges) - 1, np.nan)
    for _, series in metrics[metrics["metric"].isin(names)].groupby(["source", "metric"]):
        times = np.asarray(series["t"], dtype=np.float64)
        steps = np.diff(np.asarray(series["value"], dtype=np.float64), prepend=np.nan)
        # A counter that falls belongs to a server that started again.
        grown = np.nancumsum(np.where(steps < 0, 0.0, steps))
        known = np.interp(edges, times, grown, left=np.nan, right=np.nan)
        rate = np.diff(known) / np.diff(edges)
        total = np.where(np.isnan(total), rate, total + np.nan_to_num(rate))
    return total


def _chart(name: str, column: Column, record: Record) -> Chart:
    run = course(record)
    repeats = len(column.runs)
    title = column.label + (f", the first of {repeats} runs" if repeats > 1 else "")
    caption = _told(run)
    middles = (run.edges[:-1] + run.edges[1:]) / 2
    has_requests = not np.isnan(run.requests).all()
    with panels(4 if has_requests else 3, height=4.6 if has_requests else 3.9) as (figure, axes):
        faults, views, cores, *rest = axes
        for row, (kind, counts) in enumerate(run.faults.items()):
            hit = counts > 0
            size = 8 + 40 * counts[hit] / counts.max()
            faults.scatter(
                middles[hit], np.full(hit.sum(), row), s=size, color=shade(1), marker="|"
            )
            del kind
        faults.set_yticks(range(len(run.faults)), [_words(kind) for kind in run.faults])
        faults.set_ylim(len(run.faults) - 0.4, -0.6)
        faults.set_title("what happened")
        for t, _ in run.phases:
            for each in axes:
                each.axvline(t, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
        views.fill_between(
            middles, run.least, run.most, step="mid", color=shade(0), alpha=0.35, linewidth=0
        )
        views.plot(middles, run.least, color=shade(0), linewidth=1.2, drawstyle="steps-mid")
        views.plot(run.edges[1:], run.living, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        views.set_ylim(*_limits(run))
        views.set_title("services")
        cores.plot(middles, run.cores, color=shade(2))
        cores.set_ylim(bottom=0)
        cores.set_title("server CPU, cores")
        for each in rest:
            each.plot(middles, run.requests, color=shade(4))
            each.set_ylim(bottom=0)
            each.set_title("requests to the servers, a second")
        axes[-1].set_xlabel("seconds from the start of the ramp")
        axes[-1].set_xlim(0, run.edges[-1])
        svg = drawn(figure, name, title, caption)
    return Chart(
        title=title,
        caption=caption,
        svg=svg,
        headings=("until, s", "alive", "smallest view", "largest view", "server CPU, cores")
        + ("requests/s",) * has_requests
        + ("happened",),
        rows=[_row(run, step, has_requests) for step in range(len(middles))],
        keys=[
            Key("alive", "var(--ink)", "6 3"),
            key("the observers' views, from the smallest to the largest", 0, 0),
        ],
    )


def _limits(run: Course) -> tuple[float, float]:
    """What there is to see once the observers have caught up: not the ramp's climb from nothing."""
    ramped = run.edges[:-1] >= (run.phases[0][0] if run.phases else 0.0)
    caught = ramped & ~(run.least < 0.9 * run.living)
    since = np.maximum.accumulate(caught if caught.any() else ramped)
    shown = np.concatenate([each[since] for each in (run.living, run.least, run.most)])
    shown = shown[~np.isnan(shown)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    margin = max(1.0, 0.08 * (high - low))
    return float(low - margin), float(high + margin)


def _told(run: Course) -> str:
    happened = [f"{plain(counts.sum())} {_words(kind)}" for kind, counts in run.faults.items()]
    phases = [f"{phase} from {t:.0f} s" for t, phase in run.phases]
    told = f"What was done: {', '.join(happened)}." if happened else "No fault."
    return f"{told} Dotted lines: {', '.join(phases)}." if phases else told


def _row(run: Course, step: int, has_requests: bool) -> tuple[str, ...]:
    happened = [
        f"{plain(counts[step])} {_words(kind)}"
        for kind, counts in run.faults.items()
        if counts[step]
    ]
    loads = [run.cores[step], run.requests[step]][: 1 + has_requests]
    return (
        f"{run.edges[step + 1]:.1f}",
        *(_number(each[step]) for each in (run.living, run.least, run.most)),
        *map(_number, loads),
        ", ".join(happened),
    )


def _number(value: float) -> str:
    return NONE if np.isnan(value) else plain(float(value))


def _words(kind: str) -> str:
    return kind.replace("_", " ")
