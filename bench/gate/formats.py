"""A gate's outcome for people and for machines that run gates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree

from bench.gate.judgement import Judgement, Outcome, Row
from bench.report.quantity import NONE, plain

HEADINGS = ("backend", "figure", "baseline", "result", "ratio", "tolerated", "verdict")
LEFT = (0, 1, 6)
"""The columns of words, by their places."""

SUITE = "heartbench gate"


def text(outcome: Outcome) -> str:
    """A table in plain columns, then what went wrong, then the verdict."""
    return "\n".join([table(outcome.rows), "", *told(outcome), f"verdict: {outcome.judgement}"])


def table(rows: Sequence[Row]) -> str:
    """Rows in plain columns."""
    return columns([HEADINGS, *map(cells, rows)], LEFT)


def columns(lines: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """Plain ones, the first line over a rule; words go to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in ruled
    )


def markdown(outcome: Outcome) -> str:
    """For a step summary of GitHub Actions, or a comment."""
    lines = [f"### heartbench: {outcome.judgement}", "", *(f"- {_safe(t)}" for t in told(outcome))]
    lines += ["", _line(HEADINGS), _line(["---"] * 2 + ["--:"] * 4 + ["---"])]
    lines += [_line(map(_safe, cells(row))) for row in outcome.rows]
    return "\n".join([*lines, ""])


def junit(outcome: Outcome) -> str:
    """One test case for each figure: failed, in error (invalid), or skipped (not decided)."""
    suite = ElementTree.Element("testsuite", name=SUITE)
    if outcome.reasons:
        case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name="comparable")
        _say(case, Judgement.INVALID, "; ".join(outcome.reasons))
    for row in outcome.rows:
        name = _xml(f"{SUITE}.{row.backend}")
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=row.figure)
        if row.judgement is not Judgement.PASS:
            _say(case, row.judgement, row.message)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(
        suite, encoding="unicode"
    )


FORMATS: Mapping[str, Callable[[Outcome], str]] = {
    "text": text,
    "markdown": markdown,
    "junit": junit,
}


def cells(row: Row) -> tuple[str, ...]:
    """One for each of `HEADINGS`."""
    ratio = NONE
    if row.ratio is not None:
        ratio = f"{row.ratio.value:.3f}"
        if row.ratio.pairs > 1:
            ratio += f" ({row.ratio.low:.3f} to {row.ratio.high:.3f})"
    judged = row.judgement is not None
    return (
        row.backend,
        row.figure,
        plain(row.baseline),
        plain(row.value),
        ratio,
        f"+{row.tolerance:.0%}" if judged else NONE,
        str(row.judgement) if judged else "not judged",
    )


def told(outcome: Outcome) -> Iterator[str]:
    """What a reader must know; what holds of several figures alike is said once."""
    yield from outcome.reasons
    wrong = [row for row in outcome.rows if row.judgement not in (None, Judgement.PASS)]
    alike: dict[tuple[Judgement | None, str], list[Row]] = {}
    for row in wrong:
        alike.setdefault((row.judgement, row.reason), []).append(row)
    for (judgement, reason), rows in alike.items():
        if len(rows) == 1:
            yield f"{judgement}: {rows[0].message}"
        else:
            yield f"{judgement}: {len(rows)} figures: each {reason}"
    yield from outcome.notes


def _say(case: ElementTree.Element, judgement: Judgement | None, message: str) -> None:
    tags = {Judgement.FAIL: "failure", Judgement.INVALID: "error"}
    tag = tags.get(judgement, "skipped") if judgement else "skipped"
    ElementTree.SubElement(case, tag, message=_xml(message))


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _safe(words: str) -> str:
    """So that a name can neither end a cell nor become markup."""
    for sign in "\\`*_|[]<>":
        words = words.replace(sign, f"\\{sign}" if sign not in "<>" else f"&{'lg'[sign == '>']}t;")
    return words.replace("\n", " ")


def _xml(words: str) -> str:
    """Without what XML can't hold, escaped or not."""
    return "".join(sign for sign in words if sign >= " " or sign in "\t\n")
