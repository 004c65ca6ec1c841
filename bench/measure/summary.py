"""The records of a scenario, judged: what summary.json holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pandas as pd

from bench.measure.across import ci95
from bench.measure.audit import Audit, Bounds, audit
from bench.measure.convergence import agreement, convergence
from bench.measure.detection import quantiles, victims
from bench.measure.exposure import Exposure, exposure
from bench.measure.joins import joins
from bench.measure.lives import DEATHS, truth
from bench.measure.load import averaged, load
from bench.measure.memory import memory
from bench.measure.mistakes import mistakes, quality
from bench.measure.reads import reads
from bench.measure.recovery import recoveries, recovery
from bench.measure.slo import Objective, judge
from bench.result import SCHEMA, Kind, Record, Verdict


def summarise(
    records: Sequence[Record],
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    slo: Iterable[Objective] = (),
    *,
    engine: str = "live",
) -> dict[str, Any]:
    """The summary of all runs, as plain JSON values; None for a figure that no data gives.

    Repeats of a backend are pooled: victims and mistakes together, costs averaged; `across` says
    what there is of each run. Where a matrix was swept, each point of each backend stands for
    itself, as `NAME [field=value]`.

    `detection` is about deaths: crashes and losses of power. What else befell services is found
    below it, by the fault's name as of `onsets`, where there was such.

    The verdict is the worst of the backends': unknown, then invalid, then valid.
    """
    backends, verdicts, reasons = {}, [], []
    for name, runs in _grouped(records).items():
        judged = [_Judged.of(record) for record in runs]
        backends[name], audited = _backend(judged, bounds)
        verdicts.append(audited.verdict)
        reasons += [f"{name}: {reason}" for reason in audited.reasons]
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


@dataclass(frozen=True)
class _Judged:
    """A record and the rows that its figures are made of."""

    record: Record
    victims: pd.DataFrame
    phases: pd.DataFrame
    mistakes: pd.DataFrame
    exposure: Exposure
    recoveries: pd.DataFrame

    @classmethod
    def of(cls, record: Record) -> _Judged:
        struck = victims(record)
        return cls(
            record,
            struck,
            convergence(record, struck),
            mistakes(record),
            exposure(record),
            recoveries(record),
        )


def _grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """By backend and point; the point is named only where there is more than one."""
    swept = len({json.dumps(dict(record.point), sort_keys=True) for record in records}) > 1
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.index):
        point = ", ".join(f"{field}={value}" for field, value in record.point.items())
        name = f"{record.backend} [{point}]" if swept and point else record.backend
        groups.setdefault(name, []).append(record)
    return groups


def _backend(runs: Sequence[_Judged], bounds: Bounds) -> tuple[dict[str, Any], Audit]:
    first = runs[0].record
    figures, audited = _figures(runs, bounds)
    described = {
        "backend": first.backend,
        "point": dict(first.point),
        "runs": len(runs),
        "services": first.services,
        "clients": _clients(first),
        "verdict": audited.verdict,
        "reasons": list(audited.reasons),
        **figures,
    }
    if first.environment.get("where") == "simulated":
        described["model"] = _model([run.record for run in runs])
    if len(runs) > 1:
        each = [_figures([run], bounds)[0] for run in runs]
        described["per_run"] = [
            {"index": run.record.index, "repeat": run.record.repeat, **tree}
            for run, tree in zip(runs, each, strict=True)
        ]
        described["ci95"] = ci95(each)
    return described, audited


def _model(records: Sequence[Record]) -> dict[str, Any]:
    """What simulated figures rest on, and which of it lies beyond what was measured."""

    def said(what: str) -> list[str]:
        return list(dict.fromkeys(w for each in records for w in each.environment.get(what, ())))

    calibration = records[0].environment.get("calibration", {})
    return {
        "calibration": calibration.get("made"),
        "warnings": list(calibration.get("warnings", ())),
        "extrapolated": said("extrapolated"),
        "only_live": said("only_live"),
    }


def _figures(runs: Sequence[_Judged], bounds: Bounds) -> tuple[dict[str, Any], Audit]:
    records = [run.record for run in runs]
    struck = _pooled([run.victims for run in runs])
    audited = audit(records, struck, bounds)
    figures = {
        "detection": _detection(struck),
        "convergence": agreement(_pooled([run.phases for run in runs])),
        "mistakes": quality(
            _pooled([run.mistakes for run in runs]),
            reduce(Exposure.__add__, [run.exposure for run in runs]),
        ),
        "recovery": recovery(_pooled([run.recoveries for run in runs])),
        "join": joins(records),
        "reads": reads(records),
        "load": averaged(map(load, records)),
        "memory": memory(records),
        "audit": audited.figures,
    }
    return figures, audited


def _detection(victims: pd.DataFrame) -> Mapping[str, object]:
    others = victims[~victims["fault"].isin(DEATHS)].groupby("fault")
    return {
        **quantiles(victims[victims["fault"].isin(DEATHS)]),
        **{str(fault): quantiles(rows) for fault, rows in others},
    }


def _clients(record: Record) -> dict[str, int]:
    """How many services of each kind joined."""
    joined = truth(record, Kind.JOINED).drop_duplicates("subject")
    return {str(kind): int(count) for kind, count in joined["client"].value_counts().items()}


def _pooled(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Empty frames are left out, since they have no types to agree on."""
    return pd.concat([frame for frame in frames if len(frame)] or [frames[0]], ignore_index=True)


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for verdict in (Verdict.UNKNOWN, Verdict.INVALID):
        if verdict in verdicts or not verdicts:
            return verdict
    return Verdict.VALID
