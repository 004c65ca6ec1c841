"""Whether a version is worse than its baseline.

Counts don't depend on the machine, so they are held to a tolerance as they are. Times and CPU do,
and vary from run to run: they are compared pair by pair, and fail only where even the lower end of
the ratio's interval is past the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from bench.gate.measured import Measured, differences
from bench.gate.statistics import Ratio, ratio, visible
from bench.gate.tolerances import Tolerances
from bench.result import Verdict

PAIRS = 6
"""Fewer pairs of runs don't decide about times."""

RESOLUTION = 0.30
"""An interval that reaches further than this to either side of its middle decides nothing."""


class Judgement(StrEnum):
    """What became of a comparison."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """Too few runs, or too noisy ones."""
    INVALID = "invalid"
    """The two can't be compared, or one of them may not be believed."""


EXIT_CODES = {
    Judgement.PASS: 0,
    Judgement.FAIL: 1,
    Judgement.INCONCLUSIVE: 3,
    Judgement.INVALID: 3,
}

SAME_MACHINE = ("cpu", "cores", "system")
"""What two machines have in common whose times may be compared."""


@dataclass(frozen=True)
class Row:
    """One figure of one backend."""

    backend: str
    figure: str
    baseline: float | None
    """The median over the runs."""
    value: float | None
    ratio: Ratio | None
    tolerance: float
    judgement: Judgement | None
    """None: not judged."""
    reason: str
    """Why it failed, was not decided, or was not judged; else empty."""

    @property
    def message(self) -> str:
        """The reason as a sentence of its own."""
        return f"{self.backend}: {self.figure} {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; the ends of an endless interval are null."""
        content = {**asdict(self), "verdict": str(self.judgement) if self.judgement else None}
        del content["judgement"]
        if self.ratio is not None:
            content["ratio"] = {
                name: value if math.isfinite(value) else None
                for name, value in asdict(self.ratio).items()
            }
        return content


@dataclass(frozen=True)
class Outcome:
    """Rows and the verdict over them; `reasons` say what concerns no single row."""

    baseline: str
    result: str
    judgement: Judgement
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    """What the reader should know, and what decides nothing."""
    rows: tuple[Row, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.judgement]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "verdict": str(self.judgement),
            "exit_code": self.exit_code,
            "baseline": self.baseline,
            "result": self.result,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }


def judge(
    result: Measured,
    baseline: Measured,
    tolerances: Tolerances,
    *,
    noise: Mapping[str, Mapping[str, float]] | None = None,
) -> Outcome:
    """Judge a result by a baseline of the same scenario.

    `noise`: by backend and figure, the spread between identical runs (`bench.gate.noise`); it is
    said beside each time what growth could be seen at all.
    """
    reasons = tuple(_incomparable(result, baseline))
    notes = tuple(_notes(result, baseline, tolerances))
    rows = tuple(_rows(result, baseline, tolerances, noise or {}))
    if not reasons and not any(row.judgement for row in rows):
        reasons = ("no figure was measured in both",)
    judgements = [row.judgement for row in rows]
    order = (Judgement.INVALID, Judgement.FAIL, Judgement.INCONCLUSIVE)
    worst = next((each for each in order if each in judgements), Judgement.PASS)
    return Outcome(
        baseline=baseline.run,
        result=result.run,
        judgement=Judgement.INVALID if reasons else worst,
        reasons=reasons,
        notes=notes,
        rows=rows,
    )


def _incomparable(result: Measured, baseline: Measured) -> Iterator[str]:
    """Why a comparison would say nothing."""
    yield from doubts(result, baseline)
    if differing := list(differences(baseline.scenario, result.scenario)):
        yield f"the scenarios differ (baseline, result): {'; '.join(differing)}"
    if result.engine != baseline.engine:
        yield f"the baseline is of the {baseline.engine} engine, the result of {result.engine}"
    for name in baseline.backends:
        if name not in result.backends:
            yield f"the result has no run of {name}, the baseline has"


def doubts(result: Measured, baseline: Measured) -> Iterator[str]:
    """Why the numbers of one of them may not be believed."""
    for what, measured in (("the result", result), ("the baseline", baseline)):
        if measured.verdict != Verdict.VALID:
            why = f": {'; '.join(measured.reasons)}" if measured.reasons else ""
            yield f"{what} ({measured.run}) is {measured.verdict}{why}"


