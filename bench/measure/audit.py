"""Whether the harness did what it should have, so that the numbers are about the servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.measure.closed_form import model_error
from bench.measure.figures import Figure, mean, quantile
from bench.measure.lives import FAULTS, impaired, is_impaired, truth
from bench.measure.load import harness_cpu_cores
from bench.measure.window import observed
from bench.result import Kind, Record, Verdict


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the harness must keep to. None: no bound, the figure is reported all the same."""

    lateness_p99: float | None = 0.05
    """Seconds by which its beats and pings went out late, outside the ramp."""
    clock_error: float | None = 0.005
    """Seconds; the worst of its clocks."""
    harness_cpu_cores: float | None = None
    """Cores on average."""
    model_error_p99: float | None = None
    """Seconds; for unloaded crashes only."""
    losses: int | None = 0
    """Live services that may learn that they lost their membership. None where servers fail on
    purpose."""


EXCEEDED = {
    "lateness_p99": "beats went out {} late at the 99th percentile: "
    "the machine was too busy, give it fewer services or more cores",
    "clock_error_max": "the worst clock is known to {} only: "
    "the machine was too busy to compare clocks, or the hosts are too far apart",
    "harness_cpu_cores": "the harness used {} cores: "
    "give it fewer services, or the services a longer interval",
    "model_error_p99": "detections lie {} off the closed form at the 99th percentile: "
    "server and harness were in each other's way, or the server is not set up as stated",
    "losses": "{} live services lost their membership: "
    "their beats came too late or a server failed, look at the lateness and the server's log",
}
"""What a figure beyond its bound means, and what to do about it."""

IN_SECONDS = ("lateness_p99", "clock_error_max", "model_error_p99")


@dataclass(frozen=True)
class Audit:
    """The verdict on the runs of one backend, the reasons, and the summary's audit figures."""

    verdict: Verdict
    reasons: tuple[str, ...]
    figures: dict[str, Figure]


def audit(records: Sequence[Record], residuals: pd.DataFrame, bounds: Bounds) -> Audit:
    """Judge all runs of one backend (at one point of the matrix) together.

    Unknown where a run broke off or was not measured, else invalid where a bound is broken. A
    reason says what is wrong, by how much, and what to do.
    """
    lateness = pd.concat([_lateness(record) for record in records])
    planned = [_planned(record) for record in records]
    confirmed = [len(truth(record, *FAULTS)) for record in records]
    joined = [truth(record, Kind.JOINED)["subject"].nunique() for record in records]
    errors = pd.concat([record.events["clock_error"] for record in records]).dropna()
    figures: dict[str, Figure] = {
        "lateness_p99": quantile(lateness.loc[~lateness["ramp"], "value"], 0.99),
        "lateness_p99_ramp": quantile(lateness.loc[lateness["ramp"], "value"], 0.99),
        "harness_cpu_cores": mean([harness_cpu_cores(record) for record in records]),
        "clock_error_max": float(errors.max()) if len(errors) else None,
        **model_error(residuals),
        "faults_confirmed": sum(confirmed),
        "faults_planned": None if None in planned else sum(count or 0 for count in planned),
        "services_joined": sum(joined),
        "services_planned": sum(record.services for record in records),
        "losses": sum(_losses(record) for record in records),
    }
    unknown = [
        f"repeat {record.repeat} broke off before its end: run it again"
        for record in records
        if not record.complete
    ]
    if not unknown:
        # Only of a whole run can it be said that something is missing.
        unknown = [_unmeasured(name) for name in _required(bounds) if figures[name] is None]
    invalid = [*_exceeded(figures, bounds), *_incomplete(records, joined, confirmed, planned)]
    verdict = Verdict.UNKNOWN if unknown else Verdict.INVALID if invalid else Verdict.VALID
    return Audit(verdict, (*unknown, *invalid), figures)


def _lateness(record: Record) -> pd.DataFrame:
    """Each beat's lateness, and whether it was due in the ramp."""
    window = observed(record)
    rows = record.metrics.loc[record.metrics["metric"] == "lateness", ["t", "value"]]
    return rows.assign(ramp=rows["t"] < (window.start if window else np.inf))


def _planned(record: Record) -> int | None:
    metrics = record.metrics
    found = metrics.loc[metrics["metric"] == "faults_planned", "value"]
    return int(found.iloc[-1]) if len(found) else None


def _losses(record: Record) -> int:
    """Services that learnt that their life was over while nothing was wrong with them."""
    lost = truth(record, Kind.LOST)
    return int(lost.loc[~is_impaired(lost, impaired(record)), "subject"].nunique())


def _required(bounds: Bounds) -> list[str]:
    bounded = {
        "lateness_p99": bounds.lateness_p99,
        "harness_cpu_cores": bounds.harness_cpu_cores,
    }
    return [name for name, bound in bounded.items() if bound is not None] + ["faults_planned"]


def _unmeasured(name: str) -> str:
    return f"{name} was not recorded, so nobody can say whether it was right: run it again"


def _exceeded(figures: dict[str, Figure], bounds: Bounds) -> list[str]:
    limits = {
        "lateness_p99": bounds.lateness_p99,
        "clock_error_max": bounds.clock_error,
        "harness_cpu_cores": bounds.harness_cpu_cores,
        "model_error_p99": bounds.model_error_p99,
        "losses": bounds.losses,
    }
    reasons = []
    for name, bound in limits.items():
        value, unit = figures[name], "s" if name in IN_SECONDS else ""
        if bound is not None and value is not None and value > bound:
            text = EXCEEDED[name].format(f"{value:.4g}{unit}")
            reasons.append(f"{text} (bound {bound:g}{unit})")
    return reasons


def _incomplete(
    records: Sequence[Record],
    joined: Sequence[int],
    confirmed: Sequence[int],
    planned: Sequence[int | None],
) -> list[str]:
    reasons = []
    for record, here, struck, meant in zip(records, joined, confirmed, planned, strict=True):
        if not record.complete:
            continue
        if here != record.services:
            reasons.append(
                f"{here} of {record.services} services joined in repeat {record.repeat}: a slower "
                "ramp helps, or more open files (see `heartbench doctor`)"
            )
        if meant is not None and struck != meant:
            reasons.append(
                f"{struck} of {meant} faults were confirmed in repeat {record.repeat}: the others "
                "may not have taken hold, look at the harness's log and run it again"
            )
    return reasons
