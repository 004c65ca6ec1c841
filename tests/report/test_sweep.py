"""What a sweep bought: in the table, in the figure, and in the documents that show them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.report.document import report
from bench.report.figure import figure
from bench.report.html.canvas import COLOURS
from bench.report.markdown import markdown, placed
from bench.report.sweep import Point, Sweep, sweep, swept_field
from bench.result import Record
from bench.store import Loaded, ResultError, Store, load
from tests.report.results import run, write

SVG = "{http://www.w3.org/2000/svg}"
SIZES = (1_000, 10_000)
RULES = ("detection.missed == 0", "detection.mean <= 57s")


def point(backend: str, size: int, index: int, **rest: object) -> Record:
    return run(backend, index=index, point={"services.count": size}, **rest)  # type: ignore[arg-type]


def swept(root: Path) -> Path:
    """`zk` buys detection within 57 s at each size, `db` up to 1,000; each twice."""
    late = {1_000: 56.0, 10_000: 58.0}
    records: list[Record] = []
    for repeat in (0, 1):
        for size in SIZES:
            slower = {"late": late[size], "statements": 40.0 + repeat}
            records.append(point("db", size, len(records), repeat=repeat, **slower))
            cpu = {"late": 9.0, "cpu": 0.2 + 0.01 * repeat}
            records.append(point("zk", size, len(records), repeat=repeat, **cpu))
    return write(root, *records, scenario={"name": "bought"}, slo=RULES)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("swept"))


@pytest.fixture(scope="module")
def loaded(result: Path) -> Loaded:
    return load(result)


@pytest.fixture(scope="module")
def drawing(loaded: Loaded) -> str:
    return figure(loaded)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(write(tmp_path_factory.mktemp("single"), run("a|b <i>")))


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_a_point_is_bought_where_every_objective_is_met(loaded: Loaded) -> None:
    found = sweep(loaded)
    assert found is not None
    assert (found.field, found.values, found.backends) == ("services.count", SIZES, ("db", "zk"))
    assert found.rules == RULES
    lacking = {(each.backend, each.value): each.lacking for each in found.points}
    assert lacking["db", 10_000] == ("detection.mean <= 57s, but it was 58",)
    assert [key for key, reasons in lacking.items() if reasons] == [("db", 10_000)]


@pytest.mark.parametrize(
    ("bought", "knee"),
    [
        pytest.param("yyy", 3, id="everywhere"),
        pytest.param("yny", 1, id="not everywhere below the last"),
        pytest.param("nyy", None, id="not even at first"),
    ],
)
def test_a_knee_is_the_last_value_before_the_first_that_was_not_bought(
    bought: str, knee: float | None
) -> None:
    points = [
        Point("db", value, {}, () if each == "y" else ("too late",))
        for value, each in enumerate(bought, 1)
    ]
    assert Sweep("services.count", tuple(points), ()).knee("db") == knee


def test_an_invalid_point_is_not_bought_and_says_who_joined(tmp_path: Path) -> None:
    """One of five services never joined, in a run that broke off."""
    missing = dataclasses.replace(point("db", 5_000, 1), services=5, complete=False)
    found = sweep(load(write(tmp_path, point("db", 1_000, 0), missing)))
    assert found is not None
    assert found.knee("db") == 1_000
    [(first, *others)] = [each.lacking for each in found.points if not each.bought]
    assert first == "only 4 of 5 joins were answered"
    assert others == ["repeat 0 broke off before its end: run it again"]


@pytest.mark.parametrize(
    ("points", "field"),
    [
        pytest.param([{"a": 1, "b": "x"}, {"a": 2, "b": "x"}], "a", id="one"),
        pytest.param([{}, {}], None, id="nothing"),
        pytest.param([{"a": 1, "b": 1}, {"a": 2, "b": 2}], None, id="two"),
        pytest.param([{"a": "read"}, {"a": 1}], None, id="words"),
    ],
)
def test_only_one_field_of_numbers_is_a_sweep(
    points: list[dict[str, object]], field: str | None
) -> None:
    assert swept_field(points) == field


def test_the_table_has_the_figures_of_the_summary(loaded: Loaded) -> None:
    """100 s of 4 services: 40 and 41 statements a second; 0.1 cores, and 0.2 and 0.21."""
    table = rows(markdown([loaded]))
    assert [row[:2] for row in table] == [
        [size, backend] for size in ("1,000", "10,000") for backend in ("`db`", "`zk`")
    ]
    first = dict(zip(("size", "name", "first", "last", "cpu", "net", "disk", "asked"), table[0],
                     strict=True))  # fmt: skip
    assert (first["first"], first["last"]) == ("56 ± 1", "56.5 ± 0.1")
    assert (first["cpu"], first["net"], first["disk"]) == ("25,000 ± 1", "250 ± 1", "-")
    assert first["asked"] == "10.1 ± 1.6"
    assert table[1][4] == "51,250 ± 15,883"  # a mean of 51,250, t(1) * 1,250 to either side


def test_what_was_not_bought_has_a_reason_and_no_price(loaded: Loaded) -> None:
    text = markdown([loaded])
    assert rows(text)[2] == ["10,000", "`db`", "not bought", *["-"] * 5]
    assert "- `db`, bought up to 1,000, not at 10,000: detection.mean \\<= 57s, but it was 58" in (
        text.splitlines()
    )
    assert "`detection.missed == 0`, `detection.mean <= 57s`" in text


def test_without_a_sweep_backends_stand_side_by_side_and_nothing_can_be_drawn(
    single: Loaded,
) -> None:
    """What is told in a table can't break it."""
    text = markdown([single])
    assert "|  | `a\\|b \\<i>` |" in text
    assert "| server CPU | 0.1 cores |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {3}
    with pytest.raises(ResultError, match="a figure needs a matrix that sweeps one field"):
        figure(single)


