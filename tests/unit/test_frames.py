"""The frames of notebooks: typed, documented, across results, runs and repeats."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.frames import COLUMNS, Frames, load
from bench.store import ResultError
from tests.report.results import ZOOKEEPER, run, write


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Two results: one of two backends and two repeats, one of a sweep."""
    tmp_path = tmp_path_factory.mktemp("frames")
    one = write(
        tmp_path / "one",
        run(),
        run("zk", index=1, late=9.0, parameters=ZOOKEEPER),
        run("zk", index=2, repeat=1, late=10.0, parameters=ZOOKEEPER),
        run(index=3, repeat=1, late=56.0),
    )
    swept = [run(index=n, point={"services.count": 10**n}, late=50.0 + n) for n in range(3)]
    other = write(tmp_path / "other", *swept, scenario={"name": "swept"})
    return load(one, other)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_documented_and_of_the_type_it_says(frames: Frames, name: str) -> None:
    rows: pd.DataFrame = getattr(frames, name)
    documented = COLUMNS[name]
    assert list(rows.columns[: len(documented)]) == list(documented)
    for column, described in documented.items():
        assert rows[column].dtype == pd.api.types.pandas_dtype(described.dtype), column
        assert described.meaning.endswith((".", ";")), column
    others = set(rows.columns) - set(documented) - {"services.count"}
    if name in ("summary", "runs"):
        assert all("." in column or column in ("runs", "services") for column in others)
    else:
        assert others == set()


def test_nothing_of_what_the_files_hold_is_left_out(frames: Frames) -> None:
    for result in frames.results:
        for name in ("events", "metrics", "victims"):
            stored: pd.DataFrame = getattr(result, name)
            rows: pd.DataFrame = getattr(frames, name)
            mine = rows[rows["result"] == result.manifest["run"]]
            assert len(mine) == len(stored)
            assert set(stored.columns) <= set(rows.columns)
            assert set(mine["scenario"]) == {result.manifest["scenario"]}


def test_the_sweeps_field_is_a_column_of_every_frame(frames: Frames) -> None:
    for name in ("events", "metrics", "victims", "summary", "runs"):
        swept = getattr(frames, name).query("scenario == 'swept'")
        assert sorted(swept["services.count"].unique()) == [1, 10, 100]
        assert getattr(frames, name).query("scenario == 'by-hand'")["services.count"].isna().all()


def test_the_summary_has_a_row_for_each_backend_and_runs_one_for_each_run(frames: Frames) -> None:
    ours = frames.summary.query("scenario == 'by-hand'").set_index("name")
    assert ours["detection.mean"].to_dict() == {"db": 55.5, "zk": 9.5}
    assert ours["runs"].tolist() == [2, 2]
    runs = frames.runs.query("scenario == 'by-hand'").set_index("run")
    assert runs["detection.mean"].to_dict() == {0: 55.0, 1: 9.0, 2: 10.0, 3: 56.0}
    assert runs["repeat"].to_dict() == {0: 0, 1: 0, 2: 1, 3: 1}
    assert frames.summary.query("scenario == 'swept'")["detection.mean"].tolist() == [50, 51, 52]


def test_numbers_go_into_numpy_as_they_are(tmp_path: Path) -> None:
    """A time that isn't there is NaN, not an object."""
    frames = load(write(tmp_path, run(missed=True)))
    times = np.asarray(frames.victims["detection"])
    assert times.dtype == np.float64
    assert sorted(np.isnan(times).tolist()) == [False, False, True, True]


def test_a_result_without_a_run_has_the_columns(tmp_path: Path) -> None:
    frames = load(write(tmp_path))
    for name in COLUMNS:
        assert len(getattr(frames, name)) == 0
        assert list(getattr(frames, name).columns) == list(COLUMNS[name])


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    """All of it in `test_store`; here that one bad result of several is enough."""
    good, bad = write(tmp_path / "a", run()), write(tmp_path / "b", run())
    (bad / "events.parquet").write_bytes(b"PAR1")
    with pytest.raises(ResultError, match=r"events.parquet: damaged"):
        load(good, bad)


def test_figures_of_one_run_are_those_of_the_summary_of_it_alone(tmp_path: Path) -> None:
    record = dataclasses.replace(run(), index=0)
    frames = load(write(tmp_path, record))
    shared = [c for c in frames.summary.columns if c in frames.runs.columns and "." in c]
    assert len(shared) > 20
    pd.testing.assert_frame_equal(frames.summary[shared], frames.runs[shared])
