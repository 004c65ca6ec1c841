"""What a result says, run by run: the form in which two versions are compared, and baselines kept.

Figures have the names that they have in `summary.json` (`load.server_cpu_cores`);
`counts.*` are further ones, counted here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bench.durable import write_text
from bench.frames import each_run, numbers
from bench.measure.window import Window, steady
from bench.result import Kind, Record, Verdict
from bench.store import Loaded, ResultError, load

SCHEMA = 1
KIND = "heartbench baseline"

COUNTERS: Mapping[str, Sequence[Sequence[str]]] = {
    "statements": [["statements"]],
    "packets": [["packets_received", "packets_sent"]],
    "bytes": [["request_bytes", "response_bytes"], ["client_bytes_received", "client_bytes_sent"]],
}
"""Cumulative metrics that are summed; of several choices, the first that the servers tell."""

COVERED = 0.25
"""Of the window; readings that lie closer together, as after a stall, say nothing of a rate."""

WATCH_EVENTS = [f"watch_events_{what}" for what in ("created", "deleted", "changed", "children")]

UNCOMPARED = ("name", "question", "repeat", "slo", "audit")
"""What a scenario may say differently and still be the same experiment."""


@dataclass(frozen=True)
class RunFigures:
    """One run of one backend."""

    backend: str
    """As in the summary: with the matrix point, where one was swept."""
    repeat: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """A result, or a baseline that was made of one."""

    run: str
    """The id of the result."""
    scenario: Mapping[str, Any]
    engine: str
    verdict: str
    reasons: tuple[str, ...]
    machine: Mapping[str, Any]
    commit: str | None
    runs: tuple[RunFigures, ...]

    @property
    def backends(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.backend for run in self.runs))

    def values(self, backend: str, figure: str) -> tuple[float | None, ...]:
        """The figure of each run of a backend, in the order of repeats; None: not measured."""
        runs = sorted((run for run in self.runs if run.backend == backend), key=_repeat)
        return tuple(run.figures.get(figure) for run in runs)

    def save(self, path: str | Path) -> None:
        """As a baseline: a small file that can be committed and reviewed."""
        content = {"schema": SCHEMA, "kind": KIND, **asdict(self)}
        write_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def measured(path: str | Path) -> Measured:
    """What lies there: a result's directory (as of `bench.store.load`), or a baseline.

    Raises: ResultError, naming the file and what to do.
    """
    return _baseline(Path(path)) if Path(path).is_file() else of(load(path))


def of(result: Loaded) -> Measured:
    """A result's figures, run by run."""
    counts = {record.index: dict(_counts(record)) for record in result.records()}
    return Measured(
        run=str(result.manifest.get("run", result.path.name)),
        scenario=_parsed(result.scenario),
        engine=str(result.manifest.get("engine")),
        verdict=str(result.summary["verdict"]),
        reasons=tuple(result.summary["reasons"]),
        machine=dict(result.manifest.get("machine") or {}),
        commit=(result.manifest.get("git") or {}).get("commit"),
        runs=tuple(
            RunFigures(name, repeat, {**dict(numbers(figures)), **counts.get(index, {})})
            for name in result.summary["backends"]
            for index, repeat, figures in each_run(result, name)
        ),
    )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """In what two scenarios differ, such as `services.count: 100, 200`.

    A field that one of them lacks and that is off in the other came with a later version of
    heartbench, and is no difference.
    """
    ours, theirs = (
        {key: value for key, value in scenario.items() if key not in UNCOMPARED}
        for scenario in (one, other)
    )
    yield from _differing(ours, theirs, "")


