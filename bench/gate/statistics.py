"""How much one version takes of what another takes, by paired runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

RESAMPLES = 10_000
SEED = 20_021
"""Of the resampling: the same runs give the same interval."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the baseline's value the new one is."""

    pairs: int
    value: float
    """The geometric mean over the pairs."""
    low: float
    high: float
    """The ends of a 95% interval; zero and infinite with fewer than two pairs."""
    spread: float
    """The standard deviation of a pair's log ratio: the noise between runs. NaN of one pair."""


def ratio(
    baseline: Sequence[float | None], values: Sequence[float | None], *, seed: int = SEED
) -> Ratio | None:
    """Run by run, in order; None where no pair has both and both above zero.

    The interval is the bootstrap's over pairs, of the mean log ratio, as expanded percentiles
    (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 4.5): plain ones
    are too narrow for a handful of runs.
    """
    logs = np.array(
        [
            math.log(value / base)
            for base, value in zip(baseline, values, strict=False)
            if base is not None and value is not None and base > 0 and value > 0
        ]
    )
    if not len(logs):
        return None
    low, high = (-math.inf, math.inf) if len(logs) < 2 else _interval(logs, seed)
    return Ratio(
        pairs=len(logs),
        value=math.exp(logs.mean()),
        low=math.exp(low),
        high=math.exp(high),
        spread=float(logs.std(ddof=1)) if len(logs) > 1 else math.nan,
    )


def visible(spread: float, pairs: int, tolerance: float) -> float:
    """The growth from which on so many pairs of such noise are likely (in 9 of 10 comparisons) to
    show that the tolerance is passed; 0.3 is 30%."""
    error = spread / math.sqrt(pairs)
    wide = stdtrit(pairs - 1, 0.975) + ndtri(0.9)
    return (1 + tolerance) * math.exp(float(wide) * error) - 1


def _interval(logs: NDArray[np.float64], seed: int) -> tuple[float, float]:
    number = len(logs)
    tail = float(ndtr(-math.sqrt(number / (number - 1)) * stdtrit(number - 1, 0.975)))
    draws = np.random.default_rng(seed).integers(number, size=(RESAMPLES, number))
    low, high = np.quantile(logs[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
