"""Results as pandas frames: the way in for notebooks.

```python
import bench

quick = bench.load("results/quickstart")
quick.victims.groupby(["backend", "fault"]).detection.describe()
both = bench.load("results/quickstart", "results/nova-defaults")
both.summary.pivot(index="scenario", columns="backend", values="detection.mean")
```

`COLUMNS` says what each column holds, and in which unit. Times are in seconds everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.store import Loaded
from bench.store import load as load_one


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of a frame holds."""

    dtype: str
    """As pandas names it."""
    unit: str
    """Empty where it has none."""
    meaning: str


_RESULT = {
    "result": Column("string", "", "The result's id."),
    "scenario": Column("string", "", "The scenario's name."),
    "run": Column("Int32", "", 'Which entry of the manifest\'s "runs", by its index.'),
}
_BACKEND = {
    "backend": Column("string", "", "The backend's name in the scenario."),
    "repeat": Column("Int32", "", "The repeat, from 0."),
}
_NAME = Column("string", "", "The key in `summary.json`: the backend, with the point.")
_SUBJECT = {
    "subject": Column("string", "", "The service; the server; or the phase."),
    "client": Column("string", "", "`wire` or `library`; null where neither."),
    "server": Column("string", "", "The server that the service was connected to."),
    "incarnation": Column("Int64", "", "The life's token; null where unknown."),
}
_OBSERVER = Column("string", "", "Who was told; null for what truly happened.")

COLUMNS: Mapping[str, Mapping[str, Column]] = {
    "events": {
        **_RESULT,
        **_BACKEND,
        "t": Column("float64", "s", "Since the run's epoch, the start of its ramp."),
        "kind": Column("string", "", "What happened; `bench.kind.Kind` tells each."),
        **_SUBJECT,
        "observer": _OBSERVER,
        "value": Column("float64", "", "A number that belongs to it; `bench.kind.Kind` tells it."),
        "detail": Column("string", "", "Words that say more, such as the direction of a cut."),
        "clock": Column("string", "", "Whose clock stamped it."),
        "clock_offset": Column("float64", "s", "What has been added to that clock already."),
        "clock_error": Column("float64", "s", "How far `t` may be off for that."),
    },
    "metrics": {
        **_RESULT,
        **_BACKEND,
        "t": Column("float64", "s", "Since the run's epoch, the start of its ramp."),
        "source": Column(
            "string",
            "",
            "A server, `machine`, `harness`, `library`, `observers`, `engine`, or a shard.",
        ),
        "metric": Column("string", "", "What was metered; counters only grow."),
        "value": Column("float64", "see `unit`", "The reading."),
        "unit": Column("string", "", "The unit of `value`."),
        "count": Column("Int64", "", "How often it was measured about then; null: once."),
    },
    "victims": {
        **_RESULT,
        **_BACKEND,
        **_SUBJECT,
        "fault": Column("string", "", "What befell it."),
        "onset": Column("float64", "s", "When that was confirmed, since the run's epoch."),
        "renewed": Column("float64", "s", "When its last answered renewal before had been sent."),
        "due": Column("boolean", "", "Whether it had to be noticed; null where nobody can say."),
        "watched": Column("float64", "s", "How long it could have been noticed: a censored time."),
        "observer": _OBSERVER,
        "detected": Column("float64", "s", "When the observer was first told; null: never."),
        "detection": Column("float64", "s", "detected - onset: the detection time."),
        "phase": Column("float64", "s", "Part of it: minus the age of the last renewal."),
        "timeout": Column("float64", "s", "Part of it: the timeout."),
        "rounding": Column("float64", "s", "Part of it: until the server's grid or the next poll."),
        "delivery": Column("float64", "s", "Part of it: what is left."),
    },
    "summary": {
        "result": _RESULT["result"],
        "scenario": _RESULT["scenario"],
        "engine": Column("string", "", "`live` or `sim`."),
        "verdict": Column("string", "", "`valid`, `invalid` or `unknown`; only valid is good."),
        "name": _NAME,
        "backend": _BACKEND["backend"],
    },
    "runs": {**_RESULT, "name": _NAME, **_BACKEND},
}
"""By frame and column. Besides, each field that a matrix swept is a column of every frame, named by
its path (`services.count`); and `summary` and `runs` have one column for each figure of
`summary.json`, named by its path (`detection.p99`), in the units that are told there: seconds,
bytes, cores, and rates a second."""


