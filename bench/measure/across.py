"""Figures of several runs: how sure their means are.

A backend's part of the summary is a tree of figures, taken of all its runs together. Where there
are two runs or more it has two more trees beside it, of the same shape below `detection`,
`convergence`, `mistakes`, `recovery`, `join`, `reads`, `load`, `memory` and `audit`:

- `per_run`: a list, one tree a run, with its `index` and `repeat`: the figures of that run alone;
- `ci95`: in place of each figure, `[low, high]`: Student's 95% confidence interval of the mean over
  the runs of that run's figure, where at least two runs have it.

So the interval of `detection.mean` is at `ci95.detection.mean`, that of
`load.server_cpu_cores_per_service_second` at `ci95.load.server_cpu_cores_per_service_second`.
Runs are the unit, not victims: what befell one run befell all its victims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.measure.figures import mean_ci95

Tree = Mapping[str, Any]


def ci95(runs: Sequence[Tree]) -> dict[str, Any]:
    """The tree of intervals; figures and branches that fewer than two runs have are left out."""
    intervals: dict[str, Any] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run[name] for run in runs if run.get(name) is not None]
        if values and all(isinstance(value, Mapping) for value in values):
            below: Any = ci95(values)
        elif all(isinstance(value, int | float) for value in values):
            interval = mean_ci95(values)
            below = list(interval) if interval else None
        else:
            continue
        if below:
            intervals[name] = below
    return intervals
