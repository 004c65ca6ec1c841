"""What the documents show is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.report.figure import figure
from bench.report.markdown import markdown, placed
from bench.store import load

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SYMBOL = re.compile(r"(?:\]\(|^\[\w+\]: )([^)#\s]+\.py)#(\w+)", re.MULTILINE)
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = [
    pytest.param(code, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, code in enumerate(BLOCK.findall(path.read_text()))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs(code: str) -> None:
    exec(compile(code, "<document>", "exec"), {"__name__": "example"})


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert target.startswith("http") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_into_code_names_what_is_there(path: Path) -> None:
    for target, name in SYMBOL.findall(path.read_text()):
        code = (path.parent / target).read_text()
        defined = rf"^ *(def |class )?{name}\b *[(:=]"
        assert re.search(defined, code, re.MULTILINE), f"{target} has no {name}"


def test_every_cell_of_the_guarantees_is_shown_by_something() -> None:
    """But for headings, first columns and the empty."""
    rows = re.findall(r"^\| (.*) \|$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE)
    cells = [cell for row in rows for cell in row.split(" | ")[1:]]
    headings = {"memory", "nova", "tuned", "ZooKeeper", "shown by"}
    assert len(cells) > 100
    assert [cell for cell in cells if "](" not in cell and "][" not in cell] == [
        cell for cell in cells if cell in headings
    ]


def test_the_headline_is_what_its_command_makes_of_the_committed_result() -> None:
    """`make readme` writes both anew."""
    result = load(ROOT / "results/examples/equal-detection")
    readme = (ROOT / "README.md").read_text()
    assert placed(readme, markdown([result])) == readme
    assert figure(result) == (ROOT / "docs/figures/equal-detection.svg").read_text()
