"""What results there are, without reading their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.result import Verdict
from bench.store.parts import PARTS
from bench.store.stamped import ResultError, read_json


@dataclass(frozen=True)
class Listed:
    """One result of a folder of results."""

    path: Path
    scenario: str
    """As its folder is named."""
    engine: str
    """`live` or `sim`; empty where the result can't be read."""
    verdict: str
    good: bool
    """Valid, and every objective met."""
    problem: str = ""
    """Why it can't be read; its verdict is unknown then."""


def results(folder: str | Path) -> Iterator[Listed]:
    """All results in a folder of results, by scenario, the oldest first; empty where there is no
    such folder."""
    for manifest in sorted(Path(folder).glob("[!.]*/[!.]*/manifest.json")):
        if not manifest.parent.is_symlink():  # `latest`
            yield _listed(manifest.parent)


def _listed(path: Path) -> Listed:
    scenario = path.parent.name
    try:
        manifest = read_json(path / "manifest.json")
        engine = str(manifest.get("engine", ""))
        if (path / PARTS).is_dir():
            return Listed(path, scenario, engine, str(Verdict.UNKNOWN), good=False)
        summary = read_json(path / "summary.json", str(manifest.get("run")))
    except ResultError as error:
        return Listed(path, scenario, "", str(Verdict.UNKNOWN), good=False, problem=str(error))
    verdict = str(summary.get("verdict", Verdict.UNKNOWN))
    met = all(rule.get("ok") for rule in summary.get("slo", ()))
    return Listed(path, scenario, engine, verdict, good=verdict == Verdict.VALID and met)
