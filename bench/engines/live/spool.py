"""Rows that pile up while a run lasts, on disk: hours of them take no more memory than a minute."""

from __future__ import annotations

import pickle
import tempfile
import weakref
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")

CHUNK = 5_000
"""Rows of one source that wait in memory, about 1 MB."""


@dataclass(frozen=True, slots=True)
class _Place:
    source: str
    start: int
    length: int


class Spool(Generic[Row]):
    """Takes rows, and gives them back. Not for several threads at once."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as we do
        weakref.finalize(self, self._file.close)
        self._places: list[_Place] = []
        self._waiting: dict[str, list[Row]] = {}

    def add(self, source: str, rows: Iterable[Row]) -> None:
        """Keep these rows of a source."""
        waiting = self._waiting.setdefault(source, [])
        waiting += rows
        if len(waiting) >= CHUNK:
            packed = zlib.compress(pickle.dumps(waiting), level=1)
            self._places.append(_Place(source, self._file.seek(0, 2), len(packed)))
            self._file.write(packed)
            waiting.clear()

    def chunks(self) -> Iterator[tuple[str, list[Row]]]:
        """Everything so far, some rows at a time; those of one source in their order."""
        for place in self._places:
            self._file.seek(place.start)
            packed = self._file.read(place.length)
            yield place.source, pickle.loads(zlib.decompress(packed))  # noqa: S301  our own
        yield from ((source, rows) for source, rows in self._waiting.items() if rows)
