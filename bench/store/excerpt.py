"""A result small enough to be committed, or sent to somebody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from bench.durable import point, write_text
from bench.result import EVENTS, METRICS, Kind, Record, frame
from bench.store.loading import LATEST, Loaded
from bench.store.parts import part_of, write_part
from bench.store.stamped import FRAMES, ResultError, merge_frames, write_json

LEFT_OUT = "the metrics, and the events of services that nothing befell"
ALL_LEFT_OUT = "the metrics and the events"
"""As the manifest says, under `excerpt`."""

UNEVENTFUL = (Kind.JOINING, Kind.JOINED, Kind.UPDATED)


def excerpt(result: Loaded, out: str | Path, *, victims: bool = True) -> Path:
    """Write, below the folder ``out``, what the result says without what it was made of; returns
    its directory.

    Scenario, manifest and summary stay as they are. Of the events there remain those of no
    service, and those of each service that something befell; so that victims, and how late each
    was noticed, can still be looked into; none without ``victims``. The metrics are left out.

    Raises: ResultError for a result that nobody has judged, or a place that can't be written.
    """
    if not result.summary["backends"]:
        raise ResultError(
            f"{result.path}: its harness ended before it could judge; complete it first "
            "(heartbench run --resume)"
        )
    manifest = dict(result.manifest)
    run_id = str(manifest["run"])
    directory = Path(out) / str(manifest["scenario"]) / run_id
    try:
        directory.mkdir(parents=True)
        with TemporaryDirectory(dir=directory) as folder:
            parts = Path(folder)
            indexes = [_keep(record, parts, run_id, victims) for record in result.records()]
            for name in FRAMES:
                files = [part_of(parts, index) / f"{name}.parquet" for index in indexes]
                merge_frames(directory / f"{name}.parquet", name, files, run_id)
        write_text(directory / "scenario.yaml", result.scenario)
        write_json(directory / "summary.json", result.summary, run_id)
        said = {"excerpt": LEFT_OUT if victims else ALL_LEFT_OUT}
        write_json(directory / "manifest.json", {**manifest, **said}, run_id)
        point(directory.parent / LATEST, directory.name)
    except OSError as error:
        raise ResultError(
            f"{directory}: cannot be written ({error.strerror}); choose another place with -o"
        ) from error
    return directory


def _keep(record: Record, parts: Path, run_id: str, victims: bool) -> int:
    events = _eventful(record.events) if victims else frame(EVENTS, {})
    kept = replace(record, events=events, metrics=frame(METRICS, {}))
    write_part(parts, kept, run_id)
    return record.index


def _eventful(events: pd.DataFrame) -> pd.DataFrame:
    services = set(events.loc[events["kind"] == Kind.JOINING, "subject"])
    struck = set(events.loc[~events["kind"].isin(UNEVENTFUL), "subject"])
    return events[~events["subject"].isin(services - struck)]
