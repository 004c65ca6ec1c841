"""A gate's outcome as text, Markdown, JUnit XML, and a result as pytest-benchmark's JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.gate import Tolerances, judge
from bench.gate.benchmark import benchmark
from bench.gate.formats import FORMATS, junit, markdown, text
from tests.unit.test_gate_judgement import CPU, STATEMENTS, result

TOLERANCES = Tolerances({STATEMENTS: 0.05, "mistakes.count": 0.0}, {CPU: 0.1})
OUTCOME = judge(
    result({STATEMENTS: 1.5, "mistakes.count": 0.0, CPU: 0.25}, backend="db|`<b>`"),
    result({STATEMENTS: 1.0, "mistakes.count": 0.0, CPU: 0.20}, backend="db|`<b>`"),
    TOLERANCES,
)


def test_the_text_has_a_row_for_each_figure_and_ends_with_the_verdict() -> None:
    lines = text(OUTCOME).splitlines()
    assert lines[0].split() == [
        "backend", "figure", "baseline", "result", "ratio", "tolerated", "verdict",
    ]  # fmt: skip
    assert lines[2].split() == ["db|`<b>`", STATEMENTS, "1", "1.5", "1.500", "+5%", "fail"]
    assert lines[-1] == "verdict: fail"
    assert any(line.startswith("fail: db|`<b>`: counts.statements") for line in lines)
    assert any(line.startswith("inconclusive: db|`<b>`: load.server_cpu") for line in lines)


def test_what_holds_of_several_figures_is_said_once() -> None:
    figures = {"detection.mean": 1.0, "detection.p99": 2.0, CPU: 1.0}
    told = text(judge(result(figures), result(figures), Tolerances()))
    assert told.count("at least 6 are needed") == 1
    assert "inconclusive: 3 figures: each was measured in 1 pair of runs" in told


def test_markdown_is_a_table_that_no_name_breaks_out_of() -> None:
    lines = markdown(OUTCOME).splitlines()
    assert lines[0] == "### heartbench: fail"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 5
    assert {line.replace("\\|", "").count("|") for line in table} == {8}
    assert "<b>" not in markdown(OUTCOME)


def test_junit_tells_failed_from_undecided() -> None:
    suite = ElementTree.fromstring(junit(OUTCOME))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    failure = suite.find("testcase[@name='counts.statements_per_service_second']/failure")
    assert failure is not None
    assert "is 1.5, the baseline 1 (+50.0%); 5% more is tolerated" in failure.attrib["message"]


def test_junit_calls_the_incomparable_an_error() -> None:
    outcome = judge(
        result({STATEMENTS: 1.0}, verdict="invalid", reasons=("\x00 late",)),
        result({STATEMENTS: 1.0}),
        TOLERANCES,
    )
    suite = ElementTree.fromstring(junit(outcome))
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


def test_every_format_takes_an_outcome_without_rows() -> None:
    empty = judge(result(), result(), TOLERANCES)
    assert empty.exit_code == 3
    for write in FORMATS.values():
        assert write(empty)


def test_pytest_benchmark_compares_two_results(tmp_path: Path) -> None:
    """Its own command reads the files and finds the ratio."""
    for name, mean in (("0001_before", 2.0), ("0002_after", 3.0)):
        runs = [{"detection.mean": mean + step} for step in (-0.1, 0.0, 0.1)]
        content = json.dumps(benchmark(result(*runs)), allow_nan=False)
        (tmp_path / f"{name}.json").write_text(content)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest_benchmark", "compare", "--columns=mean,rounds",
            tmp_path / "0001_before.json", tmp_path / "0002_after.json",
        ],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "by-hand[db-detection.mean]" in done.stdout
    assert "3.0000 (1.50)" in done.stdout


def test_one_run_is_a_benchmark_of_one_round() -> None:
    (only,) = benchmark(result({"detection.mean": 2.0}))["benchmarks"]
    assert only["stats"]["rounds"] == 1
    assert only["stats"]["mean"] == only["stats"]["ld15iqr"] == 2.0
    assert only["stats"]["stddev"] == pytest.approx(0.0)
