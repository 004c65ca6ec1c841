"""The statistics that summaries are made of; None for a figure that no data gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import gammaincinv, stdtrit  # scipy.stats takes a second to import

Figure = float | None


def spread(values: pd.Series[float]) -> dict[str, Figure]:
    """mean, sd, p50, p90, p99 and max.

    Quantiles interpolate linearly between order statistics (numpy's default, type 7 of Hyndman
    and Fan). The standard deviation is the sample's (n - 1), None of fewer than two values.
    """
    return {
        "mean": float(values.mean()) if len(values) else None,
        "sd": float(values.std()) if len(values) > 1 else None,
        "p50": quantile(values, 0.50),
        "p90": quantile(values, 0.90),
        "p99": quantile(values, 0.99),
        "max": float(values.max()) if len(values) else None,
    }


def quantile(values: pd.Series[float], q: float) -> Figure:
    """Linearly interpolated; None of no values."""
    return float(np.quantile(np.asarray(values, dtype=np.float64), q)) if len(values) else None


def ratio(value: float, per: float) -> Figure:
    """None where there is nothing to divide by."""
    return value / per if per > 0 else None


def poisson_upper95(count: int) -> float:
    """The exact one-sided 95% upper bound of a Poisson mean of which `count` events were seen.

    None seen gives 3.0: the rule of three.
    """
    return float(gammaincinv(count + 1, 0.95))


def poisson_bounds95(count: int) -> tuple[float, float]:
    """The exact two-sided 95% bounds of a Poisson mean of which `count` events were seen.

    Garwood's (Biometrika 28, 1936): quantiles of the gamma distributions of shapes n and n + 1.
    None seen: 0 to 3.69.
    """
    low = float(gammaincinv(count, 0.025)) if count else 0.0
    return low, float(gammaincinv(count + 1, 0.975))


def mean_ci95(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's two-sided 95% confidence interval of the mean; None of fewer than two values."""
    if len(values) < 2:
        return None
    there = np.asarray(values, dtype=np.float64)
    half = stdtrit(len(there) - 1, 0.975) * there.std(ddof=1) / math.sqrt(len(there))
    return float(there.mean() - half), float(there.mean() + half)


def mean(values: Sequence[Figure]) -> Figure:
    """Of those that are there; None where none is."""
    there = [value for value in values if value is not None and not math.isnan(value)]
    return sum(there) / len(there) if there else None