def test_what_nobody_has_judged_has_no_table_and_says_so(tmp_path: Path) -> None:
    with Store(tmp_path).begin("half", "name: half\n", {"scenario": "half"}) as recording:
        recording.add(run())
        text = markdown([load(recording.path)])
    assert "|" not in text
    assert "unknown.\nNot all of its runs took place: it is still under way" in text


def test_a_document_is_changed_between_the_marks_alone(tmp_path: Path, result: Path) -> None:
    document = tmp_path / "README.md"
    fresh = report([result], tmp_path / "fresh.md").path.read_text()
    first, *_, last = fresh.splitlines()
    document.write_text(f"# Before\n\n{first}\nold\n{last}\n\nafter\n")
    report([result], document)
    assert document.read_text() == f"# Before\n\n{fresh}\nafter\n"
    report([result], document)
    assert document.read_text() == f"# Before\n\n{fresh}\nafter\n"


def test_a_document_without_a_place_is_left_alone(tmp_path: Path, result: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("# Mine\n")
    with pytest.raises(ResultError, match="write the lines <!-- heartbench report: bought -->"):
        report([result], document)
    assert document.read_text() == "# Mine\n"


def test_of_several_results_each_finds_its_own_place(loaded: Loaded, single: Loaded) -> None:
    both = markdown([loaded, single])
    again = markdown([single])
    assert placed(both, again) == both
    assert placed(again, both) is None
    assert re.findall("report: (.*) -->", both) == ["bought", "by-hand"]
    assert markdown([single, single]).count("| server CPU |") == 2 * again.count("| server CPU |")
    assert markdown([single, single]).count("report: by-hand") == 1


def test_the_figure_stands_alone_and_says_what_it_shows(drawing: str) -> None:
    tree = ElementTree.fromstring(drawing)
    assert tree.tag == f"{SVG}svg"
    told = {element.tag.removeprefix(SVG): element.text or "" for element in tree}
    assert told["title"] == "What bought costs, by services.count"
    assert "a cross at most: db at 10,000." in told["desc"]
    texts = [element.text for element in tree.iter(f"{SVG}text")]
    assert {"db", "zk", "1,000", "10,000", "services.count"} <= set(texts)
    assert "noticed after, mean, s" in texts
    assert "server CPU, µs/s a service" in texts
    assert "disk writes, B/s a service" not in texts  # nobody metered them


def test_every_colour_of_the_figure_is_its_own(drawing: str) -> None:
    assert COLOURS in drawing
    assert "svg { background: var(--paper); }" in drawing
    assert set(re.findall(r"var\((--\w+)\)", drawing)) <= set(re.findall(r"(--\w+):", COLOURS))
    ids = re.findall(r' id="([^"]*)"', drawing)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', drawing)) <= set(ids)


def test_a_report_is_of_the_form_that_its_name_ends_in(
    tmp_path: Path, result: Path, single: Loaded
) -> None:
    for name, path, begins in (
        ("a.html", single.path, "<!doctype html>"),
        ("a.md", result, "<!-- "),
        ("a.svg", result, "<svg "),
    ):
        written = report([path], tmp_path / name)
        assert written.path.read_text().startswith(begins)
        assert written.size == written.path.stat().st_size
    with pytest.raises(ResultError, match=r"a.pdf: a report's file ends in .html, .md, .svg"):
        report([result], tmp_path / "a.pdf")
    with pytest.raises(ResultError, match="a figure shows one result"):
        report([result, result], tmp_path / "b.svg")
