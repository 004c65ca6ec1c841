"""The connections that a rack with bad links has: its own, and as many as all others share.

A beat keeps one until it is answered or given up, and one that was given up has to be opened anew.
So a few packets that are lost over and over take the connections away from the whole rack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.engines.sim.path import Path

CONNECT = 5.0
"""How long one attempt to connect may take, in s."""
OPENING = 3
"""Round trips of a new connection, the handshake apart: no TLS, startup, the first statement."""
PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Between two attempts to connect, doubled up to the longest."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a beat, in s of the run; infinite: it didn't come to that."""

    visible: float
    answered: float
    given_up: float


class Lines:
    """So many connections; beats are to come in the order of time."""

    def __init__(self, count: int, exchanges: int, timeout: float) -> None:
        """``exchanges``: round trips of a beat, each of which may take ``timeout`` s."""
        self._exchanges, self._timeout = exchanges, timeout
        self._free = [-math.inf] * count
        self._open = [True] * count

    def beat(self, at: float, path: Path) -> Sent:
        """A beat that goes out then, or as soon as there is a connection for it."""
        line = min(range(len(self._free)), key=self._free.__getitem__)
        begun = max(at, self._free[line])
        if not self._open[line]:
            begun = self._connected(begun, path)
            self._open[line] = True
        for number in range(self._exchanges):
            there, back = path.exchange(begun)
            given_up = begun + self._timeout
            if back > given_up:
                self._free[line], self._open[line] = given_up, False
                last = number == self._exchanges - 1
                return Sent(there if last and there <= given_up else math.inf, math.inf, given_up)
            begun = back
        self._free[line] = back
        return Sent(there, back, math.inf)

    @staticmethod
    def _connected(begun: float, path: Path) -> float:
        pause = PAUSE
        while True:
            limit = begun + CONNECT
            if (met := path.handshake(begun, limit)) < limit:
                _, back = path.exchanges(met, OPENING)
                if back < limit:
                    return back
            begun = limit + pause
            pause = min(2 * pause, LONGEST_PAUSE)
