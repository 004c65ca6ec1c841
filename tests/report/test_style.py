"""The style sheet: contrast in light, dark and print."""

from __future__ import annotations

import re

import pytest

from bench.report.html.canvas import COLOURS

THEMES = dict(
    zip(("light", "dark", "print"), re.findall(r":root \{(.*?)\}", COLOURS, re.DOTALL), strict=True)
)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_lines_stand_out_from_the_paper(theme: str) -> None:
    """4.5 for text, on panels too; 3 for what is drawn (WCAG AA)."""
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", THEMES[theme]))
    assert len(colours) == 15
    for name in ("ink", "faint", "link", "good", "bad", "doubt"):
        for ground in ("paper", "panel"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for number in range(6):
        assert contrast(colours[f"s{number}"], colours["paper"]) >= 3, number
