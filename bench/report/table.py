"""The table at the end of a run: backends side by side, then the objectives and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.report.paths import Figures, found, interval
from bench.report.quantity import NONE, plain, seconds, size

ABREAST = 4
"""Backends beside each other in 100 columns; more go into further tables."""

STYLES = {"valid": "bold green", "invalid": "bold red", "unknown": "bold yellow"}

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
    for section in sections(backends):
        for label, cell in section:
            cells = [cell(figures) for figures in backends.values()]
            if set(cells) != {NONE}:
                grid.add_row(label, *map(Text, cells))
        grid.add_section()
    return grid


def sections(backends: Mapping[str, Figures]) -> Iterator[list[tuple[str, Cell]]]:
    """Labels and cells, by what belongs together; what concerns none of these backends left out."""
    yield [
        ("services", _services),
        ("runs", _at("runs", lambda n: plain(n) if n > 1 else NONE)),
        ("joined within", _at("join.ramp_seconds", seconds)),
    ]
    if any(figures["detection"]["count"] for figures in backends.values()):
        yield [
            ("died", _at("detection.count", plain)),
            ("  missed", _at("detection.missed", plain)),
            *_times("detection"),
            ("  p99 of the last observer", _at("detection.every.p99", seconds)),
        ]
    others = {
        fault: None
        for figures in backends.values()
        for fault, found in figures["detection"].items()
        if isinstance(found, Mapping) and "missed" in found and fault != "every"
    }
    for fault in others:
        path = f"detection.{fault}"
        yield [
            (fault.replace("_", " "), _at(f"{path}.count", plain)),
            ("  noticed", _at(f"{path}.noticed", plain)),
            ("  missed", _at(f"{path}.missed", _unless_none)),
            ("  noticed against the rule", _at(f"{path}.unexpected", _unless_none)),
            ("  noticed after, mean", _with_ci(f"{path}.mean", seconds)),
            ("  p99", _at(f"{path}.p99", seconds)),
        ]
    yield [
        ("live services called dead", _at("mistakes.count", plain)),
        ("  per service and hour, at most", _at("mistakes.rate_upper95", _per_hour)),
        ("  of these while servers failed", _at("mistakes.outage.count", _unless_none)),
        *(
            (f"  besides, while {state}", _at(f"mistakes.{state}.count", plain))
            for state in ("frozen", "cut", "lossy", "delayed", "skewed")
        ),
        ("all back after, at most", _at("recovery.mistakes.max", seconds)),
        ("  after a server's return", _at("recovery.servers.max", seconds)),
    ]
    each = "per_service_second"
    yield [
        ("server CPU", _with_ci("load.server_cpu_cores", lambda n: f"{plain(n)} cores")),
        ("  each service", _at(f"load.server_cpu_cores_{each}", _a_second_of_cpu)),
        ("server memory", _at("load.server_rss_max_bytes", size)),
        ("network, each service", _with_ci(f"load.network_bytes_{each}", _bytes_a_second)),
        ("disk, each service", _with_ci(f"load.disk_write_bytes_{each}", _bytes_a_second)),
        ("statements, each service", _at(f"load.statements_{each}", _a_second)),
        ("transactions, each service", _at(f"load.transactions_{each}", _a_second)),
        ("packets, each service", _at(f"load.packets_{each}", _a_second)),
    ]
    yield [
        ("harness late, p99", _at("audit.lateness_p99", seconds)),
        ("harness CPU", _at("audit.harness_cpu_cores", lambda n: f"{plain(n)} cores")),
        ("harness memory", _at("memory.max_bytes", size)),
        ("  grew in the second half by", _at("memory.growth_share", lambda share: f"{share:.1%}")),
        ("beats sent of those owed", _at("audit.rate_reached", lambda share: f"{share:.1%}")),
        ("off the closed form, p99", _at("audit.model_error_p99", seconds)),
    ]


def _times(path: str) -> list[tuple[str, Cell]]:
    return [
        ("  noticed after, mean", _with_ci(f"{path}.mean", seconds)),
        ("  standard deviation", _at(f"{path}.sd", seconds)),
        *((f"  {name}", _at(f"{path}.{name}", seconds)) for name in ("p50", "p99", "max")),
    ]


def _at(path: str, shown: Callable[[float], str]) -> Cell:
    """The figure of a path, written by `shown`; a dash where there is none."""

    def cell(figures: Figures) -> str:
        value = found(figures, path)
        return NONE if value is None else shown(value)

    return cell


def _with_ci(path: str, shown: Callable[[float], str]) -> Cell:
    """As `_at`, and below it the 95% interval over the runs, where there are several."""
    plainly = _at(path, shown)

    def cell(figures: Figures) -> str:
        ends = interval(figures, path)
        if ends is None:
            return plainly(figures)
        low, high = ends
        return f"{plainly(figures)}\n± {shown((high - low) / 2)}"

    return cell


def _services(figures: Figures) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(figures["clients"].items()))
    return f"{figures['services']:,}" + (f" ({kinds})" if kinds else "")


def _per_hour(rate: float) -> str:
    return plain(rate * 3600)


def _unless_none(count: float) -> str:
    return plain(count) if count else NONE


def _bytes_a_second(rate: float) -> str:
    return f"{size(rate)}/s"


def _a_second_of_cpu(cores: float) -> str:
    return f"{seconds(cores)}/s"


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
    for words in _of_the_model(summary):
        text.append(f"\n  {words}")
    return text


def _of_the_model(summary: Mapping[str, Any]) -> list[str]:
    """What simulated figures rest on; each thing once."""
    told: dict[str, None] = {}
    for name, figures in summary["backends"].items():
        if model := figures.get("model"):
            told[f"simulated; calibration: {model['calibration']}"] = None
            told |= dict.fromkeys(model["warnings"])
            told |= {f"{name}, extrapolated: {words}": None for words in model["extrapolated"]}
            told |= {f"{name}: {words}": None for words in model["only_live"]}
    return list(told)
