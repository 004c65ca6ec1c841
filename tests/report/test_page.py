"""The report: what the result says, escaped, readable by everybody, and nothing from elsewhere."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from bench.report.document import report
from bench.report.html.page import flattened
from bench.store import ResultError
from tests.report.results import ZOOKEEPER, large, run, write

VOID = {"meta", "path", "use", "rect", "link", "br"}


class Page(HTMLParser):
    """Every element with its attributes and its text, and the elements it lies in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        above = [self.elements[each][0] for each in self._open]
        self.elements.append((tag, dict(attrs), above))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), [self.elements[each][0] for each in self._open]))

    def handle_endtag(self, tag: str) -> None:
        opened = self._open.pop()
        assert self.elements[opened][0] == tag, f"</{tag}> ends <{self.elements[opened][0]}>"

    def handle_data(self, data: str) -> None:
        for each in self._open:
            self.texts[each] = self.texts.get(each, "") + data

    def all(self, tag: str) -> Iterator[tuple[dict[str, str | None], str]]:
        for place, (name, attributes, _) in enumerate(self.elements):
            if name == tag:
                yield attributes, self.texts.get(place, "")


def reported(tmp_path: Path, *results: Path) -> tuple[str, Page]:
    told = report(results, tmp_path / "report.html")
    text = told.path.read_text()
    assert told.size == len(text.encode())
    return text, Page(text)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("result")
    return write(root, run(), run("zk", index=1, late=9.0, cpu=0.2, parameters=ZOOKEEPER))


def test_every_number_of_the_summary_is_in_the_page_as_it_is(tmp_path: Path, result: Path) -> None:
    summary = json.loads((result / "summary.json").read_text())
    text, _ = reported(tmp_path, result)
    table = text[text.index("Every figure, as summary.json has it") :]
    rows = re.findall(r'<tr><th scope="row"[^>]*>([^<]+)</th>(.*?)</tr>', table)
    shown = {
        name: re.findall(r'<data value="([^"]*)">([^<]*)</data>', cells) for name, cells in rows
    }
    wanted = {name: dict(flattened(figures)) for name, figures in summary["backends"].items()}
    for place, figures in enumerate(wanted.values()):
        for path, value in figures.items():
            if isinstance(value, int | float):
                attribute, cell = shown[path][place]
                assert attribute == cell
                assert json.loads(attribute) == value
    assert wanted["db"]["detection.mean"] == 55.0
    assert wanted["zk"]["detection.mean"] == 9.0


def test_the_answer_says_what_was_found(tmp_path: Path, result: Path) -> None:
    text, _ = reported(tmp_path, result)
    assert "How late is a crash noticed?" in text
    (answer,) = re.findall(r'<p class="answer">(.*?)</p>', text)
    assert answer == (
        "A crash was noticed after 9 s on average by zk (p99 9 s) and after 55 s on average by db "
        "(p99 55 s). Every crash was noticed. No live service was called dead. The servers used "
        "0.1 cores with db (4 services) and 0.2 cores with zk (4 services)."
    )


def test_what_was_missed_is_said_and_no_curve_hides_it(tmp_path: Path) -> None:
    text, _ = reported(tmp_path, write(tmp_path, run(missed=True)))
    assert "db never noticed 1 of 2 crashes." in text
    assert "db: 1 of 2 never noticed." in text
    assert text.count("<td>never</td>") == 50  # the upper half of the shares


def test_an_invalid_result_is_not_shown_as_good(tmp_path: Path) -> None:
    late = run()
    late.metrics.loc[late.metrics["metric"] == "lateness", "value"] = 3.0
    text, _ = reported(tmp_path, write(tmp_path, late))
    assert '<p class="warning"><strong>invalid.</strong> The harness broke its own bounds' in text
    assert "beats went out 3s late" in text


HOSTILE = "<script>alert(1)</script>\"'&$x_1$ </title>"