def _differing(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            yield from _differing(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (ours, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _differing(ours, theirs, f"{path}[{place}]")
    elif one != other and (one or other or None not in (one, other)):
        yield f"{path}: {one}, {other}"


def _counts(record: Record) -> Iterator[tuple[str, float]]:
    """What is counted, for each service, so that the number says what one costs: what each observer
    was told and the watch events that the servers fired in the whole run; and, from the end of
    ramp and settling on, statements, packets and bytes a second, and how many sessions and watches
    the servers held (the median: after a stall there are old ones beside new ones)."""
    events, metrics, services = record.events, record.metrics, record.services
    window = steady(record)
    told = events["observer"].isin(record.observers).fillna(False) & events["kind"].isin(
        [Kind.JOINED, Kind.LEFT, Kind.UPDATED, Kind.RESYNCED]
    )
    if record.observers:
        yield "counts.told_per_service", int(told.sum()) / (len(record.observers) * services)
    if (fired := _growth(metrics, WATCH_EVENTS)) is not None:
        yield "counts.watch_events_per_service", fired[0] / services
    if window is not None:
        settled = metrics[metrics["t"].between(window.start, window.end)]
        for name, counters in COUNTERS.items():
            grown = next(filter(None, (_growth(settled, each) for each in counters)), None)
            if grown is not None and grown[1] > COVERED * (window.end - window.start):
                yield f"counts.{name}_per_service_second", grown[0] / grown[1] / services
    if record.parameters.kind == "zookeeper":  # connections to a database come and go with its load
        for name, together in (("sessions", "max"), ("watches", "sum")):
            held = _held(metrics, name, together, window)
            if held is not None:
                yield f"counts.{name}_per_service", held / services


def _growth(metrics: pd.DataFrame, names: Sequence[str]) -> tuple[float, float] | None:
    """How much these counters grew from their first reading to their last, over all servers, and
    in how many seconds; None where one was read but once. Nothing is interpolated: just before the
    first reading was the ramp."""
    grown = 0.0
    rows = metrics[metrics["metric"].isin(names)]
    for _, series in rows.groupby(["source", "metric"]):
        values = series.sort_values("t")["value"]
        if len(values) < 2:
            return None
        steps = values.diff().fillna(0.0)
        grown += float(steps.where(steps >= 0, values).sum())  # who started again began at zero
    return None if rows.empty else (grown, float(rows["t"].max() - rows["t"].min()))


def _held(metrics: pd.DataFrame, metric: str, together: str, window: Window | None) -> float | None:
    """The median of what the servers held: each knows of all sessions, and of its own watches."""
    rows = metrics[metrics["metric"] == metric]
    if window is not None:
        rows = rows[rows["t"].between(window.start, window.end)]
    if window is None or rows.empty:
        return None
    table = rows.pivot_table(index="t", columns="source", values="value").sort_index().ffill()
    return float(table.agg(together, axis="columns").median())


def _parsed(text: str) -> Mapping[str, Any]:
    scenario = yaml.safe_load(text)
    return scenario if isinstance(scenario, Mapping) else {}


def _repeat(run: RunFigures) -> int:
    return run.repeat


def _baseline(path: Path) -> Measured:
    mend = "make it again with `heartbench gate RESULT --save-baseline FILE`"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: damaged or cut off ({error}); {mend}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ResultError(f"{path}: no baseline; name one, or a result's directory")
    if content.get("schema") != SCHEMA:
        raise ResultError(
            f"{path}: schema {content.get('schema')}, this heartbench reads {SCHEMA}; {mend}"
        )
    try:
        return _restored(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path}: not a baseline's content ({error!r}); {mend}") from error


def _restored(content: Mapping[str, Any]) -> Measured:
    fields = {key: value for key, value in content.items() if key not in ("schema", "kind")}
    runs: Sequence[Mapping[str, Any]] = content["runs"]
    restored = Measured(
        **fields
        | {
            "reasons": tuple(content["reasons"]),
            "runs": tuple(
                RunFigures(
                    backend=str(run["backend"]),
                    repeat=int(run["repeat"]),
                    figures={str(k): float(v) for k, v in run["figures"].items()},
                )
                for run in runs
            ),
        }
    )
    Verdict(restored.verdict)
    return restored
