"""The noise floor: how far identical runs lie apart on this machine."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.durable import write_text
from bench.gate.measured import Measured
from bench.gate.statistics import ratio, visible
from bench.gate.tolerances import Tolerances
from bench.store import ResultError

SCHEMA = 1
KIND = "heartbench noise floor"


@dataclass(frozen=True)
class Noise:
    """Of one scenario on one machine."""

    scenario: str
    machine: Mapping[str, Any]
    pairs: int
    spread: Mapping[str, Mapping[str, float]]
    """By backend and figure: the standard deviation of the log ratio between two runs."""
    visible: Mapping[str, Mapping[str, float]]
    """And the growth that so many pairs show in 9 of 10 comparisons; 0.3 is 30%."""

    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "kind": KIND, **asdict(self)}

    def save(self, path: str | Path) -> None:
        write_text(Path(path), json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def noise(one: Measured, other: Measured, tolerances: Tolerances) -> Noise:
    """From an A/A comparison: two results of the same version, run by turns."""
    spread: dict[str, dict[str, float]] = {}
    seen: dict[str, dict[str, float]] = {}
    pairs = 0
    for backend in one.backends:
        for figure, tolerance in tolerances.times.items():
            found = ratio(one.values(backend, figure), other.values(backend, figure))
            if found is not None and math.isfinite(found.spread):
                pairs = max(pairs, found.pairs)
                spread.setdefault(backend, {})[figure] = found.spread
                seen.setdefault(backend, {})[figure] = visible(found.spread, found.pairs, tolerance)
    return Noise(
        scenario=str(one.scenario.get("name", "")),
        machine=one.machine,
        pairs=pairs,
        spread=spread,
        visible=seen,
    )


def read(path: str | Path) -> Mapping[str, Mapping[str, float]]:
    """The spreads of a file that was saved.

    Raises: ResultError, with what to do.
    """
    mend = "make it again with `heartbench gate --calibrate`"
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: no noise floor can be read ({error}); {mend}") from error
    if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != (
        KIND,
        SCHEMA,
    ):
        raise ResultError(f"{path}: no noise floor of schema {SCHEMA}; {mend}")
    spread: Mapping[str, Mapping[str, float]] = content["spread"]
    return spread
