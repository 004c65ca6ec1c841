"""Faults are guards: entering injects, leaving heals, after an interruption too."""

from bench.engines.live.faults.services import inflict

__all__ = ["inflict"]
