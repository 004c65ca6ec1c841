"""How late the faults were noticed: one curve for each backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.report.html.canvas import Chart, dashes, drawn, key, panels, shade
from bench.report.html.columns import ENDED, Column
from bench.report.quantity import plain, seconds

SHARES = np.arange(1, 101) / 100
"""The shares of victims that are drawn and listed: enough for a curve, and few enough that a
page of many runs stays small."""

WIDE = 30.0
"""From this ratio of the slowest to the quickest on, the axis is logarithmic."""

Times = NDArray[np.float64]


def detection(columns: Sequence[Column]) -> Iterator[Chart]:
    """One chart for each kind of fault: deaths first."""
    kinds = dict.fromkeys(kind for column in columns for kind in column.noticed)
    for number, kind in enumerate(sorted(kinds, key=lambda kind: (kind != ENDED, kind))):
        yield _chart(f"ecdf{number}", kind, [each for each in columns if kind in each.noticed])


def within(times: Times) -> Times:
    """By when (s) each of `SHARES` of the victims was noticed; infinite: that many never were."""
    places = np.ceil(SHARES * len(times) - 1e-9).astype(int) - 1
    shares: Times = times[places]
    return shares


def _chart(name: str, kind: str, columns: Sequence[Column]) -> Chart:
    curves = [within(column.noticed[kind]) for column in columns]
    words = kind.replace("_", " ").replace("-", " ")
    title = f"Detection of {'deaths' if kind == ENDED else f'services that were {words}'}"
    caption = "Share of the victims that the first observer had noticed after so many seconds." + (
        "".join(map(_missed, columns, [column.noticed[kind] for column in columns]))
    )
    with panels() as (figure, (axes,)):
        for column, times in zip(columns, curves, strict=True):
            seen = np.isfinite(times)
            axes.step(
                np.concatenate([times[seen][:1], times[seen]]),
                np.concatenate([[0.0], SHARES[seen]]) * 100,
                where="post",
                color=shade(column.shade),
                linestyle=dashes(_dash(column, columns)),
            )
        there = np.concatenate([times[np.isfinite(times)] for times in curves])
        if len(there) and there.min() > 0 and there.max() / there.min() > WIDE:
            axes.set_xscale("log")
        axes.set_ylim(0, 101)
        axes.set_xlabel("seconds from the fault")
        axes.set_ylabel("noticed, %")
        svg = drawn(figure, name, title, caption)
    return Chart(
        title=title,
        caption=caption,
        svg=svg,
        headings=("noticed", *(column.label for column in columns)),
        rows=[
            (f"{share:.0%}", *(seconds(t) if np.isfinite(t) else "never" for t in times))
            for share, *times in zip(SHARES, *curves, strict=True)
        ],
        keys=[key(each.label, each.shade, _dash(each, columns)) for each in columns],
    )


def _missed(column: Column, times: Times) -> str:
    missed = int(np.isinf(times).sum())
    never = f" {column.label}: {plain(missed)} of {plain(len(times))} never noticed."
    return never if missed else ""


def _dash(column: Column, columns: Sequence[Column]) -> int:
    """By result where there are several, else by backend: colour alone need not be seen."""
    return column.place if columns[-1].place else column.shade
