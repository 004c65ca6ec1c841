"""Random numbers that are looked up, not drawn: what is random about a service's n-th beat depends
on the seed, the purpose, the service and n, and on nothing that was asked for before.

So a service can be followed beat by beat, or skipped over and looked at an hour later, alone or
with a million others: the numbers are the same, whatever the order and the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.plan import Floats
from bench.randomness import stream

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

_BY_SERVICE = 0x9E3779B97F4A7C15
_BY_NUMBER = 0xD1B54A32D192ED03
_MASK = (1 << 64) - 1
_UNIT = 2.0**-53


class Noise:
    """The random numbers of one purpose, each in [0, 1), by service and number."""

    def __init__(self, seed: int, *purpose: str | int) -> None:
        self._key = int(stream(seed, "simulation", *purpose).integers(1 << 63))

    def at(self, service: int, number: int) -> float:
        """The one of this service and number."""
        word = (self._key + service * _BY_SERVICE + number * _BY_NUMBER) & _MASK
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((word ^ (word >> 31)) >> 11) * _UNIT

    def of(self, services: NDArray[np.integer], numbers: NDArray[np.integer] | int) -> Floats:
        """Those of many services, one number each."""
        word = services.astype(np.uint64) * np.uint64(_BY_SERVICE)
        return self._mixed(word + _words(numbers) * np.uint64(_BY_NUMBER))

    def run(self, service: int, first: int, count: int) -> Floats:
        """Those of one service, of ``count`` numbers from ``first`` on."""
        numbers = np.arange(first, first + count, dtype=np.uint64) * np.uint64(_BY_NUMBER)
        return self._mixed(numbers + np.uint64(service * _BY_SERVICE & _MASK))

    def table(self, services: int, first: int, count: int) -> Floats:
        """Those of that many services, a row each, of ``count`` numbers from ``first`` on."""
        rows = np.arange(services, dtype=np.uint64) * np.uint64(_BY_SERVICE)
        numbers = np.arange(first, first + count, dtype=np.uint64) * np.uint64(_BY_NUMBER)
        return self._mixed(rows[:, None] + numbers)

    def _mixed(self, word: Words) -> Floats:
        """The finalizer of SplitMix64, as in `at`."""
        word += np.uint64(self._key)
        word ^= word >> np.uint64(30)
        word *= np.uint64(0xBF58476D1CE4E5B9)
        word ^= word >> np.uint64(27)
        word *= np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(31)
        return (word >> np.uint64(11)).astype(np.float64) * _UNIT


class Ahead:
    """Random numbers for services that go on at about the same pace, one by one: `COUNT` numbers of
    all are looked up when the first service comes to them."""

    COUNT = 16
    _KEPT = 4

    def __init__(self, noise: Noise, services: int, become: Callable[[Floats], Floats]) -> None:
        """``become``: what the random numbers are turned into."""
        self._noise, self._services, self._become = noise, services, become
        self._tables: dict[int, list[list[float]]] = {}

    def of(self, service: int, first: int) -> list[float]:
        """What the next `COUNT` numbers of this service become, from ``first`` on."""
        if (table := self._tables.get(first)) is None:
            draws = self._noise.table(self._services, first, self.COUNT)
            table = self._tables[first] = self._become(draws).tolist()
            if len(self._tables) > self._KEPT:
                del self._tables[next(iter(self._tables))]
        return table[service]


def _words(numbers: NDArray[np.integer] | int) -> Words:
    return np.asarray(numbers).astype(np.uint64)
