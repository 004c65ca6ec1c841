"""Results as Markdown, for a README, a wiki or a merge request: tables, and what they rest on.

What is told of a scenario stands between two marks, so that it can be written anew into the same
document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from bench.report.paths import Figures, at, interval
from bench.report.quantity import NONE, plain
from bench.report.sweep import COSTS, Point, Sweep, sweep
from bench.report.table import sections
from bench.store import Loaded

DETECTION = (("noticed after, s", "detection.mean"), ("noticed by all, s", "detection.every.mean"))

_PART = re.compile(r"<!-- heartbench report: (\S+) -->\n.*?<!-- end of \1 -->", re.DOTALL)


def markdown(results: Sequence[Loaded]) -> str:
    """Of a sweep what it bought, of any other result its backends side by side."""
    by_scenario: dict[str, list[Loaded]] = {}
    for result in results:
        by_scenario.setdefault(result.manifest["scenario"], []).append(result)
    return "\n\n".join(_part(name, each) for name, each in by_scenario.items()) + "\n"


def placed(document: str, written: str) -> str | None:
    """The document with each part of ``written`` where its marks are; None where one has no
    such place."""
    parts = {part[1]: part[0] for part in _PART.finditer(written)}
    if not parts.keys() <= {place[1] for place in _PART.finditer(document)}:
        return None
    return _PART.sub(lambda place: parts.get(place[1], place[0]), document)


def marks(written: str) -> tuple[str, ...]:
    """The lines that a document needs to have a place for what was written."""
    return tuple(
        line
        for part in _PART.finditer(written)
        for line in (part[0].partition("\n")[0], part[0].rpartition("\n")[2])
    )


def _part(name: str, results: Sequence[Loaded]) -> str:
    text = "\n\n".join("\n".join(_lines(result)) for result in results)
    return f"<!-- heartbench report: {name} -->\n{text}\n<!-- end of {name} -->"


def _lines(result: Loaded) -> Iterator[str]:
    if result.summary["backends"]:
        swept = sweep(result)
        yield from _compared(result) if swept is None else _bought(swept)
        yield ""
    yield from _made(result)


# a sweep


def _bought(swept: Sweep) -> Iterator[str]:
    costs = [f"{cost.label}, {cost.unit}" for cost in COSTS]
    yield from _table(
        [f"`{swept.field}`", "backend", *(label for label, _ in DETECTION), *costs],
        [_row(point) for point in swept.points],
        words=2,
    )
    yield ""
    rules = ", ".join(f"`{rule}`" for rule in swept.rules)
    runs = max(int(point.figures["runs"]) for point in swept.points)
    over = f"; ± is half the 95% interval over {runs} runs" if runs > 1 else ""
    yield f"Costs are what all servers spend on one service in one second{over}."
    yield f"Bought is what is valid and meets {rules}." if rules else "Bought is what is valid."
    lost = [point for point in swept.points if not point.bought]
    if not lost:
        yield "Every backend bought it everywhere."
        return
    yield ""
    for point in lost:
        knee = swept.knee(point.backend)
        reach = "nowhere" if knee is None else f"up to {plain(knee)}"
        reasons = "; ".join(map(_escaped, point.lacking))
        yield f"- `{point.backend}`, bought {reach}, not at {plain(point.value)}: {reasons}"


def _row(point: Point) -> list[str]:
    figures, cells = point.figures, []
    if point.bought:
        cells = [_cell(figures, path) for _, path in DETECTION]
        cells += [_cell(figures, cost.path(figures), cost.scale) for cost in COSTS]
    else:
        cells = ["not bought", *[NONE] * (len(DETECTION) + len(COSTS) - 1)]
    return [plain(point.value), f"`{point.backend}`", *cells]


def _cell(figures: Figures, path: str, scale: float = 1.0) -> str:
    value, ends = at(figures, path), interval(figures, path)
    if value is None:
        return NONE
    written = plain(value * scale)
    if ends is None:
        return written
    places = len(written.partition(".")[2])
    around = max((ends[1] - ends[0]) / 2 * scale, 10.0**-places)
    return f"{written} ± {around:,.{places}f}"


# any other result


def _compared(result: Loaded) -> Iterator[str]:
    backends = result.summary["backends"]
    rows = [
        [label.strip(), *(cell(figures).replace("\n", " ") for figures in backends.values())]
        for section in sections(backends)
        for label, cell in section
    ]
    known = [row for row in rows if set(row[1:]) != {NONE}]
    yield from _table(["", *(f"`{name}`" for name in backends)], known, words=1)
    failed = [row for row in result.summary["slo"] if not row["ok"]]
    if failed:
        yield ""
    for row in failed:
        measured = row["reason"] or f"it was {plain(row['value'])}"
        yield f"- failed on `{row['backend'] or 'all'}`: `{row['rule']}`; {_escaped(measured)}"


# both


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> Iterator[str]:
    """``words``: so many columns are of words, the others of numbers."""
    yield f"| {' | '.join(map(_escaped, headings))} |"
    yield "|" + "---|" * words + "---:|" * (len(headings) - words)
    for row in rows:
        yield f"| {' | '.join(map(_escaped, row))} |"


def _made(result: Loaded) -> Iterator[str]:
    """What was run, where and when, and whether it may be believed."""
    manifest, summary = result.manifest, result.summary
    machine = manifest.get("machine") or {}
    cores, cpu = machine.get("cores"), machine.get("cpu")
    where = f", {cores} cores of {_escaped(str(cpu))}" if cores and cpu else ""
    day = datetime.fromisoformat(manifest["started"]).date() if "started" in manifest else None
    when = f", {day}" if day else ""
    how = "simulated" if manifest.get("engine") == "sim" else "on real servers"
    yield f"`{manifest['scenario']}`, {how}{where}{when}: {summary['verdict']}."
    if not result.finished:
        why = manifest.get("broken_off") or "it is still under way, or its harness was killed"
        yield f"Not all of its runs took place: {_escaped(str(why))}."


def _escaped(text: str) -> str:
    return re.sub(r"[|<\\]", r"\\\g<0>", text).replace("\n", " ")
