"""A bad link, as one client behind it has it: when what it asks arrives, and when the answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.engines.sim.course import Spell
from bench.engines.sim.tcp import Way, arrival, handshake
from bench.plan import OnLinks


@dataclass(frozen=True, slots=True)
class Path:
    """From the client to a server and back; good before the spell and after it."""

    spell: Spell
    draw: Callable[[], float]
    """The next random number of this client."""

    @property
    def link(self) -> OnLinks:
        assert isinstance(self.spell.fault, OnLinks)
        return self.spell.fault

    def exchange(self, sent: float) -> tuple[float, float]:
        """When a request sent then arrives, and when its answer does; infinite: never."""
        link = self.link
        if link.kind == "delay":
            there = sent + self._delay(sent, "out")
            return there, there + self._delay(there, "in")
        if link.kind == "cut" and self.spell.end == math.inf:
            return (sent if link.direction == "in" else math.inf), math.inf
        there = arrival(sent, "out", self._loses)
        return there, arrival(there, "in", self._loses)

    def exchanges(self, sent: float, count: int) -> tuple[float, float]:
        """The same of so many, one after another: of the last one."""
        there = back = sent
        for _ in range(count):
            there, back = self.exchange(back)
        return there, back

    def handshake(self, begun: float, until: float) -> float:
        """When a connection that is asked for then is there; infinite: not before ``until``."""
        if self.link.kind == "delay":
            return begun + self._delay(begun, "out") + self._delay(begun, "in")
        return handshake(begun, until, self._loses)

    def _loses(self, way: Way, t: float) -> bool:
        link = self.link
        if link.direction not in (way, "both") or not self.spell.start <= t < self.spell.end:
            return False
        return link.kind == "cut" or self.draw() < link.rate

    def _delay(self, sent: float, way: Way) -> float:
        link = self.link
        if link.direction not in (way, "both") or not self.spell.start <= sent < self.spell.end:
            return 0.0
        return max(0.0, link.delay + link.jitter * (2 * self.draw() - 1))
