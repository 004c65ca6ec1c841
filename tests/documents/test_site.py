"""The documentation's site: it is built without a warning, executes the notebooks, and is whole."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from bench.scenario.slo import METRICS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)  # minutes, where others keep the machine busy

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "--jobs", "2"]
    done = subprocess.run([*command, "docs", place], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


@cache
def _links(page: Path) -> Mapping[str, frozenset[str]]:
    """Where a page leads to, and the places in it that can be led to."""
    text = page.read_text()
    return {
        "from": frozenset(re.findall(r'(?:href|src)="([^"]+)"', text)),
        "to": frozenset(re.findall(r' (?:id|name)="([^"]+)"', text)),
    }


def test_every_link_leads_somewhere(site: Path) -> None:
    """To a file of the site, and to a place that is in it."""
    broken = []
    for page in site.rglob("*.html"):
        for link in _links(page)["from"]:
            target, _, place = link.partition("#")
            if re.match(r"[a-z]+:", link) or page.name == "search.html":
                continue
            file = (page.parent / target.partition("?")[0]).resolve() if target else page
            there = file.is_file() and (
                not place or file.suffix != ".html" or place in _links(file)["to"]
            )
            broken += [] if there else [f"{page.relative_to(site)}: {link}"]
    assert broken == []


def test_a_promise_leads_to_the_line_of_its_test(site: Path) -> None:
    links = _links(site / "guarantees.html")["from"]
    [link] = [each for each in links if each.startswith("source/tests/contract/test_memory.py")]
    file, _, place = link.partition("#line-")
    code = (ROOT / file.removeprefix("source/").removesuffix(".html")).read_text().splitlines()
    assert code[int(place) - 1].startswith("def test_contract(")


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    """So that it can be read offline."""
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.search(r'<(?:script|img)[^>]* src="(?:https?:)?//', text), page
        assert not re.search(r'<link rel="stylesheet"[^>]* href="(?:https?:)?//', text), page


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_was_executed_and_shows_figures(site: Path, name: str) -> None:
    page = (site / "notebooks" / f"{name}.html").read_text()
    images = re.findall(r'<img[^>]* src="([^"]+\.png)"', page)
    assert len(images) >= 2
    assert all((site / "notebooks" / image).stat().st_size > 5_000 for image in images)


def test_every_part_of_a_summary_is_explained() -> None:
    """Each figure of a part that is shown has its meaning, or the site isn't built."""
    text = (ROOT / "docs/reference/summary.md").read_text()
    shown = set(re.findall(r"{generated} figures (\w+)", text))
    assert shown == {path.split(".")[0] for path in METRICS if "." in path}
