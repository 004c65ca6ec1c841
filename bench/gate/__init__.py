"""Is this version worse than that one? Two results in, a verdict and an exit code out."""

from __future__ import annotations

from pathlib import Path

from bench.gate.judgement import Judgement, Outcome, Row, judge
from bench.gate.measured import Measured, measured
from bench.gate.noise import read
from bench.gate.tolerances import Tolerances

__all__ = ["Judgement", "Measured", "Outcome", "Row", "Tolerances", "gate", "judge", "measured"]


def gate(
    result: str | Path,
    baseline: str | Path,
    tolerances: Tolerances | None = None,
    *,
    noise: str | Path | None = None,
) -> Outcome:
    """Judge a result by a baseline; each is a result's directory or a saved baseline.

    `noise` is a file that `heartbench gate --calibrate` wrote. Raises: ResultError for what can't
    be read.
    """
    return judge(
        measured(result),
        measured(baseline),
        tolerances or Tolerances(),
        noise=read(noise).spread if noise else None,
    )
