"""What happened in a simulated run, as columns: a million joins are one entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.plan import Floats, Run
from bench.result import EVENTS, Kind, frame

CLOCK = "simulated"
"""The one clock of a simulation: without offset, without error."""

NONE = -1
"""No token, no server, no observer."""

Numbers = NDArray[np.int64]
Row = tuple[float, Kind, int, int, int, float, int, str | None]


@dataclass(frozen=True, slots=True)
class _Block:
    """The same kind of event of many services."""

    kind: Kind
    t: Floats
    service: Numbers
    token: Numbers
    server: Numbers
    value: Floats
    observer: int


@dataclass(slots=True)
class Ledger:
    """Collects events by number of service, server and observer; names come last.

    ``t``: s of the run, on its one clock.
    """

    _blocks: list[_Block] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=list)
    _subjects: list[str] = field(default_factory=list)
    """Of those that are no service: the n-th is service number ``-1 - n``."""

    def tell(
        self,
        t: float,
        kind: Kind,
        service: int,
        *,
        token: int = NONE,
        server: int = NONE,
        value: float = np.nan,
        observer: int = NONE,
        detail: str | None = None,
    ) -> None:
        """One event of one service."""
        self._rows.append((t, kind, service, token, server, value, observer, detail))

    def tell_of(
        self,
        t: float,
        kind: Kind,
        subject: str,
        *,
        value: float = np.nan,
        observer: int = NONE,
        detail: str | None = None,
    ) -> None:
        """An event of a phase, a server or an observer."""
        self._subjects.append(subject)
        self.tell(t, kind, -len(self._subjects), value=value, observer=observer, detail=detail)

    def tell_all(
        self,
        t: Floats,
        kind: Kind,
        services: NDArray[np.integer],
        *,
        tokens: Numbers | None = None,
        servers: NDArray[np.integer] | int = NONE,
        value: Floats | float = np.nan,
        observer: int = NONE,
    ) -> None:
        """The same event of many services, each at its own time."""
        count = len(services)
        if count:
            self._blocks.append(
                _Block(
                    kind,
                    np.broadcast_to(t, count),
                    services.astype(np.int64),
                    np.full(count, NONE) if tokens is None else tokens,
                    np.broadcast_to(np.asarray(servers, dtype=np.int64), count),
                    np.broadcast_to(np.asarray(value, dtype=np.float64), count),
                    observer,
                )
            )

    def frame(self, run: Run, servers: Sequence[str], observers: Sequence[str]) -> pd.DataFrame:
        """All of it, in order of time, in the columns of `EVENTS`."""
        kinds = list(Kind)
        number = {kind: place for place, kind in enumerate(kinds)}
        details = sorted({row[7] for row in self._rows if row[7] is not None})
        place_of = {words: place for place, words in enumerate(details)}
        rows = list(zip(*self._rows, strict=True)) or [()] * 8

        def column(name: str, place: int, kind: type) -> NDArray[Any]:
            parts = [getattr(block, name) for block in self._blocks]
            return np.concatenate([*parts, np.array(rows[place], dtype=kind)])

        def repeated(values: list[int], others: list[int]) -> NDArray[Any]:
            lengths = [len(block.t) for block in self._blocks]
            return np.concatenate([np.repeat(values, lengths), others]).astype(np.int64)

        t = column("t", 0, np.float64)
        order = np.argsort(t, kind="stable")
        service = column("service", 2, np.int64)[order]
        token = column("token", 3, np.int64)[order]
        blocks = self._blocks
        coded = {
            "kind": repeated([number[b.kind] for b in blocks], [number[k] for k in rows[1]]),
            "observer": repeated([b.observer for b in blocks], list(rows[6])),
            "detail": repeated(
                [NONE] * len(blocks), [NONE if d is None else place_of[d] for d in rows[7]]
            ),
            "server": column("server", 4, np.int64),
        }
        count = run.scenario.services.count
        names = [run.service_name(index) for index in range(count)] + self._subjects
        client = np.where(
            service < 0, NONE, run.library[np.clip(service, 0, count - 1)].astype(np.int64)
        )
        # An observer's own state is the observer's, who is the library.
        client[(service < 0) & (coded["observer"][order] >= 0)] = 1
        table = {
            "t": t[order],
            "kind": _named(coded["kind"][order], [str(kind) for kind in kinds]),
            "backend": _named(np.zeros(len(t)), [run.backend_name]),
            "repeat": np.full(len(t), run.repeat, dtype=np.int32),
            "subject": _named(np.where(service < 0, count - 1 - service, service), names),
            "observer": _named(coded["observer"][order], observers),
            "incarnation": pa.array(token, mask=token == NONE),
            "client": _named(client, ["wire", "library"]),
            "server": _named(coded["server"][order], servers),
            "value": pa.array(column("value", 5, np.float64)[order], from_pandas=True),
            "clock": _named(np.zeros(len(t)), [CLOCK]),
            "clock_offset": np.zeros(len(t)),
            "clock_error": np.zeros(len(t)),
            "detail": _named(coded["detail"][order], details),
        }
        return frame(EVENTS, pa.table(table).to_pandas(types_mapper=pd.ArrowDtype))


def _named(codes: NDArray[Any], names: Sequence[str]) -> pa.Array:
    """The names that the codes stand for; null for negative ones."""
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())).cast(pa.string())
