"""One run of a result as a folder of its own, for as long as others are still coming in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.durable import sync
from bench.manifest import masked
from bench.result import EVENTS, METRICS, Parameters, Record, frame
from bench.store.stamped import FRAMES, RESTORE, ResultError, read_json, write_frame, write_json

PARTS = "parts"


def write_part(parts: Path, record: Record, run_id: str) -> None:
    """Put a record below `parts`: as a whole or not at all."""
    writing = parts / f".{record.index:05d}"
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir()
    for name in FRAMES:
        write_frame(writing / f"{name}.parquet", name, getattr(record, name), record.index, run_id)
    write_json(writing / "record.json", described(record), run_id)
    sync(writing)
    writing.rename(part_of(parts, record.index))
    sync(parts)


def part_of(parts: Path, index: int) -> Path:
    """Where the record of that index is, or would be."""
    return parts / f"{index:05d}"


def whole_parts(directory: Path) -> list[Path]:
    """The parts of a result, in order, without what is half written."""
    return sorted(part for part in (directory / PARTS).iterdir() if part.name[0] != ".")


def read_description(part: Path, run_id: str) -> Record:
    """The record of a part, with empty frames."""
    path = part / "record.json"
    return record_of(read_json(path, run_id), path)


def described(record: Record) -> dict[str, Any]:
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


def record_of(row: Mapping[str, Any], path: Path) -> Record:
    """The record of a description that was found at `path`, with empty frames."""
    try:
        return Record(
            **{key: value for key, value in row.items() if key not in ("schema", "run")}
            | {"observers": tuple(row["observers"]), "parameters": Parameters(**row["parameters"])},
            events=frame(EVENTS, {}),
            metrics=frame(METRICS, {}),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ResultError(f"{path}: not a run's description ({error}); {RESTORE}") from error
