"""The observers of an ensemble: each is told of every node that comes or goes, one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.costs import ZooKeeperCosts
from bench.engines.sim.ledger import Ledger, Numbers
from bench.engines.sim.noise import Noise
from bench.engines.sim.zookeeper.ensemble import Ensemble
from bench.plan import Floats
from bench.result import Kind

GLANCE = 0.25
"""How often an observer looks whether its view is fresh, in s."""


@dataclass(frozen=True)
class Changes:
    """All nodes that came and went, in order of time."""

    t: Floats
    services: Numbers
    tokens: Numbers
    came: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @classmethod
    def of(
        cls,
        born: Sequence[tuple[Floats, Numbers, Numbers]],
        died: Sequence[tuple[Floats, Numbers, Numbers]],
        end: float,
    ) -> Changes:
        parts = [*born, *died]
        t, services, tokens = (np.concatenate(column) for column in zip(*parts, strict=True))
        came = np.zeros(len(t), dtype=np.bool_)
        came[: sum(len(part[0]) for part in born)] = True
        order = np.argsort(t, kind="stable")
        order = order[t[order] < end]
        return cls(t[order], services[order], tokens[order], came[order])


@dataclass
class Watcher:
    """One observer, from the run's beginning."""

    number: int
    name: str
    ensemble: Ensemble
    costs: ZooKeeperCosts
    ledger: Ledger
    noise: Noise
    blind: list[tuple[float, float]] = field(default_factory=list)
    """From when to when it has no connection, or reads the group anew."""

    def watch(self, changes: Changes, end: float) -> None:
        """Be told of everything, and tell it."""
        self._lose_sight(end)
        told = self._told(changes)
        seen = np.ones(len(told), dtype=np.bool_)
        born = np.sort(changes.t[changes.came])
        for start, back in self.blind:
            until = back + int(np.searchsorted(born, start)) * self.costs.read_member
            self._tell_state(Kind.STALE, start, start)
            if until < end:
                self.ledger.tell_of(until, Kind.RESYNCED, self.name, observer=self.number)
                self._tell_state(Kind.FRESH, until, start)
            within = (told >= start) & (told < until)
            told = np.where(within, until, told)
            # Who came and went within the gap has never been.
            came, went = (changes.tokens[within & each] for each in (changes.came, ~changes.came))
            seen &= ~(within & np.isin(changes.tokens, np.intersect1d(came, went)))
        seen &= told < end
        for kind, which in ((Kind.JOINED, changes.came), (Kind.LEFT, ~changes.came)):
            chosen = seen & which
            self.ledger.tell_all(
                told[chosen],
                kind,
                changes.services[chosen],
                tokens=changes.tokens[chosen],
                observer=self.number,
            )

    def _told(self, changes: Changes) -> Floats:
        """When it would be told of each: one event after the other."""
        latency = self.costs.expiry * (0.5 + self.noise.of(changes.services, 1))
        latency = latency + np.where(changes.came, self.costs.round_trip, 0.0)
        turns = np.arange(len(changes.t)) * self.costs.event
        arrived = changes.t + latency
        told: Floats = np.maximum.accumulate(arrived - turns) + turns
        return told

    def _lose_sight(self, end: float) -> None:
        """When its connection ends, and when it has another."""
        server = int(self.noise.at(0, 0) * self.ensemble.count)
        for number, each in enumerate(self.ensemble.breaks):
            if server not in each.servers or each.t >= end:
                continue
            dropped = each.t + each.spread * self.noise.at(1, number)
            opens = self.ensemble.opens(dropped)
            wait = 0.0 if opens == dropped else self.costs.retry_high * self.noise.at(2, number)
            serving = self.ensemble.serving(opens)
            if serving:
                server = serving[int(self.noise.at(3, number) * len(serving))]
            self.blind.append((dropped, opens + wait + self.costs.round_trip))

    def _tell_state(self, kind: Kind, t: float, since: float) -> None:
        if t == math.inf:
            return
        glance = math.ceil(t / GLANCE) * GLANCE
        self.ledger.tell_of(glance, kind, self.name, value=glance - since, observer=self.number)
