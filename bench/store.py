"""The only reader and writer of results; also the way into pandas.

`results/<scenario>/<run-id>/` holds manifest.json, scenario.yaml, events.parquet,
metrics.parquet and summary.json, each with its schema version and the run's id. While runs are
still coming in, each is a folder below `parts/`, put there in one step. As long as `parts/` is
there, it is what counts; so a killed harness leaves a readable directory at every instant.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.durable import point, replace, sync, write_text
from bench.errors import HarnessError
from bench.manifest import masked, now
from bench.measure.detection import victims
from bench.result import EVENTS, METRICS, SCHEMA, Parameters, Record, Verdict, frame

LATEST = "latest"
PARTS = "parts"
RUN = pa.field("run", pa.int32())
"""Added to the stored frames: the index of the record that a row came from."""

_SCHEMA_KEY, _ID_KEY = b"heartbench.schema", b"heartbench.run"
_RESTORE = "restore it from a copy, or run the scenario again"
_FRAMES = {"events": EVENTS, "metrics": METRICS}


class ResultError(HarnessError):
    """A result that cannot be read, or a place where none can be written."""

    exit_code = 2


class Store:
    """A folder of results. Nothing is made before the first run begins."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def begin(self, scenario: str, scenario_yaml: str, manifest: Mapping[str, Any]) -> Recording:
        """A directory for a new run, with its manifest and scenario in it. Ids sort by time."""
        started = datetime.now(UTC)
        run_id = (
            f"{started:%Y%m%dT%H%M%S}.{started.microsecond // 1000:03d}Z-{secrets.token_hex(2)}"
        )
        directory = self.root / scenario / run_id
        making = directory.with_name(f".{run_id}")
        try:
            (making / PARTS).mkdir(parents=True)
        except OSError as error:
            raise ResultError(
                f"{directory}: cannot be made ({error.strerror}); choose another place with --out"
            ) from error
        recording = Recording(directory, run_id, manifest)
        _write_json(making / "manifest.json", {**manifest, "runs": []}, run_id)
        write_text(making / "scenario.yaml", scenario_yaml)
        making.rename(directory)
        sync(directory.parent)
        return recording


