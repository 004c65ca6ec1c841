"""How clients come back that lost their connection: again and again, through a narrow door."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.engines.sim.ledger import Numbers
from bench.engines.sim.noise import Noise
from bench.engines.sim.zookeeper.ensemble import Ensemble
from bench.plan import Floats

ROUNDS = 12
"""Attempts that are followed one by one; who goes on longer comes at any time of its pause."""


@dataclass
class Admission:
    """Each server takes one client back after the other."""

    ensemble: Ensemble
    noise: Noise
    _free: Floats = field(init=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        self._free = np.full(self.ensemble.count, -np.inf)

    def admit(self, service: int, dropped: float) -> tuple[float, int]:
        """One client: when it has a connection again, and to which server."""
        self._asked += 1
        opens = self.ensemble.opens(dropped)
        if opens == math.inf:
            return opens, 0
        serving = self.ensemble.serving(opens)
        costs, number = self.ensemble.costs, self._asked * (ROUNDS + 2)
        tried, pause = dropped, costs.retry_low
        for attempt in range(ROUNDS):
            if tried >= opens:
                break
            tried += pause * (1 + self.noise.at(service, number + attempt)) / 2
            pause = min(2 * pause, costs.retry_high)
        if tried < opens:
            tried = opens + costs.retry_high * self.noise.at(service, number + ROUNDS)
        server = serving[int(self.noise.at(service, number + ROUNDS + 1) * len(serving))]
        accepted = max(tried, float(self._free[server])) + costs.accept
        self._free[server] = accepted
        return accepted + costs.round_trip, server

    def admit_all(self, services: Numbers, dropped: Floats) -> tuple[Floats, NDArray[np.int16]]:
        """Many clients, who lost theirs in one break. Infinite: never."""
        self._asked += 1
        opens = self.ensemble.opens(float(dropped.min()))
        serving = self.ensemble.serving(opens) if opens < np.inf else ()
        if not serving:
            return np.full(len(services), np.inf), np.zeros(len(services), dtype=np.int16)
        tried = self._attempts(services, dropped, opens)
        draws = self._draws(services, ROUNDS + 1)
        chosen = np.array(serving, dtype=np.int16)[(draws * len(serving)).astype(np.int64)]
        back = np.empty(len(services))
        costs = self.ensemble.costs
        for server in serving:
            here = np.flatnonzero(chosen == server)
            here = here[np.argsort(tried[here], kind="stable")]
            if len(here):
                turns = np.arange(len(here)) * costs.accept
                first = np.maximum.accumulate(tried[here] - turns)
                accepted = np.maximum(first, self._free[server]) + turns + costs.accept
                self._free[server] = accepted[-1]
                back[here] = accepted + costs.round_trip
        return back, chosen

    def _attempts(self, services: Numbers, dropped: Floats, opens: float) -> Floats:
        """Of each, the first one that finds a server."""
        costs = self.ensemble.costs
        tried, pause = dropped.copy(), costs.retry_low
        for attempt in range(ROUNDS):
            early = tried < opens
            if not early.any():
                return tried
            waits = pause * (1 + self._draws(services[early], attempt)) / 2
            tried[early] += waits
            pause = min(2 * pause, costs.retry_high)
        early = tried < opens
        waits = costs.retry_high * self._draws(services[early], ROUNDS)
        tried[early] = opens + waits
        return tried

    def _draws(self, services: Numbers, purpose: int) -> Floats:
        return self.noise.of(services, self._asked * (ROUNDS + 2) + purpose)
