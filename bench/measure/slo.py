"""Service-level objectives against a summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class Objective(Protocol):
    """A rule such as `zk: detection.p99 <= 13s`, already read."""

    @property
    def rule(self) -> str:
        """As it was written."""

    @property
    def backend(self) -> str | None:
        """None: every backend."""

    @property
    def metric(self) -> str:
        """A path below a backend's part of the summary, with dots."""

    def holds(self, measured: float) -> bool:
        """Whether a measured value meets it."""


def judge(objectives: Iterable[Objective], backends: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per objective and backend that it is about: rule, backend, value, ok, reason.

    `backends` is the summary's. What was not measured is not met; `reason` says so, and is None
    where there is a value.
    """
    rows = []
    for objective in objectives:
        concerned = [
            (name, figures)
            for name, figures in backends.items()
            if objective.backend in (None, figures.get("backend", name))
        ]
        rows += [_judged(objective, name, figures) for name, figures in concerned]
        if not concerned:
            reason = f"no run of backend {objective.backend}" if objective.backend else "no run"
            rows.append(_row(objective, objective.backend, None, reason))
    return rows


def _judged(objective: Objective, name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    value: Any = figures
    for key in objective.metric.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, int | float):
        return _row(objective, name, value, None)
    return _row(objective, name, None, f"{objective.metric} was not measured on {name}")


def _row(
    objective: Objective, backend: str | None, value: float | None, reason: str | None
) -> dict[str, Any]:
    return {
        "rule": objective.rule,
        "backend": backend,
        "value": value,
        "ok": value is not None and objective.holds(value),
        "reason": reason,
    }
