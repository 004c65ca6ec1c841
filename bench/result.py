"""What a run leaves behind: events, metrics, and what is needed to judge them later.

Engines write events and hold no opinions. Ground truth and observation are both events, told
apart by ``observer``: empty for what was done to a service or what it did, a name for what that
observer was told. ``t`` counts from the run's epoch, the start of its ramp, on the engine's
monotonic clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.kind import Kind as Kind

SCHEMA = 1

EVENTS = pa.schema(
    [
        ("t", pa.float64()),
        ("kind", pa.string()),
        ("backend", pa.string()),
        ("repeat", pa.int32()),
        ("subject", pa.string()),
        ("observer", pa.string()),
        ("incarnation", pa.int64()),
        ("client", pa.string()),
        ("server", pa.string()),
        ("value", pa.float64()),
        ("clock", pa.string()),
        ("clock_offset", pa.float64()),
        ("clock_error", pa.float64()),
        ("detail", pa.string()),
    ]
)
"""One row an event. ``subject``: the service, or the phase. ``observer``: null in ground truth.
``incarnation``: the life's token, null where unknown. ``client``: ``wire`` or ``library``.
``server``: the one that the service or observer was connected to. ``clock``: the shard whose
clock stamped it, with ``clock_offset`` already added to ``t`` and good to ``clock_error`` (s).
``detail``: words that say more, such as the direction of a cut."""

METRICS = pa.schema(
    [
        ("t", pa.float64()),
        ("backend", pa.string()),
        ("repeat", pa.int32()),
        ("source", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("count", pa.int64()),
    ]
)
"""One row a measurement. ``source``: a server, ``machine``, ``harness``, ``library``,
``observers``; or one process of ours, ``engine`` or a shard. ``count``: how often that value was
measured about then; null: once."""


class Verdict(StrEnum):
    """Whether the numbers may be believed; never whether they are good."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the closed forms need to know of a backend. Seconds; None where it has no such thing."""

    kind: str
    """``sql`` or ``zookeeper``."""
    profile: str | None = None
    interval: float | None = None
    timeout: float | None = None
    """SQL: the timeout. ZooKeeper: the negotiated session timeout."""
    poll: float | None = None
    """None for push, and where each row is read again at its own expiry."""
    tick: float | None = None
    servers: int = 1
    epoch: float | None = None
    """The run's t = 0 on the servers' monotonic clock, where that clock can be known."""


@dataclass(frozen=True, eq=False)
class Record:
    """One run, as an engine leaves it; ``complete`` is false where it broke off.

    Its frames stay as they are: what is derived from them is derived once.
    """

    index: int
    backend: str
    repeat: int
    services: int
    observers: tuple[str, ...]
    parameters: Parameters
    events: pd.DataFrame
    metrics: pd.DataFrame
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Servers and their configuration, where they ran; no secrets."""
    point: Mapping[str, Any] = field(default_factory=dict)
    """The matrix point: field -> value."""
    complete: bool = True


def frame(schema: pa.Schema, rows: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    """Columns in the schema's order and types; columns that ``rows`` lacks are null."""
    given = pd.DataFrame(rows)
    table = pa.Table.from_pydict(
        {
            name: pa.array(
                given[name] if name in given else [None] * len(given),
                type=schema.field(name).type,
                from_pandas=True,
            )
            for name in schema.names
        },
        schema=schema,
    )
    typed: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    return typed


_NULLABLE = {
    pa.int64(): pd.Int64Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.string(): pd.StringDtype(),
}
