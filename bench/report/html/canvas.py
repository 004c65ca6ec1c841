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
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

SHADES = 6
"""Colours for series, `--s0` and on in the style sheet; beyond them dashes tell series apart."""

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2))

WIDTH, HEIGHT = 4.4, 2.9
"""Inches. Narrow, so that text stays readable when a phone shows it."""

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
def panels(number: int = 1, height: float = HEIGHT) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with that many drawings above each other that share their x axis."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The fonts are the reader's: what ours lacks says nothing.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(number, 1, sharex=True, squeeze=False)
        yield figure, list(axes[:, 0])


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