class Recording:
    """One run being written. As a context manager it finishes whatever happens inside."""

    def __init__(self, path: Path, run_id: str, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self._id = run_id
        self._manifest = dict(manifest)
        self._finished = False

    def add(self, record: Record) -> None:
        """Keep a record; it is there as a whole or not at all. An index can be added only once."""
        parts = self.path / PARTS
        if (parts / f"{record.index:05d}").exists():
            raise ValueError(f"run {record.index} has been recorded already")
        writing = parts / f".{record.index:05d}"
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        for name, schema in _FRAMES.items():
            table = _table(schema, record, name, self._id)
            pq.write_table(table, writing / f"{name}.parquet", compression="zstd")
            sync(writing / f"{name}.parquet")
        _write_json(writing / "record.json", _described(record), self._id)
        sync(writing)
        writing.rename(parts / writing.name.removeprefix("."))
        sync(parts)

    def finish(self, summary: Mapping[str, Any], *, broken_off: str | None = None) -> Path:
        """Merge the records, write the summary, let `latest` point here; returns the directory.

        `broken_off` says why the runs ended early: what there is is kept, the verdict is unknown.
        """
        parts = _parts(self.path)
        records = [_read_description(part, self._id) for part in parts]
        if broken_off is not None:
            reasons = [f"broke off: {broken_off}", *summary.get("reasons", ())]
            summary = {**summary, "verdict": str(Verdict.UNKNOWN), "reasons": reasons}
        for name, schema in _FRAMES.items():
            self._merge(name, schema, parts)
        described = [_described(record) for record in records]
        manifest = {**self._manifest, "ended": now(), "runs": described}
        _write_json(self.path / "manifest.json", manifest, self._id)
        _write_json(self.path / "summary.json", summary, self._id)
        # Renamed first: half a `parts/` must never be taken for a whole one.
        merged = self.path / f".{PARTS}-merged"
        (self.path / PARTS).rename(merged)
        sync(self.path)
        shutil.rmtree(merged)
        point(self.path.parent / LATEST, self.path.name)
        self._finished = True
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._finished:
            why = f"{kind.__name__}: {error}".rstrip(": ") if kind else "not finished"
            self.finish(_unjudged(self._manifest), broken_off=why)

    def _merge(self, name: str, schema: pa.Schema, parts: Iterable[Path]) -> None:
        """Part by part, so that no more than one is in memory."""
        path = self.path / f"{name}.parquet"
        writing = path.with_name(f".{path.name}")
        with pq.ParquetWriter(writing, _stored(schema, self._id), compression="zstd") as writer:
            for part in parts:
                writer.write_table(_read_table(part / path.name, schema, self._id))
        replace(writing, path)


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
    manifest = _read_json(directory / "manifest.json")
    run_id = str(manifest.get("run"))
    try:
        scenario = (directory / "scenario.yaml").read_text()
    except OSError as error:
        raise _missing(directory / "scenario.yaml") from error
    if (directory / PARTS).is_dir():
        # The harness was killed before it could merge: whatever else is here is unfinished.
        parts = _parts(directory)
        records = tuple(_read_description(part, run_id) for part in parts)
        summary = _unjudged(manifest)
    else:
        parts = [directory]
        records = _records(manifest.get("runs"), directory / "manifest.json")
        summary = _read_json(directory / "summary.json", run_id)
    return Loaded(
        path=directory,
        manifest={**manifest, "runs": [_described(record) for record in records]},
        scenario=scenario,
        summary=summary,
        events=_read_frame("events", parts, run_id),
        metrics=_read_frame("metrics", parts, run_id),
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


def _parts(directory: Path) -> list[Path]:
    return sorted(part for part in (directory / PARTS).iterdir() if part.name[0] != ".")


def _described(record: Record) -> dict[str, Any]:
    """All of a record but its frames."""
    return {
        "index": record.index,
        "backend": record.backend,
        "repeat": record.repeat,
        "services": record.services,
        "observers": list(record.observers),
        "parameters": asdict(record.parameters),
        "environment": masked(record.environment),
        "point": dict(record.point),
        "complete": record.complete,
    }


def _records(rows: object, path: Path) -> tuple[Record, ...]:
    if not isinstance(rows, list):
        raise ResultError(f"{path}: lists no runs; {_RESTORE}")
    return tuple(_record(row, path) for row in rows)


def _record(row: Mapping[str, Any], path: Path) -> Record:
    """The record of a description, with empty frames."""
    try:
        return Record(
            **{key: value for key, value in row.items() if key not in ("schema", "run")}
            | {"observers": tuple(row["observers"]), "parameters": Parameters(**row["parameters"])},
            events=frame(EVENTS, {}),
            metrics=frame(METRICS, {}),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ResultError(f"{path}: not a run's description ({error}); {_RESTORE}") from error


def _rows_of(stored: pd.DataFrame, index: int) -> pd.DataFrame:
    rows: pd.DataFrame = stored[stored[RUN.name] == index].drop(columns=RUN.name)
    return rows.reset_index(drop=True)


def _unjudged(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "engine": manifest.get("engine"),
        "verdict": str(Verdict.UNKNOWN),
        "reasons": ["the harness ended before it could judge"],
        "slo": [],
        "backends": {},
    }


# Parquet


def _stored(schema: pa.Schema, run_id: str) -> pa.Schema:
    """The schema on disk: with the run's index, the schema version and the run's id."""
    stamp = {_SCHEMA_KEY: str(SCHEMA).encode(), _ID_KEY: run_id.encode()}
    return schema.append(RUN).with_metadata(stamp)


def _table(schema: pa.Schema, record: Record, name: str, run_id: str) -> pa.Table:
    rows = frame(schema, getattr(record, name)).assign(**{RUN.name: record.index})
    return pa.Table.from_pandas(rows, schema=_stored(schema, run_id), preserve_index=False)


def _read_frame(name: str, directories: Iterable[Path], run_id: str) -> pd.DataFrame:
    schema = _FRAMES[name]
    tables = [_read_table(place / f"{name}.parquet", schema, run_id) for place in directories]
    table = pa.concat_tables([_stored(schema, run_id).empty_table(), *tables])
    # Arrow's own types, so that no null turns a token into a float on the way.
    return frame(schema.append(RUN), table.to_pandas(types_mapper=pd.ArrowDtype))


def _read_table(path: Path, schema: pa.Schema, run_id: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (pa.ArrowException, OSError) as error:
        raise ResultError(f"{path}: damaged or cut off ({error}); {_RESTORE}") from error
    stamp = table.schema.metadata or {}
    version, found_id = (stamp.get(key, b"").decode() for key in (_SCHEMA_KEY, _ID_KEY))
    _check(path, int(version) if version.isdigit() else None, found_id, run_id)
    if not table.schema.equals(schema.append(RUN)):
        raise ResultError(f"{path}: its columns aren't those of schema {SCHEMA}; {_RESTORE}")
    return table


# JSON


def _read_description(part: Path, run_id: str) -> Record:
    return _record(_read_json(part / "record.json", run_id), part / "record.json")


def _read_json(path: Path, run_id: str | None = None) -> dict[str, Any]:
    """The content, of the right schema; and of the run `run_id`, if that is given."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: damaged or cut off ({error}); {_RESTORE}") from error
    if not isinstance(content, dict):
        raise ResultError(f"{path}: not a JSON object; {_RESTORE}")
    _check(path, content.get("schema"), content.get("run"), run_id)
    return content


def _missing(path: Path) -> ResultError:
    return ResultError(f"{path}: missing; {_RESTORE}")


def _check(path: Path, version: object, found_id: object, run_id: str | None) -> None:
    if not isinstance(version, int):
        raise ResultError(f"{path}: states no schema version, so it is no result of heartbench's")
    if version != SCHEMA:
        newer = version > SCHEMA
        raise ResultError(
            f"{path}: {'newer' if newer else 'older'} schema {version}, this heartbench reads "
            f"{SCHEMA}; "
            + ("update heartbench" if newer else "read it with the version that wrote it")
        )
    if run_id is not None and found_id != run_id:
        raise ResultError(
            f"{path}: belongs to run {found_id}, the manifest beside it to {run_id}; keep the "
            "files of each run in a directory of their own"
        )


def _write_json(path: Path, content: Mapping[str, Any], run_id: str) -> None:
    stamped = {**masked(content), "schema": SCHEMA, "run": run_id}
    write_text(path, json.dumps(stamped, indent=1, allow_nan=False))
