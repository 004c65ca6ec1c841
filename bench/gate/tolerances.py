"""What is judged, and how much more of it is tolerated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from bench.errors import ScenarioError

COUNTS: Mapping[str, float] = MappingProxyType(
    {
        "counts.statements_per_service_second": 0.05,
        "counts.packets_per_service_second": 0.10,
        "counts.bytes_per_service_second": 0.15,
        "counts.watch_events_per_service": 0.05,
        "counts.told_per_service": 0.02,
        "counts.watches_per_service": 0.05,
        "counts.sessions_per_service": 0.05,
        "mistakes.count": 0.0,
        "detection.missed": 0.0,
    }
)
"""Beats keep their times, so statements vary by 1%; the times of pings are drawn, and pings that a
busy machine sends late are fewer: packets and bytes vary by 4%."""

TIMES: Mapping[str, float] = MappingProxyType(
    {
        "detection.mean": 0.10,
        "detection.p99": 0.10,
        "load.server_cpu_cores": 0.10,
        "audit.harness_cpu_cores": 0.10,
    }
)


@dataclass(frozen=True)
class Tolerances:
    """By figure, how much it may grow: 0.05 is 5%, 0 is exact. Less never fails."""

    counts: Mapping[str, float] = field(default_factory=lambda: COUNTS)
    """Held to their tolerance as they are."""
    times: Mapping[str, float] = field(default_factory=lambda: TIMES)
    """Compared pair by pair, by the lower end of an interval."""

    def counts_only(self) -> Tolerances:
        return replace(self, times={})

    def changed(self, words: Iterable[str]) -> Tolerances:
        """With other tolerances for some figures: `counts.packets_per_service_second=2%`. A figure
        that isn't judged as it is becomes a count.

        Raises: ScenarioError, with everything that is wrong.
        """
        counts, times = dict(self.counts), dict(self.times)
        problems = []
        for word in words:
            figure, _, amount = word.partition("=")
            try:
                tolerance = _share(amount)
            except ValueError:
                problems.append(f"tolerance {word}: say FIGURE=5%, or FIGURE=0 for exact")
                continue
            (times if figure in times else counts)[figure] = tolerance
        if problems:
            raise ScenarioError(problems)
        return Tolerances(counts, times)


def _share(amount: str) -> float:
    share = float(amount.removesuffix("%")) / (100 if amount.endswith("%") else 1)
    if not 0 <= share < 10:
        raise ValueError(amount)
    return share
