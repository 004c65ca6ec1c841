"""Charts as SVG that takes its colours and fonts from the page around it.

Text stays text. Each colour that is drawn stands for a variable of the page's style sheet, so
that one drawing serves light, dark and print.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

COLOURS = (Path(__file__).parent / "colours.css").read_text()
"""The variables that stand for colours: in light, dark and print."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

SHADES = 6
"""Colours for series, `--s0` and on in the style sheet; beyond them dashes tell series apart."""

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2))

WIDTH, HEIGHT = 4.4, 2.9
"""Inches. Narrow, so that text stays readable when a phone shows it."""

MARGIN = 8
"""Around a drawing that is a file of its own, in points."""

INK, FAINT = "#010101", "#020202"
_SERIES = "#0300{:02x}"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)"} | {
    _SERIES.format(number): f"var(--s{number})" for number in range(SHADES)
}

STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "heartbench",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "figure.dpi": 100,
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": True,
    "savefig.transparent": True,
}


@dataclass(frozen=True, slots=True)
class Key:
    """What a line of a chart stands for."""

    label: str
    colour: str
    """A variable of the style sheet."""
    dash: str
    """As in `stroke-dasharray`."""


@dataclass(frozen=True)
class Chart:
    """A drawing and the very data that it shows."""

    title: str
    caption: str
    """What is to be seen, in words."""
    svg: Markup
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Sequence[Key] = field(default=())


def shade(number: int) -> str:
    """The colour of a series, to draw with."""
    return _SERIES.format(number % SHADES)


def dashes(number: int) -> tuple[float, tuple[float, ...] | None]:
    """The dash pattern of a series, to draw with."""
    return 0, DASHES[number % len(DASHES)] or None


def key(label: str, colour: int, dash: int) -> Key:
    pattern = " ".join(f"{length * 1.6:g}" for length in DASHES[dash % len(DASHES)])
    return Key(label, f"var(--s{colour % SHADES})", pattern or "none")


@contextmanager
def panels(
    number: int = 1, *, columns: int = 1, width: float = WIDTH, height: float = HEIGHT
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with that many drawings that share their x axis, above each other or in columns."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The fonts are the reader's: what ours lacks says nothing.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(-(-number // columns), columns, sharex=True, squeeze=False)
        for spare in axes.flat[number:]:
            spare.remove()
        yield figure, list(axes.flat[:number])


def drawn(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure as an element of a page; `name` is a word that no other chart there has."""
    text = StringIO()
    figure.savefig(
        text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    drawing = ElementTree.fromstring(text.getvalue())  # noqa: S314 - written by matplotlib just now
    for element in drawing.iter():
        element.attrib = {
            key.removeprefix(_XLINK): _attribute(key.removeprefix(_XLINK), value, name)
            for key, value in element.attrib.items()
        }
        element.tag = element.tag.removeprefix(_SVG)
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.tail = None
    for part in list(drawing):
        if part.tag == "metadata" or part.find("style") is not None:  # a style for the whole page
            drawing.remove(part)
    drawing.attrib = {
        "viewBox": drawing.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    for place, (tag, words) in enumerate((("title", title), ("desc", description))):
        told = ElementTree.Element(tag, id=f"{name}-{tag}")
        told.text = words
        drawing.insert(place, told)
    return Markup(ElementTree.tostring(drawing, encoding="unicode"))  # noqa: S704 - a tree, escaped


def alone(drawing: Markup) -> str:
    """What `drawn` made, as a file of its own: with its colours, on paper of its own, since it
    can't know on which page it will be seen."""
    tree = ElementTree.fromstring(drawing)  # noqa: S314 - made by us
    width, height = (float(side) + 2 * MARGIN for side in tree.attrib["viewBox"].split()[2:])
    tree.attrib = {
        "xmlns": _SVG.strip("{}"),
        "width": f"{width:g}",
        "height": f"{height:g}",
        **tree.attrib,
        "viewBox": f"{-MARGIN} {-MARGIN} {width:g} {height:g}",
    }
    style = ElementTree.Element("style")
    style.text = f"{COLOURS}svg {{ background: var(--paper); }}\ntext {{ font-family: {FONT}; }}\n"
    tree.insert(0, style)
    return ElementTree.tostring(tree, encoding="unicode") + "\n"


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key in ("d", "x", "y", "transform", "points"):
        return re.sub(r"\s+", " ", re.sub(r"(\d+\.\d)\d+", r"\1", value)).strip()
    if key == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        value = re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), value)
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    return value.replace("url(#", f"url(#{name}-")