@dataclass(frozen=True, eq=False)
class Frames:
    """One result or several, row upon row. Each frame is made when it is first asked for."""

    results: tuple[Loaded, ...]

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row an event: what was done, what happened, what observers were told."""
        return _stacked("events", [_placed(each, each.events) for each in self.results])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a reading of a meter."""
        return _stacked("metrics", [_placed(each, each.metrics) for each in self.results])

    @cached_property
    def victims(self) -> pd.DataFrame:
        """One row for each fault of a service and observer."""
        return _stacked("victims", [_placed(each, each.victims) for each in self.results])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row for each backend (at each point) of each result: the figures as judged, all its
        repeats together."""
        rows = [
            {
                **_named(result),
                "engine": result.manifest.get("engine"),
                "verdict": result.summary["verdict"],
                "name": name,
                "backend": figures.get("backend", name),
                **(figures.get("point") or {}),
                **dict(numbers(figures)),
            }
            for result in self.results
            for name, figures in result.summary["backends"].items()
        ]
        return _typed("summary", pd.DataFrame(rows))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The same for each run alone: what varies between repeats."""
        rows = [
            {
                **_named(result),
                "run": index,
                "name": name,
                "backend": figures.get("backend", name),
                "repeat": repeat,
                **(figures.get("point") or {}),
                **dict(numbers(tree)),
            }
            for result in self.results
            for name, figures in result.summary["backends"].items()
            for index, repeat, tree in each_run(result, name)
        ]
        return _typed("runs", pd.DataFrame(rows))


def load(*paths: str | Path) -> Frames:
    """The results at these places: a run's directory, or the latest run of a scenario's, or of a
    folder of those.

    Raises: ResultError, naming the file and what to do, for anything that isn't whole.
    """
    return Frames(tuple(load_one(path) for path in paths))


def runs_of(result: Loaded, name: str) -> tuple[int, ...]:
    """The indexes of the runs that an entry of the summary's backends is made of, in order."""
    figures = result.summary["backends"][name]
    return tuple(
        run["index"]
        for run in result.manifest["runs"]
        if run["backend"] == figures.get("backend", name)
        and run["point"] == figures.get("point", run["point"])
    )


def each_run(result: Loaded, name: str) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """Of each run of an entry of the summary's backends: its index, its repeat, and its figures."""
    figures = result.summary["backends"][name]
    alone = [{"index": index, "repeat": 0, **figures} for index in runs_of(result, name)[:1]]
    for run in figures.get("per_run") or alone:
        tree = {key: value for key, value in run.items() if key not in ("index", "repeat")}
        yield run["index"], run["repeat"], tree


def numbers(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested figures by their paths: `detection.every.p99`; without those of single
    processes."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            if name not in ("point", "ci95", "processes"):
                yield from numbers(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield before + name, value


def _named(result: Loaded) -> dict[str, str]:
    return {
        "result": str(result.manifest.get("run", result.path.name)),
        "scenario": str(result.manifest["scenario"]),
    }


def _placed(result: Loaded, rows: pd.DataFrame) -> pd.DataFrame:
    """With the result's id, and the point of each row's run."""
    placed = rows.assign(**_named(result))
    points = {run["index"]: run["point"] for run in result.manifest["runs"]}
    for field in dict.fromkeys(field for point in points.values() for field in point):
        placed[field] = placed["run"].map({run: point.get(field) for run, point in points.items()})
    return placed


def _stacked(name: str, parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Empty ones are left out, since they have no types to agree on."""
    there = [part for part in parts if len(part)]
    return _typed(name, pd.concat(there, ignore_index=True) if there else pd.DataFrame())


def _typed(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The documented columns first and in their types, even where there is no row."""
    documented = COLUMNS.get(name, {})
    for column, described in documented.items():
        given = rows[column] if column in rows else pd.Series(index=rows.index, dtype=object)
        rows[column] = given.astype(pd.api.types.pandas_dtype(described.dtype))
    return rows[[*documented, *(column for column in rows if column not in documented)]]