def _notes(result: Measured, baseline: Measured, tolerances: Tolerances) -> Iterator[str]:
    if tolerances.times and not _same_machine(result, baseline):
        yield "measured on another machine than the baseline: times and CPU are not judged"
    for name in result.backends:
        if name not in baseline.backends:
            yield f"{name} is not in the baseline: not judged; save the baseline again"


def _same_machine(result: Measured, baseline: Measured) -> bool:
    return all(result.machine.get(key) == baseline.machine.get(key) for key in SAME_MACHINE)


def _rows(
    result: Measured,
    baseline: Measured,
    tolerances: Tolerances,
    noise: Mapping[str, Mapping[str, float]],
) -> Iterator[Row]:
    paired = _same_machine(result, baseline)
    for backend in baseline.backends:
        if backend not in result.backends:
            continue
        for figure, tolerance in tolerances.counts.items():
            before, after = (each.values(backend, figure) for each in (baseline, result))
            if known(before) or known(after):
                yield _count(backend, figure, before, after, tolerance)
        for figure, tolerance in tolerances.times.items():
            before, after = (each.values(backend, figure) for each in (baseline, result))
            if known(before) and known(after):
                spread = noise.get(backend, {}).get(figure)
                yield _time(backend, figure, before, after, tolerance, spread, paired=paired)


def _count(
    backend: str,
    figure: str,
    before: Sequence[float | None],
    after: Sequence[float | None],
    tolerance: float,
) -> Row:
    baseline, value = middle(before), middle(after)
    judgement: Judgement | None = Judgement.PASS
    reason = ""
    if value is None:
        judgement = Judgement.INVALID
        reason = f"was not measured; the baseline has {_figure(baseline)}"
    elif baseline is None:
        judgement = None
        reason = "is not in the baseline; save the baseline again"
    elif value > baseline * (1 + tolerance) + 1e-12:
        judgement = Judgement.FAIL
        grown = f" ({value / baseline - 1:+.1%})" if baseline else ""
        reason = (
            f"is {_figure(value)}, the baseline {_figure(baseline)}{grown}; {_allowed(tolerance)}"
        )
    return Row(
        backend=backend,
        figure=figure,
        baseline=baseline,
        value=value,
        ratio=ratio(before, after),
        tolerance=tolerance,
        judgement=judgement,
        reason=reason,
    )


def _time(
    backend: str,
    figure: str,
    before: Sequence[float | None],
    after: Sequence[float | None],
    tolerance: float,
    spread: float | None,
    *,
    paired: bool,
) -> Row:
    found = ratio(before, after)
    judgement: Judgement | None = None
    reason = "was measured on another machine"
    if paired:
        judgement, reason = _decided(found, tolerance)
    if spread is not None and found is not None and found.pairs > 1:
        seen = visible(spread, found.pairs, tolerance)
        told = f"varies so much between identical runs that only growth from {seen:.0%} on is seen"
        reason = f"{reason}; {told}" if reason else told
    return Row(
        backend=backend,
        figure=figure,
        baseline=middle(before),
        value=middle(after),
        ratio=found,
        tolerance=tolerance,
        judgement=judgement,
        reason=reason,
    )


def _decided(found: Ratio | None, tolerance: float) -> tuple[Judgement, str]:
    if found is None:
        return Judgement.INCONCLUSIVE, "has no pair of runs with a value above zero"
    if found.pairs < PAIRS:
        pairs = "1 pair" if found.pairs == 1 else f"{found.pairs} pairs"
        return Judgement.INCONCLUSIVE, (
            f"was measured in {pairs} of runs, at least {PAIRS} are needed: use --repeat {PAIRS}, "
            "or gate the counts alone"
        )
    told = f"is {found.value:.3g} times the baseline's ({found.low:.3g} to {found.high:.3g})"
    if found.low > 1 + tolerance:
        return Judgement.FAIL, f"{told}; {_allowed(tolerance)}"
    if math.sqrt(found.high / found.low) > 1 + RESOLUTION:
        return Judgement.INCONCLUSIVE, f"{told}: too noisy; use more runs, or a quieter machine"
    return Judgement.PASS, ""


def known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what was measured."""
    there = [value for value in values if value is not None]
    return median(there) if there else None


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _allowed(tolerance: float) -> str:
    return f"{tolerance:.0%} more is tolerated" if tolerance else "no more is tolerated"
