"""An excerpt says what the result said, of less."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.report.markdown import markdown
from bench.result import Kind
from bench.store import ResultError, Store, excerpt, load, resume
from tests.report.results import ZOOKEEPER, run, write


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("all")
    return write(root, run(), run("zk", index=1, late=9.0, parameters=ZOOKEEPER))


def test_figures_and_victims_stay(tmp_path: Path, result: Path) -> None:
    less = excerpt(load(result), tmp_path / "less")
    assert less == tmp_path / "less" / result.parent.name / result.name
    assert load(less).summary == load(result).summary
    assert markdown([load(tmp_path / "less")]) == markdown([load(result)])
    pd.testing.assert_frame_equal(bench.load(less).victims, bench.load(result).victims)


def test_what_nothing_befell_goes_and_the_manifest_says_so(tmp_path: Path, result: Path) -> None:
    less = load(excerpt(load(result), tmp_path / "less"))
    services = less.events.loc[less.events["kind"] == Kind.JOINED, "subject"]
    assert set(services) == {"a", "b"}
    assert set(less.events["kind"]) == set(load(result).events["kind"])
    assert less.metrics.empty
    assert less.manifest["excerpt"].startswith("the metrics, and the events")
    assert less.finished


def test_figures_alone_are_a_result_as_well(tmp_path: Path, result: Path) -> None:
    least = load(excerpt(load(result), tmp_path / "least", victims=False))
    assert least.summary == load(result).summary
    assert least.events.empty
    assert bench.load(least.path).victims.empty
    pd.testing.assert_frame_equal(bench.load(least.path).runs, bench.load(result).runs)


def test_a_result_that_nobody_judged_is_to_be_completed_first(tmp_path: Path) -> None:
    manifest = {"scenario": "half", "engine": "live"}
    with Store(tmp_path).begin("half", "name: half\n", manifest) as recording:
        recording.add(run())
    with pytest.raises(ResultError, match="heartbench run --resume"):
        excerpt(load(recording.path), tmp_path / "less")


def test_an_excerpt_is_not_resumed(tmp_path: Path, result: Path) -> None:
    less = load(excerpt(load(result), tmp_path / "less"))
    with pytest.raises(ResultError, match="an excerpt; resume the result that it was made of"):
        resume(less, [0])
