"""When reactions stop, because so many failed at once, and who lets them go on."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from membership.api import Cell, Condition, Fence
from membership.model import View
from membership.recipes.absences import Absences

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Brake:
    """When to stop and let somebody look: where so many fail at once, the fault lies elsewhere.

    It also stops where the group's view says ``mass_loss``, which counts those too that came back
    or that it doesn't apply to. The grace should be longer than the time over which one common
    cause shows itself.
    """

    share: float = 0.3
    """Of the members it applies to; those that came back don't count."""
    window: float = 60.0
    """Seconds."""
    at_least: int = 3
    hold: float | None = 600.0
    """Seconds after which it releases itself; None: only `Reactions.release` does. A new leader
    starts them anew."""


class BrakeCell:
    """Whether the brake is on, for everybody to see."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._version = 0
        self.known = False
        """It has been read."""

    def read(self) -> bool:
        state = self._cell.get()
        self._version, self.known = state.version, True
        return state.value == b"true"

    def write(self, *under: Condition, on: bool) -> None:
        """Raises: Conflict where it was written since it was read."""
        self._version = self._cell.compare_and_set(
            json.dumps(on).encode(), self._version, *under
        ).version


class Braking:
    """One leadership's judgement."""

    def __init__(
        self, name: str, limits: Brake | None, cell: BrakeCell, absences: Absences, fence: Fence
    ) -> None:
        self._name = name
        self._limits = limits
        self._cell = cell
        self._absences = absences
        self._fence = fence
        self._held: float | None = None
        """Since when the brake holds."""
        self._known_mass = False
        """The view's mass loss has been looked into already."""

    def judge(self, view: View, now: float) -> bool:
        """Put the brake on, or let go of it; whether it holds. Raises: Conflict, Disconnected."""
        limits, cell = self._limits, self._cell
        if limits is None:
            return False
        self._known_mass = self._known_mass and view.mass_loss
        if self._held is None:
            mass = view.mass_loss and not self._known_mass
            mass |= self._absences.is_mass(now, limits.share, limits.window, limits.at_least)
            if mass or not cell.known:
                on = cell.read()
                if mass and not on:
                    cell.write(self._fence, on=True)
                    _log.warning("reactions %s: too many went at once, held back", self._name)
                self._held = now if mass or on else None
        else:
            on = cell.read()
            if on and limits.hold is not None and now - self._held >= limits.hold:
                cell.write(self._fence, on=False)
                on = False
            if not on:
                self._held = None
                self._known_mass = True
                self._absences.pardon()
        return self._held is not None
