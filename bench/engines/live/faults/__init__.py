"""Faults are guards: entering injects, leaving heals, after an interruption too."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bench.engines.live.faults import links, servers, services
from bench.engines.live.faults.stage import Stage
from bench.plan import OnLinks, OnServices, PlannedFault

__all__ = ["Stage", "inflict"]


def inflict(fault: PlannedFault, stage: Stage) -> AbstractContextManager[None]:
    """One planned fault, at its own instants, for as long as the block runs at most.

    What it does, and when that took hold, is told to the stage or by the shards.
    """
    if isinstance(fault, OnServices):
        return services.inflict(fault, stage)
    if isinstance(fault, OnLinks):
        return links.inflict(fault, stage)
    return servers.inflict(fault, stage)
