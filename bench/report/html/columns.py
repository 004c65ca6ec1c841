"""What stands side by side in a report: each backend of each result, and its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.frames import runs_of
from bench.measure.lives import DEATHS
from bench.result import Record
from bench.seen import noticed
from bench.store import Loaded

ENDED = "died"
"""Stands for the kinds of faults that `detection` itself is about."""


@dataclass(frozen=True, eq=False)
class Column:
    """One entry of a summary's `backends`, and where it came from."""

    label: str
    """Its name; with the letter of its result before it where there are several."""
    name: str
    """Its key in the summary."""
    result: Loaded
    place: int
    """The place of its result among those of the report."""
    shade: int
    """Its colour's number: the same backend has the same in every result."""

    @property
    def figures(self) -> Mapping[str, Any]:
        figures: Mapping[str, Any] = self.result.summary["backends"][self.name]
        return figures

    @cached_property
    def runs(self) -> tuple[int, ...]:
        """The indexes of its runs, the first repeat first."""
        return runs_of(self.result, self.name)

    @cached_property
    def noticed(self) -> Mapping[str, NDArray[np.float64]]:
        """As of `bench.seen.noticed`, crashes and losses of power together as in the
        summary, as `ENDED`."""
        times = noticed(self.result, self.name)
        dead = [times.pop(kind) for kind in DEATHS if kind in times]
        return {ENDED: np.sort(np.concatenate(dead)), **times} if dead else times

    @cached_property
    def first_run(self) -> Record | None:
        """The first of its runs, as the engine left it."""
        wanted = self.runs[:1]
        return next((run for run in self.result.records() if run.index in wanted), None)


def columns(results: Sequence[Loaded]) -> tuple[Column, ...]:
    """In the order of the results, and of the backends in each."""
    shades: dict[str, int] = {}
    found = []
    for place, result in enumerate(results):
        before = f"{letter(place)} · " if len(results) > 1 else ""
        for name in result.summary["backends"]:
            shade = shades.setdefault(name, len(shades))
            found.append(Column(before + name, name, result, place, shade))
    return tuple(found)


def letter(place: int) -> str:
    """A, B, … Z, AA, AB, …"""
    ahead, last = divmod(place, len(ascii_uppercase))
    return (letter(ahead - 1) if ahead else "") + ascii_uppercase[last]
