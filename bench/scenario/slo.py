"""The rule of a service-level objective: `zk: detection.p99 <= 13s`.

    rule = [backend ":"] metric operator value
    operator = "<=" | "<" | ">=" | ">" | "==" | "!="

`metric` is a path below `backends.NAME` in summary.json; `value` is in the metric's unit.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from bench.scenario.positions import nearest
from bench.scenario.quantities import BYTES, PERCENT, SECONDS, WrongValue, measured, shown

Operator = Literal["<=", "<", ">=", ">", "==", "!="]
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}

Unit = tuple[dict[str, float], str]
"""The units that a value may carry, and how an error describes a right one."""

_SECONDS: Unit = (SECONDS, "a duration (such as 13s or 500ms)")
_BYTES: Unit = (BYTES, "an amount of bytes (such as 64MB or 4096)")
_SHARE: Unit = (PERCENT, "a fraction (such as 99.9% or 0.999)")
_PLAIN: Unit = ({}, "a number (such as 0)")

_TIMES = ("mean", "sd", "p50", "p90", "p99", "max")
_DETECTION: Mapping[str, Unit] = {
    "count": _PLAIN,
    "missed": _PLAIN,
    **dict.fromkeys(_TIMES, _SECONDS),
}
_LOAD: Mapping[str, Unit] = {
    "server_cpu_cores": _PLAIN,
    "server_rss_max_bytes": _BYTES,
    "network_bytes": _BYTES,
    "disk_write_bytes": _BYTES,
    "statements": _PLAIN,
    "transactions": _PLAIN,
    "wal_bytes": _BYTES,
    "packets": _PLAIN,
}
_SQL_ONLY = ("statements", "transactions", "wal_bytes")
_ZOOKEEPER_ONLY = ("packets",)
_A_SERVICE_SECOND = "_per_service_second"


def _below(part: str, units: Mapping[str, Unit]) -> dict[str, Unit]:
    return {f"{part}.{figure}": unit for figure, unit in units.items()}


METRICS: Mapping[str, Unit] = {
    "services": _PLAIN,
    **{
        path: unit
        for fault in ("detection", "detection.left", "detection.frozen")
        for part in (fault, f"{fault}.every")
        for path, unit in _below(part, _DETECTION).items()
    },
    **_below("convergence", {"seconds": _SECONDS, "views": _PLAIN}),
    "mistakes.count": _PLAIN,
    "mistakes.impaired": _PLAIN,
    "mistakes.episodes": _PLAIN,
    "mistakes.rate": _PLAIN,
    "mistakes.rate_upper95": _PLAIN,
    "mistakes.per_hour": _PLAIN,
    "mistakes.per_hour_upper95": _PLAIN,
    "mistakes.duration_mean": _SECONDS,
    "mistakes.query_accuracy": _SHARE,
    **_below("join", {"ramp_seconds": _SECONDS, "p50": _SECONDS, "p99": _SECONDS}),
    **_below("load", _LOAD),
    **_below("load", {f"{figure}{_A_SERVICE_SECOND}": unit for figure, unit in _LOAD.items()}),
    "audit.lateness_p99": _SECONDS,
    "audit.lateness_p99_ramp": _SECONDS,
    "audit.harness_cpu_cores": _PLAIN,
    "audit.model_error_p99": _SECONDS,
    "audit.faults_confirmed": _PLAIN,
}
"""Every figure of a summary that may be bounded."""

ONLY_ON: Mapping[str, str] = {
    f"load.{figure}{rate}": kind
    for kind, figures in (("sql", _SQL_ONLY), ("zookeeper", _ZOOKEEPER_ONLY))
    for figure in figures
    for rate in ("", _A_SERVICE_SECOND)
}
"""Metrics that one kind of backend has and the other has not."""


@dataclass(frozen=True)
class Slo:
    """One objective. `backend` None means that it holds for every backend of the scenario."""

    backend: str | None
    metric: str
    op: Operator
    value: float
    """In the metric's base unit: seconds, bytes, a share of one, or a plain number."""
    rule: str
    """As the scenario wrote it."""

    def holds(self, measured: float) -> bool:
        """Whether a measured value, in the base unit, meets the objective. NaN never does."""
        return measured == measured and OPERATORS[self.op](measured, self.value)


def parse(written: object) -> Slo:
    """The objective of a rule. Raises WrongValue: `what is wrong (what would be right)`.

    Accepts the text, and the one-key mapping that YAML makes of `zk: detection.p99 <= 13s`.
    """
    if isinstance(written, Slo):
        return written
    if isinstance(written, dict) and len(written) == 1:
        (backend, rest), *_ = written.items()
        written = f"{backend}: {rest}"
    if not isinstance(written, str):
        raise WrongValue(f"{shown(written)} is not a rule (such as 'zk: detection.p99 <= 13s')")
    found = re.fullmatch(
        r"\s*(?:([^:\s]+)\s*:\s*)?([A-Za-z0-9_.]+)\s*(<=|>=|==|!=|<|>)\s*(\S+(?: \S+)?)\s*", written
    )
    if not found:
        raise WrongValue(
            f"{shown(written)} is not a rule ([backend:] metric operator value, "
            "such as 'zk: detection.p99 <= 13s')"
        )
    backend, metric, op, right = found.groups()
    if metric not in METRICS:
        raise WrongValue(f"unknown metric {metric!r} ({nearest(metric, METRICS, 'metrics')})")
    units, wanted = METRICS[metric]
    value = measured(
        _number(right),
        units,
        f"{wanted[: wanted.index(' (')]} for {metric} {wanted[wanted.index('(') :]}",
    )
    return Slo(backend, metric, cast(Operator, op), value, " ".join(written.split()))


def _number(text: str) -> float | str:
    """A bare number as such, anything else as it stands, for its unit to be read."""
    try:
        return float(text)
    except ValueError:
        return text


def _schema() -> dict[str, Any]:
    words = "|".join(re.escape(metric) for metric in METRICS)
    rule = rf"({words})\s*(<=|>=|==|!=|<|>)\s*\S+"
    return {
        "anyOf": [
            {"type": "string", "pattern": rf"^\s*([^:\s]+\s*:\s*)?{rule}"},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": {"type": "string", "pattern": rf"^\s*{rule}"},
            },
        ]
    }


Rule = Annotated[
    Slo,
    PlainValidator(parse),
    PlainSerializer(lambda slo: slo.rule, return_type=str),
    WithJsonSchema(_schema()),
]
