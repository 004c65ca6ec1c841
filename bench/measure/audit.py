"""Whether the harness did what it should have, so that the numbers are about the servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.measure.detection import model_error
from bench.measure.figures import Figure, mean, quantile
from bench.measure.impairments import HEALINGS, impairments, states
from bench.measure.lives import ENDS, truth
from bench.measure.load import harness_cpu_cores
from bench.measure.outages import HITS, outages
from bench.measure.pace import FAILOVER, IMPAIRED, RAMP, STEADY, circumstances, rate_reached, worst
from bench.measure.spans import within
from bench.result import Kind, Record, Verdict

ONSETS = (*ENDS, *HEALINGS, *HITS)
"""The events that confirm a fault: one for each time that it took hold of somebody."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the harness must keep to. None: no bound, the figure is reported all the same.

    Seconds unless named. Lateness and stalls are of the steady state: outside the ramp, outages
    of servers (which hold up whoever waits for their answers), and shards with bad links.
    """

    lateness_p99: float | None = 0.05
    """By which its beats and pings went out late."""
    stall: float | None = 1.0
    """For which an event loop or a thread of a shard stood still, at the worst."""
    rate_reached: float | None = 0.98
    """The least share of the renewals that live services owe which was sent."""
    clock_error: float | None = 0.005
    """The worst of its clocks."""
    harness_cpu_cores: float | None = None
    """Cores on average."""
    model_error_p99: float | None = None
    """For unloaded crashes only: elsewhere it is what the server did."""
    losses: int | None = 0
    """Live services that may learn that they lost their membership although neither they, their
    links nor the servers had been made to fail."""


EXCEEDED = {
    "lateness_p99": "beats went out {} late at the 99th percentile: "
    "the machine was too busy, give it fewer services or more cores",
    "loop_stall_max": "an event loop of the harness stood still for {}: "
    "the machine was too busy, give it fewer services or more cores",
    "gil_stall_max": "the threads of a shard stood still for {}: "
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

MODELLED = {
    "lateness_p99": "beats went out {} late at the 99th percentile: "
    "the modelled server was past its knee, give it fewer services or a longer interval",
}
"""The same of a simulation, which no machine's other work disturbs."""

IN_SECONDS = {name for name in EXCEEDED if name not in ("harness_cpu_cores", "losses")}


@dataclass(frozen=True)
class Audit:
    """The verdict on the runs of one backend, the reasons, and the summary's audit figures."""

    verdict: Verdict
    reasons: tuple[str, ...]
    figures: dict[str, Figure]


def audit(records: Sequence[Record], victims: pd.DataFrame, bounds: Bounds) -> Audit:
    """Judge all runs of one backend (at one point of the matrix) together.

    Unknown where a run broke off or was not measured, else invalid where a bound is broken. A
    reason says what is wrong, by how much, and what to do.
    """
    lateness = pd.concat([_lateness(record) for record in records])
    late = {name: rows["value"] for name, rows in lateness.groupby("when")}
    planned = [_planned(record) for record in records]
    confirmed = [len(truth(record, *ONSETS)) for record in records]
    joined = [truth(record, Kind.JOINED)["subject"].nunique() for record in records]
    errors = pd.concat([record.events["clock_error"] for record in records]).dropna()
    reached, allowance = rate_reached(records)
    none = pd.Series(dtype=float)
    figures: dict[str, Figure] = {
        "lateness_p99": quantile(late.get(STEADY, none), 0.99),
        **{
            f"lateness_p99_{when}": quantile(late.get(when, none), 0.99)
            for when in (RAMP, FAILOVER, IMPAIRED)
        },
        "loop_stall_max": worst(records, "loop_stall"),
        "gil_stall_max": worst(records, "gil_stall"),
        "rate_reached": reached,
        "harness_cpu_cores": mean([harness_cpu_cores(record) for record in records]),
        "clock_error_max": float(errors.max()) if len(errors) else None,
        **model_error(victims),
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
    invalid = [
        *_exceeded(figures, bounds, EXCEEDED | (MODELLED if _simulated(records) else {})),
        *_too_slow(reached, allowance, bounds),
        *_incomplete(records, joined, confirmed, planned),
    ]
    verdict = Verdict.UNKNOWN if unknown else Verdict.INVALID if invalid else Verdict.VALID
    return Audit(verdict, (*unknown, *invalid), figures)


def _lateness(record: Record) -> pd.DataFrame:
    """Each beat's lateness, and the circumstances in which it was due."""
    metrics = record.metrics
    rows = metrics.loc[metrics["metric"] == "lateness", ["t", "source", "value", "count"]]
    rows = rows.assign(when=circumstances(record, rows))
    return rows.loc[rows.index.repeat(rows["count"].fillna(1))]


def _planned(record: Record) -> int | None:
    metrics = record.metrics
    found = metrics.loc[metrics["metric"] == "faults_planned", "value"]
    return int(found.iloc[-1]) if len(found) else None


def _losses(record: Record) -> int:
    """Services that learnt that their life was over while nothing had been made to fail."""
    lost = truth(record, Kind.LOST)
    unimpaired = states(lost, impairments(record)).isna()
    failing = within(lost["t"].to_numpy(np.float64), outages(record))
    return int(lost.loc[unimpaired & ~failing, "subject"].nunique())


def _required(bounds: Bounds) -> list[str]:
    bounded = {
        "lateness_p99": bounds.lateness_p99,
        "harness_cpu_cores": bounds.harness_cpu_cores,
    }
    return [name for name, bound in bounded.items() if bound is not None] + ["faults_planned"]


def _unmeasured(name: str) -> str:
    return f"{name} was not recorded, so nobody can say whether it was right: run it again"


def _simulated(records: Sequence[Record]) -> bool:
    return all(record.environment.get("where") == "simulated" for record in records)


def _exceeded(figures: dict[str, Figure], bounds: Bounds, meanings: Mapping[str, str]) -> list[str]:
    limits = {
        "lateness_p99": bounds.lateness_p99,
        "loop_stall_max": bounds.stall,
        "gil_stall_max": bounds.stall,
        "clock_error_max": bounds.clock_error,
        "harness_cpu_cores": bounds.harness_cpu_cores,
        "model_error_p99": bounds.model_error_p99,
        "losses": bounds.losses,
    }
    reasons = []
    for name, bound in limits.items():
        value, unit = figures[name], "s" if name in IN_SECONDS else ""
        if bound is not None and value is not None and value > bound:
            text = meanings[name].format(f"{value:.4g}{unit}")
            reasons.append(f"{text} (bound {bound:g}{unit})")
    return reasons


def _too_slow(reached: Figure, allowance: Figure, bounds: Bounds) -> list[str]:
    bound = bounds.rate_reached
    if bound is None or reached is None or reached >= bound - (allowance or 0.0):
        return []
    text = (
        f"only {reached:.1%} of the renewals that live services owed were sent: the harness or the "
        "server was past its knee, give it fewer services or a longer interval"
    )
    return [f"{text} (bound {bound:.0%})"]


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
