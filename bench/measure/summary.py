"""The records of a scenario, judged: what summary.json holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import pandas as pd

from bench.measure.audit import Bounds, audit
from bench.measure.closed_form import residuals, roles
from bench.measure.convergence import agreement, convergence
from bench.measure.detection import quantiles, victims
from bench.measure.figures import Figure, mean, quantile
from bench.measure.lives import truth
from bench.measure.load import averaged, load
from bench.measure.mistakes import Exposure, exposure, mistakes, quality
from bench.measure.slo import Objective, judge
from bench.result import SCHEMA, Kind, Record, Verdict

OTHER_FAULTS = (Kind.LEFT, Kind.FROZEN)


def summarise(
    records: Sequence[Record],
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    slo: Iterable[Objective] = (),
    *,
    engine: str = "live",
) -> dict[str, Any]:
    """The summary of all runs, as plain JSON values; None for a figure that no data gives.

    Repeats of a backend are pooled: victims and mistakes together, costs averaged. Where a matrix
    was swept, each point of each backend stands for itself, as `NAME [field=value]`.

    `detection` is about crashes. Who took leave or was frozen is found below it, as `left` and
    `frozen`, where there were such; a freeze that nobody noticed counts as missed there.

    The verdict is the worst of the backends': unknown, then invalid, then valid.
    """
    backends, verdicts, reasons = {}, [], []
    for name, runs in _grouped(records).items():
        backends[name], verdict, why = _backend(runs, bounds)
        verdicts.append(verdict)
        reasons += [f"{name}: {reason}" for reason in why]
    if not records:
        reasons.append("no run was recorded")
    summary = {
        "schema": SCHEMA,
        "engine": engine,
        "verdict": _worst(verdicts),
        "reasons": reasons,
        "slo": judge(slo, backends),
        "backends": backends,
    }
    # Proves that what is handed on can be written: neither NaN nor a numpy value.
    return dict(json.loads(json.dumps(summary, allow_nan=False)))


def _grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """By backend and point; the point is named only where there is more than one."""
    swept = len({json.dumps(dict(record.point), sort_keys=True) for record in records}) > 1
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.index):
        point = ", ".join(f"{field}={value}" for field, value in record.point.items())
        name = f"{record.backend} [{point}]" if swept and point else record.backend
        groups.setdefault(name, []).append(record)
    return groups


def _backend(
    records: Sequence[Record], bounds: Bounds
) -> tuple[dict[str, Any], Verdict, tuple[str, ...]]:
    struck = [victims(record) for record in records]
    phases = [convergence(record, rows) for record, rows in zip(records, struck, strict=True)]
    off = [
        residuals(rows, record.parameters, roles(record))
        for record, rows in zip(records, struck, strict=True)
    ]
    judged = audit(records, _pooled(off), bounds)
    figures = {
        "backend": records[0].backend,
        "point": dict(records[0].point),
        "runs": len(records),
        "services": records[0].services,
        "clients": _clients(records[0]),
        "detection": _detection(_pooled(struck)),
        "convergence": agreement(_pooled(phases)),
        "mistakes": quality(
            _pooled([mistakes(record) for record in records]),
            reduce(Exposure.__add__, map(exposure, records)),
        ),
        "join": _joins(records),
        "load": averaged(map(load, records)),
        "audit": judged.figures,
    }
    return figures, judged.verdict, judged.reasons


def _detection(victims: pd.DataFrame) -> Mapping[str, object]:
    by_fault = {kind: victims[victims["fault"] == kind] for kind in (Kind.CRASHED, *OTHER_FAULTS)}
    others = {str(kind): by_fault[kind] for kind in OTHER_FAULTS}
    return {
        **quantiles(by_fault[Kind.CRASHED]),
        **{kind: quantiles(rows) for kind, rows in others.items() if len(rows)},
    }


def _clients(record: Record) -> dict[str, int]:
    """How many services of each kind joined."""
    joined = truth(record, Kind.JOINED).drop_duplicates("subject")
    return {str(kind): int(count) for kind, count in joined["client"].value_counts().items()}


def _joins(records: Sequence[Record]) -> dict[str, Figure]:
    """How long the ramp took, and each service's first join from its request to the answer."""
    ramps: list[Figure] = []
    waits = []
    for record in records:
        asked = truth(record, Kind.JOINING).drop_duplicates("subject").set_index("subject")["t"]
        answered = truth(record, Kind.JOINED).drop_duplicates("subject").set_index("subject")["t"]
        waits.append((answered - asked).dropna())
        ramps.append(answered.max() - asked.min() if len(waits[-1]) else None)
    pooled = pd.concat(waits)
    return {
        "ramp_seconds": mean(ramps),
        "p50": quantile(pooled, 0.50),
        "p99": quantile(pooled, 0.99),
    }


def _pooled(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Empty frames are left out, since they have no types to agree on."""
    return pd.concat([frame for frame in frames if len(frame)] or [frames[0]], ignore_index=True)


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for verdict in (Verdict.UNKNOWN, Verdict.INVALID):
        if verdict in verdicts or not verdicts:
            return verdict
    return Verdict.VALID
