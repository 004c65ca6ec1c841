"""A result while it is being written."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import weakref
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.durable import point, sync, write_text
from bench.manifest import now
from bench.result import Record, Verdict
from bench.store.loading import LATEST, Loaded, unjudged
from bench.store.parts import (
    PARTS,
    described,
    part_of,
    read_description,
    whole_parts,
    write_part,
)
from bench.store.stamped import FRAMES, ResultError, merge_frames, write_json


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
        lock = _locked(making)
        write_json(making / "manifest.json", {**manifest, "runs": []}, run_id)
        write_text(making / "scenario.yaml", scenario_yaml)
        making.rename(directory)
        sync(directory.parent)
        return Recording(directory, run_id, manifest, lock)


def resume(result: Loaded, keep: Collection[int]) -> Recording:
    """Take up the recording of a result again, with those of its records (by index).

    Whatever else is there of runs, half written or broken off, is dropped.

    Raises ResultError where somebody is still writing it, and for an excerpt.
    """
    directory, manifest = result.path, dict(result.manifest)
    if "excerpt" in manifest:
        raise ResultError(f"{directory}: an excerpt; resume the result that it was made of")
    lock = _locked(directory)
    run_id = str(manifest.pop("run"))
    manifest.pop("schema", None)
    parts = directory / PARTS
    if parts.is_dir():
        kept = {part_of(parts, index) for index in keep}
        for part in list(parts.iterdir()):
            if part not in kept:
                shutil.rmtree(part)
    else:
        # It had been merged: apart again, before that counts.
        apart = directory / f".{PARTS}-resumed"
        shutil.rmtree(apart, ignore_errors=True)
        apart.mkdir()
        for record in result.records():
            if record.index in keep:
                write_part(apart, record, run_id)
        apart.rename(parts)
    manifest["resumed"] = [*manifest.get("resumed", []), now()]
    write_json(directory / "manifest.json", {**manifest, "ended": None, "runs": []}, run_id)
    return Recording(directory, run_id, manifest, lock)


class Recording:
    """One run being written. As a context manager it finishes whatever happens inside.

    As long as it lives and isn't finished, no other process can take up its directory.
    """

    def __init__(self, path: Path, run_id: str, manifest: Mapping[str, Any], lock: int) -> None:
        self.path = path
        self._id = run_id
        self._manifest = dict(manifest)
        self._finished = False
        self._unlock = weakref.finalize(self, os.close, lock)

    def add(self, record: Record) -> None:
        """Keep a record; it is there as a whole or not at all. An index can be added only once."""
        parts = self.path / PARTS
        if part_of(parts, record.index).exists():
            raise ValueError(f"run {record.index} has been recorded already")
        write_part(parts, record, self._id)

    def finish(self, summary: Mapping[str, Any], *, broken_off: str | None = None) -> Path:
        """Merge the records, write the summary, let `latest` point here; returns the directory.

        `broken_off` says why the runs ended early: what there is is kept, the verdict is unknown.
        """
        parts = whole_parts(self.path)
        records = [read_description(part, self._id) for part in parts]
        if broken_off is not None:
            reasons = [f"broke off: {broken_off}", *summary.get("reasons", ())]
            summary = {**summary, "verdict": str(Verdict.UNKNOWN), "reasons": reasons}
        for name in FRAMES:
            file = f"{name}.parquet"
            merge_frames(self.path / file, name, [part / file for part in parts], self._id)
        runs = [described(record) for record in records]
        manifest = {**self._manifest, "ended": now(), "broken_off": broken_off, "runs": runs}
        write_json(self.path / "manifest.json", manifest, self._id)
        write_json(self.path / "summary.json", summary, self._id)
        # Renamed first: half a `parts/` must never be taken for a whole one.
        merged = self.path / f".{PARTS}-merged"
        (self.path / PARTS).rename(merged)
        sync(self.path)
        shutil.rmtree(merged)
        point(self.path.parent / LATEST, self.path.name)
        self._finished = True
        self._unlock()
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
            self.finish(unjudged(self._manifest), broken_off=why)


def _locked(directory: Path) -> int:
    """An open descriptor of the directory that holds its lock; the kernel frees it with us."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ResultError(
            f"{directory}: another heartbench is still writing it; wait until it has ended"
        ) from None
    return descriptor
