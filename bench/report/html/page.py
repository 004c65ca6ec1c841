"""The page, put together from stored results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.compare import compared
from bench.gate.formats import HEADINGS, cells, told
from bench.report.html.answer import answer, objectives
from bench.report.html.canvas import COLOURS
from bench.report.html.columns import Column, columns, letter
from bench.report.html.cost import cost, growth
from bench.report.html.detection import detection
from bench.report.html.timeline import MOST, timelines
from bench.report.predicted import text as predicted
from bench.report.quantity import NONE, plain
from bench.report.table import sections
from bench.store import Loaded

_HERE = Path(__file__).parent

MEANINGS = {
    "valid": "The harness did what it should have: the numbers are about the servers.",
    "invalid": "The harness broke its own bounds: these numbers may not be believed.",
    "unknown": "Something needed to judge the run is missing: these numbers may not be believed.",
}


def render(results: Sequence[Loaded]) -> str:
    """The page's text. What scenarios, servers and errors say in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["exact"] = exact
    environment.filters["plain"] = plain
    shown = columns(results)
    scenarios = [_parsed(result) for result in results]
    template = environment.get_template("page.html")
    return template.render(
        # Ours, and wanted as it is.
        style=Markup(COLOURS + (_HERE / "style.css").read_text()),  # noqa: S704
        title=" · ".join(dict.fromkeys(str(result.manifest["scenario"]) for result in results)),
        questions=list(dict.fromkeys(filter(None, (each.get("question") for each in scenarios)))),
        answer=answer(shown),
        results=[_described(place, result) for place, result in enumerate(results)],
        several=len(results) > 1,
        columns=shown,
        sections=list(_side_by_side(shown)),
        every=list(_every(shown)),
        changes=_changes(results),
        audits=list(_part(shown, "audit")),
        charts=[*detection(shown), *cost(shown), *growth(shown)],
        timelines=list(timelines(shown)),
        unshown=max(0, len(shown) - MOST),
    )


def exact(value: object) -> str:
    """A figure as `summary.json` has it, to be read by programs; a dash for none."""
    if value is None or isinstance(value, str):
        return value or NONE
    return json.dumps(value)


def _parsed(result: Loaded) -> Mapping[str, Any]:
    scenario = yaml.safe_load(result.scenario)
    return scenario if isinstance(scenario, Mapping) else {}


def _described(place: int, result: Loaded) -> dict[str, Any]:
    """What a page says of each result: the verdict, and what it was made with and on."""
    manifest, summary = result.manifest, result.summary
    return {
        "letter": letter(place),
        "scenario": manifest["scenario"],
        "run": manifest.get("run", result.path.name),
        "engine": manifest.get("engine") or summary.get("engine"),
        "started": manifest.get("started"),
        "verdict": summary["verdict"],
        "meaning": MEANINGS.get(summary["verdict"], ""),
        "reasons": summary["reasons"],
        "slo": summary["slo"],
        "objectives": objectives(summary["slo"]),
        "yaml": result.scenario,
        "environment": list(_environment(manifest)),
        "servers": list(_servers(manifest)),
    }


def _environment(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is neither frames nor runs, as lines."""
    for name, value in manifest.items():
        match value:
            case _ if name in ("runs", "schema", "scenario"):
                continue
            case Mapping():
                yield name, ", ".join(f"{key} {item}" for key, item in value.items())
            case list():
                yield name, " ".join(map(str, value))
            case _:
                yield name, exact(value)


def _servers(manifest: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each server of the first run of each backend, with its configuration."""
    first = {run["backend"]: run for run in reversed(manifest["runs"])}
    for backend, run in first.items():
        for server in run["environment"].get("servers", ()):
            role = f", {server['role']}" if server.get("role") else ""
            configured = [(str(key), str(item)) for key, item in server.get("config", {}).items()]
            yield f"{backend}: {server['name']}{role}", configured


def _side_by_side(shown: Sequence[Column]) -> Iterator[list[tuple[str, list[str]]]]:
    """The terminal's table, without the rows in which nothing was measured."""
    figures = {column.label: column.figures for column in shown}
    for section in sections(figures):
        rows = [
            (label.rstrip(), [cell(each) for each in figures.values()]) for label, cell in section
        ]
        rows = [(label, cells) for label, cells in rows if set(cells) != {NONE}]
        if rows:
            yield rows


def _changes(results: Sequence[Loaded]) -> dict[str, Any] | None:
    """What changed from the first of two results to the second."""
    if len(results) != 2:
        return None
    first, second = results
    found = compared(first, second)
    return {
        "headings": HEADINGS,
        "rows": [cells(row) for row in found.rows],
        "differences": found.differences,
        "told": list(told(found.judged)) if found.judged else [],
        "verdict": str(found.judged.judgement) if found.judged else None,
        "prediction": predicted(found.prediction) if found.prediction else [],
    }


def _every(shown: Sequence[Column]) -> Iterator[tuple[str, list[object]]]:
    """Every number of the summary under its path."""
    flat = [dict(flattened(column.figures)) for column in shown]
    for path in dict.fromkeys(path for each in flat for path in each):
        yield path, [each.get(path) for each in flat]


def _part(shown: Sequence[Column], part: str) -> Iterator[tuple[str, list[object]]]:
    for path, values in _every(shown):
        if path.startswith(f"{part}."):
            yield path.removeprefix(f"{part}.").replace("_", " "), values


def flattened(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested figures by their paths: `detection.every.p99`. Intervals are leaves;
    single runs are left to the files."""
    for name, value in figures.items():
        if name in ("per_run", "verdict", "reasons"):
            continue
        if isinstance(value, Mapping):
            yield from flattened(value, f"{before}{name}.")
        else:
            yield before + name, value
