"""Results as they lie on disk."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.measure.detection import victims
from bench.result import SCHEMA, Record, Verdict
from bench.store.parts import PARTS, described, read_description, record_of, whole_parts
from bench.store.stamped import FRAMES, RESTORE, RUN, ResultError, missing, read_frame, read_json

LATEST = "latest"


@dataclass(frozen=True)
class Loaded:
    """A result as it lies on disk.

    `events` and `metrics` have the columns of `bench.result`, and `run`: which entry of
    `manifest["runs"]` (by its `index`) a row belongs to.
    """

    path: Path
    manifest: Mapping[str, Any]
    scenario: str
    """The YAML as it was run."""
    summary: Mapping[str, Any]
    """With verdict unknown and no figures where the harness was killed before it could judge;
    `bench.measure.summary.summarise` makes it from `records()`."""
    events: pd.DataFrame
    metrics: pd.DataFrame
    finished: bool
    """Whether its runs ended and were judged; false where they broke off, or were killed."""
    _descriptions: tuple[Record, ...]

    @cached_property
    def victims(self) -> pd.DataFrame:
        """One row per victim and observer; see `bench.measure.detection.victims`."""
        rows = [victims(record) for record in self.records()]
        there = [frame for frame in rows if len(frame)] or rows[:1]
        return pd.concat(there, ignore_index=True) if there else pd.DataFrame()

    def records(self) -> Iterator[Record]:
        """Each run as the engine left it, to be judged again."""
        for record in self._descriptions:
            yield dataclasses.replace(
                record,
                events=_rows_of(self.events, record.index),
                metrics=_rows_of(self.metrics, record.index),
            )


def load(path: str | Path) -> Loaded:
    """A run's directory; or the latest run of a scenario's directory, or of a folder of those.

    Raises ResultError, naming the file and what to do, for anything that isn't whole.
    """
    directory = _resolve(Path(path))
    manifest = read_json(directory / "manifest.json")
    run_id = str(manifest.get("run"))
    try:
        scenario = (directory / "scenario.yaml").read_text()
    except OSError as error:
        raise missing(directory / "scenario.yaml") from error
    merged = not (directory / PARTS).is_dir()
    if not merged:
        # The harness was killed before it could merge: whatever else is here is unfinished.
        parts = whole_parts(directory)
        records = tuple(read_description(part, run_id) for part in parts)
        summary = unjudged(manifest)
    else:
        parts = [directory]
        records = _records(manifest.get("runs"), directory / "manifest.json")
        summary = read_json(directory / "summary.json", run_id)
    frames = {
        name: read_frame(name, [part / f"{name}.parquet" for part in parts], run_id)
        for name in FRAMES
    }
    return Loaded(
        path=directory,
        manifest={**manifest, "runs": [described(record) for record in records]},
        scenario=scenario,
        summary=summary,
        events=frames["events"],
        metrics=frames["metrics"],
        finished=merged and manifest.get("broken_off") is None,
        _descriptions=records,
    )


def _resolve(path: Path) -> Path:
    """The directory of the run that is meant."""
    if any((path / name).exists() for name in ("manifest.json", "summary.json", PARTS)):
        return path.resolve()
    if (path / LATEST).is_symlink():
        found = path / LATEST
        if not found.exists():
            raise ResultError(
                f"{found}: points to {os.readlink(found)}, which is gone; name a run's directory"  # noqa: PTH115
            )
        return found.resolve()
    runs = [found.parent for found in path.glob("[!.]*/manifest.json")]
    runs = runs or [link.resolve() for link in path.glob(f"*/{LATEST}") if link.exists()]
    runs = runs or [found.parent for found in path.glob("[!.]*/[!.]*/manifest.json")]
    if not runs:
        what = "no result in it" if path.is_dir() else "not there"
        raise ResultError(
            f"{path}: {what}; name a run's directory, a scenario's, or the folder of all results"
        )
    return max(runs, key=lambda run: run.name).resolve()


def _rows_of(stored: pd.DataFrame, index: int) -> pd.DataFrame:
    rows: pd.DataFrame = stored[stored[RUN.name] == index].drop(columns=RUN.name)
    return rows.reset_index(drop=True)


def _records(rows: object, path: Path) -> tuple[Record, ...]:
    if not isinstance(rows, list):
        raise ResultError(f"{path}: lists no runs; {RESTORE}")
    return tuple(record_of(row, path) for row in rows)


def unjudged(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a result that nobody has judged."""
    return {
        "schema": SCHEMA,
        "engine": manifest.get("engine"),
        "verdict": str(Verdict.UNKNOWN),
        "reasons": ["the harness ended before it could judge"],
        "slo": [],
        "backends": {},
    }
