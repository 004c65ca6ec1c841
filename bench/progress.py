"""What a run says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Moment:
    """How a run stands now. Times are seconds."""

    backend: str
    repeat: int
    phase: str
    """``servers``, an image that is made for them, ``services`` (being made), ``ramp``, then the
    phases of the scenario."""
    elapsed: float = 0.0
    """Since the phase began."""
    length: float | None = None
    """The phase's planned length, where it has one."""
    joined: int = 0
    live: int = 0
    """Members, as far as they know."""
    dead: int = 0
    """Killed, or left on orders."""
    seen: int = 0
    """Members in the view of the first observer."""
    rate: float = 0.0
    """Beats or pings sent a second."""

    @property
    def suspected(self) -> int:
        """Services that have joined and that the first observer takes for dead, rightly or not."""
        return max(0, self.joined - self.seen)

    @property
    def left(self) -> float | None:
        """Until the phase ends as planned, in s; None where it has no plan."""
        return None if self.length is None else max(0.0, self.length - self.elapsed)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "suspected": self.suspected, "left": self.left}


class Pace:
    """How fast a counter grows, by readings at least a second apart."""

    def __init__(self) -> None:
        self.rate = 0.0
        """Growth a second; 0 until it is known."""
        self._last: tuple[float, int] | None = None

    def add(self, t: float, count: int) -> None:
        """A reading, at `t` in s."""
        if self._last is None:
            self._last = (t, count)
        elif t - self._last[0] >= 1.0:
            self.rate = (count - self._last[1]) / (t - self._last[0])
            self._last = (t, count)


Listener = Callable[[Moment], None]
"""Called about twice a second, from the engine's thread; it must be quick."""


def silent(moment: Moment) -> None:
    """The listener of those who don't look."""
