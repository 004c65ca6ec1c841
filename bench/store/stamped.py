"""Files of a result: each states its schema version and the run that it belongs to.

What isn't whole, or isn't of that run, is refused with the file and what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.durable import replace, sync, write_text
from bench.errors import HarnessError
from bench.manifest import masked
from bench.result import EVENTS, METRICS, SCHEMA, frame

FRAMES = {"events": EVENTS, "metrics": METRICS}
RUN = pa.field("run", pa.int32())
"""Added to the stored frames: the index of the record that a row came from."""

RESTORE = "restore it from a copy, or run the scenario again"

_SCHEMA_KEY, _ID_KEY = b"heartbench.schema", b"heartbench.run"


class ResultError(HarnessError):
    """A result that cannot be read, or a place where none can be written."""

    exit_code = 2


def missing(path: Path) -> ResultError:
    """What to raise for a file that isn't there."""
    return ResultError(f"{path}: missing; {RESTORE}")


# Parquet


def write_frame(path: Path, name: str, rows: pd.DataFrame, index: int, run_id: str) -> None:
    """Write a frame of the record of that index."""
    schema = FRAMES[name]
    typed = frame(schema, rows).assign(**{RUN.name: index})
    table = pa.Table.from_pandas(typed, schema=_stored(schema, run_id), preserve_index=False)
    pq.write_table(table, path, compression="zstd")
    sync(path)


def merge_frames(path: Path, name: str, parts: Iterable[Path], run_id: str) -> None:
    """Join files of one frame to one, part by part, so that no more than one is in memory."""
    writing = path.with_name(f".{path.name}")
    schema = _stored(FRAMES[name], run_id)
    with pq.ParquetWriter(writing, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(_read_table(part, FRAMES[name], run_id))
    replace(writing, path)


def read_frame(name: str, paths: Iterable[Path], run_id: str) -> pd.DataFrame:
    """The rows of all these files, with the column `RUN`."""
    schema = FRAMES[name]
    tables = [_read_table(path, schema, run_id) for path in paths]
    table = pa.concat_tables([_stored(schema, run_id).empty_table(), *tables])
    # Arrow's own types, so that no null turns a token into a float on the way.
    return frame(schema.append(RUN), table.to_pandas(types_mapper=pd.ArrowDtype))


def _stored(schema: pa.Schema, run_id: str) -> pa.Schema:
    """The schema on disk: with the run's index, the schema version and the run's id."""
    stamp = {_SCHEMA_KEY: str(SCHEMA).encode(), _ID_KEY: run_id.encode()}
    return schema.append(RUN).with_metadata(stamp)


def _read_table(path: Path, schema: pa.Schema, run_id: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise missing(path) from error
    except (pa.ArrowException, OSError) as error:
        raise ResultError(f"{path}: damaged or cut off ({error}); {RESTORE}") from error
    stamp = table.schema.metadata or {}
    version, found_id = (stamp.get(key, b"").decode() for key in (_SCHEMA_KEY, _ID_KEY))
    _check(path, int(version) if version.isdigit() else None, found_id, run_id)
    if not table.schema.equals(schema.append(RUN)):
        raise ResultError(f"{path}: its columns aren't those of schema {SCHEMA}; {RESTORE}")
    return table


# JSON


def write_json(path: Path, content: Mapping[str, Any], run_id: str) -> None:
    """Write a mapping, passwords masked."""
    stamped = {**masked(content), "schema": SCHEMA, "run": run_id}
    write_text(path, json.dumps(stamped, indent=1, allow_nan=False))


def read_json(path: Path, run_id: str | None = None) -> dict[str, Any]:
    """The content, of the right schema; and of the run `run_id`, if that is given."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise missing(path) from error
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: damaged or cut off ({error}); {RESTORE}") from error
    if not isinstance(content, dict):
        raise ResultError(f"{path}: not a JSON object; {RESTORE}")
    _check(path, content.get("schema"), content.get("run"), run_id)
    return content


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
