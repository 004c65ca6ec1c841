"""Small versioned configuration values that everybody reads and few change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from membership.api import Condition, Membership
from membership.errors import Conflict, InvalidValue
from membership.model import CellState, Json


@dataclass(frozen=True, slots=True)
class SettingState:
    """A setting's value; version 0 is the default of one that was never set."""

    value: Json
    version: int


class Setting:
    """One value of configuration, kept as JSON in a cell. Versions are the cell's: 1, 2, 3, …"""

    def __init__(self, membership: Membership, name: str, default: Json = None) -> None:
        self._cell = membership.cell(f"setting/{name}")
        self._name = name
        self._default = default

    def get(self) -> SettingState:
        """The committed value. Raises: Disconnected."""
        return self._decoded(self._cell.get())

    def set(self, value: Json, version: int, *under: Condition) -> SettingState:
        """Replace the value if its version is still this one.

        Raises: Conflict, nothing written; Disconnected, outcome unknown; InvalidValue where the
        value is no JSON, or too large.
        """
        return self._decoded(self._cell.compare_and_set(self._encoded(value), version, *under))

    def put(self, value: Json) -> SettingState:
        """Replace the value whatever it is now. Raises: as `set`, but for Conflict."""
        while True:
            try:
                return self.set(value, self.get().version)
            except Conflict:
                continue

    def changes(self) -> Iterator[SettingState]:
        """The present value, then each newer one that is still current; until the generator or
        the connection is closed."""
        with self._cell.watch() as watch:
            for state in watch:
                yield self._decoded(state)

    def _encoded(self, value: Json) -> bytes:
        try:
            return json.dumps(value, sort_keys=True, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidValue(f"setting {self._name!r} can't be kept as JSON: {error}") from error

    def _decoded(self, state: CellState) -> SettingState:
        if state.version == 0:
            return SettingState(self._default, 0)
        return SettingState(json.loads(state.value), state.version)
