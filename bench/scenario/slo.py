"""The rule of a service-level objective: `zk: detection.p99 <= 13s`.

    rule = [backend ":"] metric operator value
    operator = "<=" | "<" | ">=" | ">" | "==" | "!="

`metric` is a path below `backends.NAME` in summary.json; `value` is in the metric's unit.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
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

_TIMES = dict.fromkeys(("mean", "sd", "p50", "p90", "p99", "max"), _SECONDS)
_NOTICED: Mapping[str, Unit] = {"count": _PLAIN, "noticed": _PLAIN, "missed": _PLAIN, **_TIMES}
_IMPAIRED = ("frozen", "cut", "lossy", "delayed", "skewed")
_FAULTS = ("left", "flapped", "restarted", *_IMPAIRED)
"""Besides deaths, which are `detection` itself."""
_MISTAKES: Mapping[str, Unit] = {
    "count": _PLAIN,
    "episodes": _PLAIN,
    "censored": _PLAIN,
    "duration_mean": _SECONDS,
    **{
        f"{rate}{bound}": _PLAIN
        for rate in ("rate", "per_hour", "episodes_per_hour")
        for bound in ("", "_upper95")
    },
}
_WAITS: Mapping[str, Unit] = {"p50": _SECONDS, "p99": _SECONDS}
_LOAD: Mapping[str, Unit] = {
    "server_cpu_cores": _PLAIN,
    "server_rss_max_bytes": _BYTES,
    "network_bytes": _BYTES,
    "disk_write_bytes": _BYTES,
    "machine_network_bytes": _BYTES,
    "machine_disk_write_bytes": _BYTES,
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


def _with_each(part: str, kinds: Iterable[str], units: Mapping[str, Unit]) -> dict[str, Unit]:
    """The figures of a part, and once more of each kind below it."""
    parts = (part, *(f"{part}.{kind}" for kind in kinds))
    return {path: unit for each in parts for path, unit in _below(each, units).items()}


METRICS: Mapping[str, Unit] = {
    "services": _PLAIN,
    **_with_each("detection", _FAULTS, {**_NOTICED, "unexpected": _PLAIN}),
    **_with_each("detection", _FAULTS, _below("every", _NOTICED)),
    **_below("convergence", {"seconds": _SECONDS, "views": _PLAIN}),
    **_with_each("mistakes", ("up", "outage", "impaired", *_IMPAIRED), _MISTAKES),
    "mistakes.query_accuracy": _SHARE,
    **{
        path: unit
        for after in ("mistakes", "servers", "restarted", *_IMPAIRED)
        for path, unit in _below(
            f"recovery.{after}", {"count": _PLAIN, "never": _PLAIN, **_TIMES}
        ).items()
    },
    **_below("join", {"ramp_seconds": _SECONDS, **_WAITS, **_below("again", _WAITS)}),
    **_below("join", {"seen_p50": _SECONDS, "seen_p99": _SECONDS}),
    **_below("join", {"views": _PLAIN, "again.count": _PLAIN}),
    **_below("reads", {"per_second": _PLAIN, "seconds_p50": _SECONDS, "seconds_p99": _SECONDS}),
    **_below("reads", {"rows_read_per_second": _PLAIN, "bytes_read_per_second": _BYTES}),
    **_below("load", _LOAD),
    **_below("load", {f"{figure}{_A_SERVICE_SECOND}": unit for figure, unit in _LOAD.items()}),
    "load.yardstick_seconds": _SECONDS,
    **_below("memory", {"max_bytes": _BYTES, "growth_bytes_per_hour": _BYTES}),
    "memory.growth_share": _SHARE,
    "audit.lateness_p99": _SECONDS,
    "audit.lateness_p99_ramp": _SECONDS,
    "audit.lateness_p99_failover": _SECONDS,
    "audit.lateness_p99_impaired": _SECONDS,
    "audit.clock_error_max": _SECONDS,
    "audit.loop_stall_max": _SECONDS,
    "audit.gil_stall_max": _SECONDS,
    "audit.rate_reached": _SHARE,
    "audit.harness_cpu_cores": _PLAIN,
    "audit.model_error_p50": _SECONDS,
    "audit.model_error_p99": _SECONDS,
    "audit.faults_confirmed": _PLAIN,
    "audit.losses": _PLAIN,
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
