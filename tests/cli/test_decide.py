"""`heartbench report`, `compare` and `gate`: what they print, write and end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from tests.report.results import run, write


def heartbench(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("before"), run())


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One statement in two more."""
    return write(tmp_path_factory.mktemp("after"), run(statements=60.0))


def test_a_report_is_written_where_it_is_wanted(tmp_path: Path, before: Path) -> None:
    page = tmp_path / "page.html"
    told = heartbench("report", before, "-o", page, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["size"] == page.stat().st_size
    assert "How late is a crash noticed?" in page.read_text()


def test_tables_go_into_a_document_between_its_marks(tmp_path: Path, before: Path) -> None:
    document = tmp_path / "NOTES.md"
    marks = "<!-- heartbench report: by-hand -->\n<!-- end of by-hand -->\n"
    document.write_text(f"# Notes\n\n{marks}")
    assert heartbench("report", before, "-o", document).exit_code == 0
    assert "| server CPU | 0.1 cores |" in document.read_text()
    document.write_text("# Notes\n")
    told = heartbench("report", before, "-o", document)
    assert told.exit_code == 2
    assert "has no place for this report; write the lines <!-- heartbench" in told.stderr


def test_an_excerpt_can_be_reported_on_like_the_whole(tmp_path: Path, before: Path) -> None:
    told = heartbench("excerpt", before, "-o", tmp_path / "examples", "--json")
    assert told.exit_code == 0, told.output
    assert Path(json.loads(told.stdout)["path"]).parent.parent == tmp_path / "examples"
    for number, result in enumerate((before, tmp_path / "examples")):
        assert heartbench("report", result, "-o", tmp_path / f"{number}.md").exit_code == 0
    assert (tmp_path / "0.md").read_text() == (tmp_path / "1.md").read_text()


def test_a_comparison_ends_with_its_verdicts_exit_code(before: Path, after: Path) -> None:
    told = heartbench("compare", before, after)
    assert told.exit_code == 1
    assert "counts.statements_per_service_second is 15, the baseline 10 (+50.0%)" in told.stdout
    assert told.stdout.rstrip().endswith("verdict: fail")


def test_the_gate_knows_its_four_verdicts_apart(tmp_path: Path, before: Path, after: Path) -> None:
    baseline = tmp_path / "ci.json"
    assert heartbench("gate", before, "--save-baseline", baseline).exit_code == 0
    other = write(tmp_path / "other", run(), scenario={"services": {"count": 5}})
    found = {
        name: heartbench("gate", result, "--baseline", baseline, "--json", *words)
        for name, result, words in (
            ("pass", before, ["--counts"]),
            ("fail", after, ["--counts"]),
            ("inconclusive", before, []),
            ("invalid", other, ["--counts"]),
        )
    }
    assert {name: json.loads(told.stdout)["verdict"] for name, told in found.items()} == {
        name: name for name in found
    }
    assert [told.exit_code for told in found.values()] == [0, 1, 3, 3]


def test_a_tolerance_can_be_changed(before: Path, after: Path) -> None:
    words = ["--counts", "--tolerance", "counts.statements_per_service_second=60%"]
    assert heartbench("gate", after, "--baseline", before, *words).exit_code == 0


@pytest.mark.parametrize(
    ("form", "begins"), [("markdown", "### heartbench: fail"), ("junit", "<?xml")]
)
def test_the_gate_speaks_other_formats(before: Path, after: Path, form: str, begins: str) -> None:
    told = heartbench("gate", after, "--baseline", before, "--counts", "--format", form)
    assert told.stdout.startswith(begins)
    assert told.exit_code == 1


def test_a_result_is_saved_for_pytest_benchmark(tmp_path: Path, before: Path) -> None:
    saved = tmp_path / "benchmark.json"
    assert heartbench("gate", before, "--save-benchmark", saved).exit_code == 0
    names = [each["name"] for each in json.loads(saved.read_text())["benchmarks"]]
    assert "by-hand[db-detection.mean]" in names


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "gate: give one of --baseline, --against, --calibrate, --save-baseline"),
        (["--baseline", "a", "--against", "b"], "gate: give one of"),
        (["--baseline", "nowhere"], "nowhere: not there"),
        (["--against", "main", "--pairs", "0"], "gate: without a pair nothing can be said"),
        (["--baseline", "nowhere", "--tolerance", "x"], "tolerance x: say FIGURE=5%"),
    ],
)
def test_a_wrong_call_is_refused(before: Path, words: list[str], says: str) -> None:
    told = heartbench("gate", before, *words)
    assert told.exit_code == 2
    assert says in told.stderr
