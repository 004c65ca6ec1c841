"""The noise floor: how far identical runs lie apart on this machine, and what that lets be seen.

Kept are the pairs themselves, so that a floor grows with every calibration, and so that what the
gate says of identical runs can be asked again whenever its statistics change.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.durable import write_text
from bench.gate.formats import columns
from bench.gate.judgement import PAIRS, SAME_MACHINE, Judgement, Outcome, judge
from bench.gate.measured import Measured, RunFigures, differences
from bench.gate.statistics import ratio, visible
from bench.gate.tolerances import Tolerances
from bench.report.quantity import NONE
from bench.result import Verdict
from bench.store import ResultError

SCHEMA = 2
KIND = "heartbench noise floor"
DIGITS = 6
"""Significant ones that are kept of a figure."""

Pair = tuple[Measured, Measured]
"""Two valid runs of the same sources, one right after the other."""


@dataclass(frozen=True)
class Noise:
    """Pairs of identical runs of one scenario on one machine."""

    scenario: Mapping[str, Any]
    """As it was run, but for the seed: each pair has its own."""
    machine: Mapping[str, Any]
    pairs: tuple[Pair, ...]
    tolerances: Tolerances

    exit_code = 0

    def joined(self, pair: Pair) -> Noise:
        """With a pair more. Raises: ResultError where it is of another scenario or machine."""
        first = pair[0]
        scenario = _seedless(first.scenario)
        if differing := list(differences(self.scenario, scenario)):
            raise ResultError(
                f"the noise floor is of another scenario ({'; '.join(differing)}): "
                "name another file, or delete this one"
            )
        if any(self.machine.get(key) != first.machine.get(key) for key in SAME_MACHINE):
            raise ResultError(
                "the noise floor is of another machine: name another file, or delete this one"
            )
        return replace(self, pairs=(*self.pairs, pair))

    @cached_property
    def spread(self) -> Mapping[str, Mapping[str, float]]:
        """By backend and figure: the standard deviation of the log ratio between two runs."""
        found: dict[str, dict[str, float]] = {}
        one, other = self._sides(self.pairs)
        for backend in one.backends:
            for figure in self.tolerances.times:
                between = ratio(one.values(backend, figure), other.values(backend, figure))
                if between is not None and math.isfinite(between.spread):
                    found.setdefault(backend, {})[figure] = between.spread
        return found

    @property
    def visible(self) -> Mapping[str, Mapping[str, float]]:
        """And the growth that six pairs show in 9 of 10 comparisons; 0.3 is 30%."""
        return {
            backend: {
                figure: visible(spread, PAIRS, self.tolerances.times[figure])
                for figure, spread in figures.items()
            }
            for backend, figures in self.spread.items()
        }

    @cached_property
    def comparisons(self) -> tuple[Outcome, ...]:
        """What the gate says of each six pairs, none of them used twice: they are of identical
        runs, so whatever isn't a pass is the gate's own error."""
        whole = range(0, len(self.pairs) - PAIRS + 1, PAIRS)
        sides = (self._sides(self.pairs[begin : begin + PAIRS]) for begin in whole)
        return tuple(judge(other, one, self.tolerances) for one, other in sides)

    def _sides(self, pairs: Sequence[Pair]) -> Pair:
        one, other = zip(*pairs, strict=True)
        return together(one), together(other)

    def to_json(self) -> dict[str, Any]:
        """What it says, without the pairs."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "scenario": self.scenario,
            "machine": self.machine,
            "pairs": len(self.pairs),
            "spread": self.spread,
            "visible": self.visible,
            "comparisons": dict(Counter(str(each.judgement) for each in self.comparisons)),
        }

    def save(self, path: str | Path) -> None:
        """A line for each pair, which is one object a run: by backend, its figures."""
        kept = {*self.tolerances.counts, *self.tolerances.times}
        runs = [
            json.dumps([_figures(side, kept) for side in pair], allow_nan=False)
            for pair in self.pairs
        ]
        head = json.dumps(self.to_json(), indent=1, allow_nan=False).removesuffix("\n}")
        lines = ",\n  ".join(runs)
        write_text(Path(path), f'{head},\n "runs": [\n  {lines}\n ]\n}}\n')


def begun(pair: Pair, tolerances: Tolerances | None = None) -> Noise:
    """A floor of one pair."""
    first = pair[0]
    return Noise(_seedless(first.scenario), first.machine, (pair,), tolerances or Tolerances())


def together(results: Sequence[Measured]) -> Measured:
    """As one result whose repeats are these; as bad as the worst of them."""
    bad = next((each for each in results if each.verdict != Verdict.VALID), results[0])
    return replace(
        results[0],
        run=", ".join(each.run for each in results),
        scenario=_seedless(results[0].scenario),
        verdict=bad.verdict,
        reasons=bad.reasons,
        runs=tuple(
            RunFigures(run.backend, number, run.figures)
            for number, each in enumerate(results)
            for run in each.runs
        ),
    )


def text(noise: Noise) -> str:
    """For people: the spread of each figure, what can be seen, and how often the gate was right."""
    rows = [("backend", "figure", "spread", "seen from"), *_rows(noise)]
    verdicts = Counter(each.judgement for each in noise.comparisons)
    lines = [columns(rows, left=(0, 1)), ""]
    if verdicts:
        of = len(noise.comparisons)
        lines.append(
            f"identical runs, six pairs at a time: {verdicts[Judgement.PASS]} of {of} pass"
        )
        lines += [
            f"  {each.judgement}: {row.message}"
            for each in noise.comparisons
            for row in each.rows
            if row.judgement not in (None, Judgement.PASS)
        ]
    return "\n".join([*lines, f"noise floor of {len(noise.pairs)} pairs"])


def read(path: str | Path, tolerances: Tolerances | None = None) -> Noise:
    """What was saved.

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
    try:
        pairs = [
            tuple(_restored(content, number, side) for side in pair)
            for number, pair in enumerate(content["runs"])
        ]
        return Noise(
            scenario=content["scenario"],
            machine=content["machine"],
            pairs=tuple((one, other) for one, other in pairs),
            tolerances=tolerances or Tolerances(),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path}: not a noise floor's content ({error!r}); {mend}") from error


def _rows(noise: Noise) -> Iterable[tuple[str, str, str, str]]:
    for backend, figures in noise.spread.items():
        for figure, spread in figures.items():
            seen = noise.visible[backend][figure]
            yield backend, figure, f"{spread:.1%}", f"+{seen:.0%}" if seen < 10 else NONE


def _figures(side: Measured, kept: Iterable[str]) -> Mapping[str, Mapping[str, float]]:
    return {
        run.backend: {
            figure: float(f"{value:.{DIGITS}g}")
            for figure, value in run.figures.items()
            if figure in kept
        }
        for run in side.runs
    }


def _restored(content: Mapping[str, Any], number: int, side: Mapping[str, Any]) -> Measured:
    return Measured(
        run=f"pair {number + 1}",
        scenario=content["scenario"],
        engine="live",
        verdict=str(Verdict.VALID),
        reasons=(),
        machine=content["machine"],
        commit=None,
        runs=tuple(
            RunFigures(backend, 0, {str(k): float(v) for k, v in figures.items()})
            for backend, figures in side.items()
        ),
    )


def _seedless(scenario: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in scenario.items() if key != "seed"}
