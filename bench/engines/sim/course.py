"""What the plan does to each service, in the order of time, on the run's own clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.plan import OnLinks, OnServers, OnServices, Run

LEAD = 0.5
"""From the last join to the first phase, in s, as the live engine has it."""

Way = Literal["in", "out", "both"]


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


# --- what TCP does while packets don't pass

RETRANSMISSION = 0.2
"""The first pause before a packet is sent again; each further one is twice as long."""
SYN_RETRANSMISSION = 1.0
PROBE = 0.01
"""After which the last packet of a connection is sent again once, before any retransmission."""


def after_losses(lost: int, first: float = RETRANSMISSION) -> float:
    """How long a packet takes longer that is lost so many times, one after another."""
    if first == RETRANSMISSION and lost:
        return PROBE + first * (2.0 ** min(lost - 1, 30) - 1)
    return first * (2.0 ** min(lost, 30) - 1)


def losses(draw: float, rate: float) -> int:
    """How many times in a row a packet is lost, where that share of all is."""
    return int(math.log(max(draw, 1e-12)) / math.log(rate)) if rate > 0 else 0


def repeated(sent: float, not_before: float, first: float = RETRANSMISSION) -> float:
    """When a packet sent then and again and again is first sent at ``not_before`` or later."""
    if not_before == math.inf:
        return math.inf
    pause = first
    while sent < not_before:
        sent += pause
        pause *= 2
    return sent


def reached(silent: float, heal: float, *, patience: float, attempt: float, pause: float) -> float:
    """When a client gets through again whose connection fell silent then, the path healing at
    ``heal``: its unanswered packet is repeated for ``patience`` s, then it tries new connections,
    each for ``attempt`` s, with pauses between.
    """
    if heal == math.inf:
        return heal
    if (again := repeated(silent, heal)) <= silent + patience:
        return again
    begun = silent + patience
    while True:
        if (again := repeated(begun, heal, SYN_RETRANSMISSION)) < begun + attempt:
            return again
        begun += attempt + pause
