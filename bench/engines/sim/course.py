"""What the plan does to each service, in the order of time, on the run's own clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.plan import OnLinks, OnServers, OnServices, Run

LEAD = 0.5
"""From the last join to the first phase, in s, as the live engine has it."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A service is hit at ``start``; ``end``: when that is over (infinity: never)."""

    kind: str
    start: float
    end: float
    fault: OnServices | OnLinks


@dataclass(frozen=True, slots=True)
class Strike:
    """Servers are hit."""

    start: float
    end: float
    fault: OnServers


def spells(run: Run, t0: float) -> Mapping[int, tuple[Spell, ...]]:
    """Of each service that is hit at all, when. A flap is a freeze again and again."""
    hit: dict[int, tuple[Spell, ...]] = {}
    for fault in run.faults:
        if isinstance(fault, OnServices):
            each = zip(
                fault.victims.tolist(), fault.at.tolist(), fault.duration.tolist(), strict=True
            )
            for service, at, duration in each:
                hit[service] = tuple(_spells(fault, t0 + at, duration))
        elif isinstance(fault, OnLinks):
            start = t0 + float(fault.at[0])
            spell = Spell(fault.kind, start, start + fault.duration, fault)
            hit.update((service, (spell,)) for service in fault.victims.tolist())
    return hit


def _spells(fault: OnServices, start: float, duration: float) -> Iterator[Spell]:
    if fault.kind != "flap":
        yield Spell(fault.kind, start, start + duration, fault)
        return
    for _ in range(fault.times):
        yield Spell("freeze", start, start + duration, fault)
        start += duration + fault.up


def strikes(run: Run, t0: float) -> tuple[Strike, ...]:
    """What is done to servers, in order."""
    found = [
        Strike(t0 + float(fault.at[0]), t0 + float(fault.at[0]) + fault.duration, fault)
        for fault in run.faults
        if isinstance(fault, OnServers) and fault.onsets
    ]
    return tuple(sorted(found, key=lambda strike: strike.start))
