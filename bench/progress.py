"""What a run says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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


Listener = Callable[[Moment], None]
"""Called about twice a second, from the engine's thread; it must be quick."""


def silent(moment: Moment) -> None:
    """The listener of those who don't look."""
