"""Histories written by hand, whose right judgement is obvious."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bench.measure.audit import ONSETS
from bench.result import EVENTS, METRICS, Kind, Parameters, Record, frame

NOVA = Parameters(kind="sql", profile="nova", interval=10.0, timeout=60.0)


@dataclass
class History:
    """A run: ramp from 0 to 10, one phase from there, the end at 100."""

    observers: tuple[str, ...] = ("o1",)
    parameters: Parameters = NOVA
    backend: str = "db"
    repeat: int = 0
    index: int = 0
    services: int | None = None
    environment: dict[str, Any] = field(
        default_factory=lambda: {"servers": [{"name": "server"}, {"name": "server-2"}]}
    )
    point: dict[str, Any] = field(default_factory=dict)
    complete: bool = True
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.truth(10.0, Kind.PHASE, "hold", value=90.0)
        self.truth(100.0, Kind.END, None)

    def truth(self, t: float, kind: Kind, subject: str | None, **rest: Any) -> History:
        """Something that was done to a service, or that it did."""
        self.rows.append({"t": t, "kind": str(kind), "subject": subject, **rest})
        return self

    def alive(self, subject: str, t: float = 1.0, token: int | None = 1, **rest: Any) -> History:
        """It joins; every observer is told at once."""
        self.truth(t - 0.5, Kind.JOINING, subject)
        self.truth(t, Kind.JOINED, subject, incarnation=token, **{"client": "wire", **rest})
        for observer in self.observers:
            self.told(t, Kind.JOINED, subject, observer, token)
        return self

    def told(
        self, t: float, kind: Kind, subject: str, observer: str = "o1", token: int | None = 1
    ) -> History:
        """An observer learns something."""
        return self.truth(t, kind, subject, observer=observer, incarnation=token)

    def sample(self, t: float, source: str, metric: str, value: float) -> History:
        self.samples.append({"t": t, "source": source, "metric": metric, "value": value})
        return self

    def audited(self) -> History:
        """The samples without which no run is believed: nothing late, every fault planned."""
        planned = sum(row["kind"] in ONSETS and "observer" not in row for row in self.rows)
        self.sample(0.0, "harness", "faults_planned", planned)
        return self.sample(12.0, "shard-0", "lateness", 0.001)

    def record(self) -> Record:
        run: dict[str, Any] = {"backend": self.backend, "repeat": self.repeat}
        tokens = pd.array([row.get("incarnation") for row in self.rows], dtype="Int64")
        joined = {row["subject"] for row in self.rows if row["kind"] == Kind.JOINED}
        return Record(
            index=self.index,
            backend=self.backend,
            repeat=self.repeat,
            services=len(joined) if self.services is None else self.services,
            observers=self.observers,
            parameters=self.parameters,
            events=frame(EVENTS, pd.DataFrame(self.rows).assign(**run, incarnation=tokens)),
            metrics=frame(METRICS, pd.DataFrame(self.samples).assign(**run)),
            environment=self.environment,
            point=self.point,
            complete=self.complete,
        )
