"""The table at the end of a run: backends side by side, then the objectives and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.report.quantity import NONE, plain, seconds, size

ABREAST = 4
"""Backends beside each other in 100 columns; more go into further tables."""

STYLES = {"valid": "bold green", "invalid": "bold red", "unknown": "bold yellow"}

Figures = Mapping[str, Any]
Cell = Callable[[Figures], str]


def table(summary: Mapping[str, Any]) -> RenderableType:
    """What `summary.json` says, for a terminal of 100 columns, with colour or without."""
    backends = list(summary["backends"].items())
    parts: list[RenderableType] = [
        _comparison(dict(backends[at : at + ABREAST])) for at in range(0, len(backends), ABREAST)
    ]
    if summary["slo"]:
        parts.append(_objectives(summary["slo"]))
    parts.append(_verdict(summary))
    return Group(*parts)


def _comparison(backends: Mapping[str, Figures]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("")
    for name in backends:
        grid.add_column(Text(name), justify="right", overflow="fold")
    for section in _sections(backends):
        for label, cell in section:
            cells = [cell(figures) for figures in backends.values()]
            if set(cells) != {NONE}:
                grid.add_row(label, *map(Text, cells))
        grid.add_section()
    return grid


def _sections(backends: Mapping[str, Figures]) -> Iterator[list[tuple[str, Cell]]]:
    yield [("services", _services), ("joined within", _at("join.ramp_seconds", seconds))]
    yield [
        ("crashed", _at("detection.count", plain)),
        ("  missed", _at("detection.missed", plain)),
        *_times("detection"),
        ("  p99 of the last observer", _at("detection.every.p99", seconds)),
    ]
    for fault, label in (("left", "left"), ("frozen", "frozen")):
        if any(fault in figures["detection"] for figures in backends.values()):
            path = f"detection.{fault}"
            yield [
                (label, _at(f"{path}.count", plain)),
                ("  not noticed", _at(f"{path}.missed", plain)),
                *_times(path),
            ]
    yield [
        ("mistakes", _at("mistakes.count", plain)),
        ("  per service and hour, at most", _at("mistakes.rate_upper95", _per_hour)),
        ("  of frozen services", _at("mistakes.impaired", lambda n: plain(n) if n else NONE)),
    ]
    each = "per_service_second"
    yield [
        ("server CPU", _at("load.server_cpu_cores", lambda n: f"{plain(n)} cores")),
        ("server memory", _at("load.server_rss_max_bytes", size)),
        ("network, each service", _at(f"load.network_bytes_{each}", lambda n: f"{size(n)}/s")),
        ("disk, each service", _at(f"load.disk_write_bytes_{each}", lambda n: f"{size(n)}/s")),
        ("statements, each service", _at(f"load.statements_{each}", _a_second)),
        ("transactions, each service", _at(f"load.transactions_{each}", _a_second)),
        ("packets, each service", _at(f"load.packets_{each}", _a_second)),
    ]
    yield [
        ("harness late, p99", _at("audit.lateness_p99", seconds)),
        ("harness CPU", _at("audit.harness_cpu_cores", lambda n: f"{plain(n)} cores")),
        ("off the closed form, p99", _at("audit.model_error_p99", seconds)),
    ]


def _times(path: str) -> list[tuple[str, Cell]]:
    return [
        (f"  {name}", _at(f"{path}.{figure}", seconds))
        for name, figure in (
            ("noticed after, mean", "mean"),
            ("standard deviation", "sd"),
            ("p50", "p50"),
            ("p99", "p99"),
            ("max", "max"),
        )
    ]


def _at(path: str, shown: Callable[[float], str]) -> Cell:
    """The figure of a path, written by `shown`; a dash where there is none."""

    def cell(figures: Figures) -> str:
        value: Any = figures
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return NONE if value is None else shown(value)

    return cell


def _services(figures: Figures) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(figures["clients"].items()))
    runs = f", {figures['runs']} runs" if figures["runs"] > 1 else ""
    return f"{figures['services']:,}" + (f" ({kinds})" if kinds else "") + runs


def _per_hour(rate: float) -> str:
    return plain(rate * 3600)


def _a_second(rate: float) -> str:
    return f"{plain(rate)}/s"


def _objectives(rows: list[Figures]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("objective", "backend", "measured", ""):
        grid.add_column(heading, overflow="fold")
    for row in rows:
        measured = row.get("reason") or plain(row["value"])
        mark = Text("ok", "green") if row["ok"] else Text("FAILED", "bold red")
        grid.add_row(Text(row["rule"]), Text(row["backend"] or "all"), Text(measured), mark)
    return grid


def _verdict(summary: Mapping[str, Any]) -> Text:
    verdict = summary["verdict"]
    text = Text.assemble("verdict: ", (verdict, STYLES.get(verdict, "bold")))
    for reason in summary["reasons"]:
        text.append(f"\n  {reason}")
    return text
