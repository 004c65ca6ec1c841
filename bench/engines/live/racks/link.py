"""One rack's link, and what can be done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.engines.live.racks.delays import Delayer, End
from bench.engines.live.racks.namespaces import inside, run
from bench.engines.live.racks.passage import CLEAR, WAYS, Passage, Way

UNIMPAIRED: Mapping[Way, Passage] = dict.fromkeys(WAYS, CLEAR)


@dataclass(frozen=True)
class Link:
    """Between a rack and the fabric."""

    rack: int
    near: End
    """The fabric's end."""
    far: End
    """The rack's end."""
    address: str
    """The rack's address."""
    delayer: Delayer | None = None
    """None where the link was not made to be delayed."""

    def impose(self, now: Mapping[Way, Passage], before: Mapping[Way, Passage]) -> None:
        """From now on, packets pass like this, no longer as before."""
        rules = [*self._drops("--delete", before), *self._drops("--append", now)]
        if rules:
            # Both ways at once; stateless, so that no established connection gets through.
            restore = (*inside(self.near[0]), "iptables-restore", "--noflush", "--wait")
            run(*restore, text="\n".join(["*filter", *rules, "COMMIT", ""]))
        if self.delayer is not None:
            for way in WAYS:
                if before[way].delay != now[way].delay:
                    self.delayer.hold(way, now[way])

    def _drops(self, verb: str, passing: Mapping[Way, Passage]) -> Iterator[str]:
        # On their way through the fabric: where it sends, a sender would be told.
        sides: dict[Way, str] = {"in": "--out-interface", "out": "--in-interface"}
        for way, side in sides.items():
            if loss := passing[way].loss:
                share = f"-m statistic --mode random --probability {loss:.9f} " if loss < 1 else ""
                yield f"{verb} FORWARD {side} {self.near[1]} {share}-j DROP"
