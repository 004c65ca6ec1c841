"""Two results side by side: what changed, and whether that is a regression.

Two results of one scenario and engine are judged, the second by the first, as `bench.gate` judges.
Of different scenarios the figures are shown and nothing is judged. A simulated result beside a
live one is a prediction: how far it was off is stated (`bench.prediction`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.gate.formats import table, told
from bench.gate.judgement import Judgement, Outcome, Row, doubts, judge, known, middle
from bench.gate.measured import Measured, differences, of
from bench.gate.statistics import ratio
from bench.gate.tolerances import Tolerances
from bench.prediction import Prediction, predict
from bench.report.predicted import text as predicted_text
from bench.store import Loaded, load

SHOWN = (
    "detection.mean",
    "detection.p50",
    "detection.p99",
    "detection.max",
    "detection.every.p99",
    "convergence.seconds",
    "join.ramp_seconds",
    "load.server_cpu_cores",
    "load.server_rss_max_bytes",
    "load.yardstick_seconds",
    "load.disk_write_bytes_per_service_second",
    "load.wal_bytes_per_service_second",
    "audit.harness_cpu_cores",
    "audit.lateness_p99",
)
"""Further figures that are shown where both have them, and not judged."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; `judged` is None where there is nothing to judge."""

    baseline: str
    result: str
    differences: tuple[str, ...]
    """In what the scenarios differ, as `field: first, second`."""
    doubts: tuple[str, ...]
    """Why the numbers of one of them may not be believed."""
    judged: Outcome | None
    prediction: Prediction | None
    rows: tuple[Row, ...]
    """Those judged first."""

    @property
    def judgement(self) -> Judgement | None:
        return self.judged.judgement if self.judged else None

    @property
    def exit_code(self) -> int:
        """That of the verdict; 0 where nothing was judged."""
        return self.judged.exit_code if self.judged else 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        judged = self.judged
        return {
            "verdict": str(judged.judgement) if judged else None,
            "exit_code": self.exit_code,
            "baseline": self.baseline,
            "result": self.result,
            "differences": list(self.differences),
            "reasons": list(judged.reasons) if judged else list(self.doubts),
            "notes": list(judged.notes) if judged else [],
            "rows": [row.to_json() for row in self.rows],
            "prediction": asdict(self.prediction) if self.prediction else None,
        }


def compare(a: str | Path, b: str | Path, tolerances: Tolerances | None = None) -> Comparison:
    """Compare the result `b` with the result `a`.

    Raises: ResultError for what can't be read.
    """
    return compared(load(a), load(b), tolerances)


def compared(a: Loaded, b: Loaded, tolerances: Tolerances | None = None) -> Comparison:
    """The same of results that have been loaded. Of a live and a simulated one the live one comes
    first, whatever their order."""
    first, second = (b, a) if (_engine(a), _engine(b)) == ("sim", "live") else (a, b)
    one, other = of(first), of(second)
    predicted = predict(first, second) if (one.engine, other.engine) == ("live", "sim") else None
    differing = tuple(differences(one.scenario, other.scenario))
    judged = None
    if not differing and predicted is None:
        judged = judge(other, one, tolerances or Tolerances())
    rows = judged.rows if judged else ()
    done = {(row.backend, row.figure) for row in rows}
    further = [row for row in _shown(one, other) if (row.backend, row.figure) not in done]
    return Comparison(
        baseline=one.run,
        result=other.run,
        differences=differing,
        doubts=tuple(doubts(other, one)),
        judged=judged,
        prediction=predicted,
        rows=(*rows, *further),
    )


def text(comparison: Comparison) -> str:
    """For people: the rows, what differs, how far a prediction was off, and the verdict."""
    lines = [f"{comparison.baseline} -> {comparison.result}", "", table(comparison.rows), ""]
    if comparison.prediction:
        lines += predicted_text(comparison.prediction)
    if comparison.differences:
        lines.append("the scenarios differ, so nothing is judged:")
        lines += [f"  {each}" for each in comparison.differences]
    if not comparison.judged:
        lines += comparison.doubts
    if comparison.judged:
        lines += [*told(comparison.judged), f"verdict: {comparison.judged.judgement}"]
    return "\n".join(lines)


def _engine(result: Loaded) -> str:
    return str(result.manifest.get("engine"))


def _shown(one: Measured, other: Measured) -> Iterator[Row]:
    named = [*Tolerances().counts, *Tolerances().times, *SHOWN]
    for backend in one.backends:
        for figure in dict.fromkeys(named):
            before, after = (each.values(backend, figure) for each in (one, other))
            if known(before) and known(after):
                yield Row(
                    backend=backend,
                    figure=figure,
                    baseline=middle(before),
                    value=middle(after),
                    ratio=ratio(before, after),
                    tolerance=0.0,
                    judgement=None,
                    reason="",
                )