def test_untrusted_words_are_escaped(tmp_path: Path) -> None:
    """Whatever a scenario, a server or an error says, it stays text."""
    environment = {"servers": [{"name": HOSTILE, "role": HOSTILE, "config": {HOSTILE: HOSTILE}}]}
    record = run(HOSTILE, environment=environment, complete=False, point={HOSTILE: 1})
    scenario = {"name": HOSTILE, "question": HOSTILE}
    result = write(tmp_path, record, scenario=scenario, argv=[HOSTILE], git={"commit": HOSTILE})
    text, page = reported(tmp_path, result)
    assert "<script" not in text
    assert not list(page.all("script"))
    assert next(words for _, words in page.all("title")) == f"{HOSTILE} · heartbench"
    assert HOSTILE in next(words for _, words in page.all("h1"))
    drawn = [words for _, words in page.all("text")]
    assert any("$x_1$" in words for words in drawn) or "$x_1$" in "".join(
        words for _, words in page.all("li")
    )


def test_the_page_needs_nothing_from_elsewhere_and_no_script(tmp_path: Path, result: Path) -> None:
    text, page = reported(tmp_path, result)
    assert not list(page.all("script"))
    assert "@import" not in text
    assert "url(http" not in text
    for tag, attributes, _ in page.elements:
        assert not {name for name in attributes if name.startswith("on")}, tag
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)


def test_ids_are_unique_and_every_reference_has_its_target(tmp_path: Path, result: Path) -> None:
    text, page = reported(tmp_path, result)
    ids = Counter(a["id"] for _, a, _ in page.elements if a.get("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    for _, attributes, _ in page.elements:
        named = (attributes.get("aria-labelledby") or "").split()
        referred = [href[1:] for href in [attributes.get("href")] if href]
        assert set(named + referred) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_drawings_have_names_and_their_data_beside_them(tmp_path: Path, result: Path) -> None:
    text, _ = reported(tmp_path, result)
    figures = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
    assert len(figures) == 4  # detection, cost, two timelines
    for figure in figures:
        assert 'role="img" aria-labelledby=' in figure
        assert re.search(r"<title id=[^>]*>[^<]+</title><desc id=[^>]*>[^<]+</desc>", figure)
        assert re.search(r"<details>.*<table>.*<caption>.*</table>", figure, re.DOTALL)
        assert figure.count("<tr>") > 2
        assert not re.search(r"fill: #|stroke: #", figure), "every colour is the page's"


def test_tables_can_be_read_aloud(tmp_path: Path, result: Path) -> None:
    text, page = reported(tmp_path, result)
    tables = re.findall(r"<table>(.*?)</table>", text, re.DOTALL)
    for table in tables:
        assert re.match(r"\s*<caption>[^<]+</caption>", table)
        assert all("scope=" in heading for heading in re.findall(r"<th\b[^>]*>", table))
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_several_results_make_a_comparison(tmp_path: Path, result: Path) -> None:
    slower = write(tmp_path / "b", run(late=57.0), run("zk", index=1, late=12.0))
    text, page = reported(tmp_path, result, slower)
    headings = [words for _, words in page.all("th")]
    assert {"A · db", "A · zk", "B · db", "B · zk"} <= set(headings)
    assert "heartbench comparison" in text
    assert "Changed from A to B" in text
    assert "by B · zk (p99 12 s)" in text


def test_repeats_and_points_each_have_their_place(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(
            run(index=2 * n + r, repeat=r, late=50.0 + 5 * n),
            point={"services.count": 10 * (n + 1)},
        )
        for n in range(2)
        for r in range(2)
    ]
    text, _ = reported(tmp_path, write(tmp_path, *records))
    assert "db [services.count=10], the first of 2 runs" in text
    assert "Growth with services.count" in text


def test_a_result_without_a_run_has_a_page_too(tmp_path: Path) -> None:
    text, _ = reported(tmp_path, write(tmp_path))
    assert "Nothing was measured." in text


def test_ten_thousand_services_stay_a_small_page(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(large(f"zk-{n}", 10_000, 500, 4, seed=n), index=n) for n in range(3)
    ]
    text, _ = reported(tmp_path, write(tmp_path, *records))
    assert len(text.encode()) < 3_000_000
    assert "500" in text


def test_the_place_of_the_page_is_checked(tmp_path: Path, result: Path) -> None:
    with pytest.raises(
        ResultError, match=r"report.html: cannot be written .*; choose another place"
    ):
        report([result], tmp_path / "nowhere" / "report.html")
