"""What a simulation of one run comes to, whatever the backend; and the record made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.engines.sim.ledger import Ledger
from bench.engines.sim.meters import Meters
from bench.plan import Run
from bench.result import Kind, Parameters, Record


@dataclass(frozen=True)
class Outcome:
    """One run, simulated."""

    ledger: Ledger
    meters: Meters
    servers: tuple[str, ...]
    roles: tuple[str, ...]
    """Of the servers, at the start."""
    parameters: Parameters
    t0: float
    end: float
    extrapolated: tuple[str, ...]
    """What lies outside of the calibration's range, in words."""
    events: int = 0
    """How many events SimPy handled for the services."""

    def record(
        self, run: Run, calibration: dict[str, Any], only_live: Sequence[str] = ()
    ) -> Record:
        """As the live engine would have left it."""
        for phase in run.phases:
            name = f"{phase.kind} {phase.fault.kind}" if phase.fault else phase.kind
            self.ledger.tell_of(
                self.t0 + phase.start, Kind.PHASE, name, value=phase.end - phase.start
            )
        self.ledger.tell_of(self.end, Kind.END, "run")
        observers = tuple(observer_names(run))
        kind = run.backend.kind
        return Record(
            index=run.index,
            backend=run.backend_name,
            repeat=run.repeat,
            services=run.scenario.services.count,
            observers=observers,
            parameters=self.parameters,
            events=self.ledger.frame(run, self.servers, observers),
            metrics=self.meters.frame(),
            environment={
                "where": "simulated",
                "servers": [
                    {"name": name, "kind": kind, "role": role, "config": {}}
                    for name, role in zip(self.servers, self.roles, strict=True)
                ],
                "calibration": calibration,
                "extrapolated": list(self.extrapolated),
                "only_live": list(only_live),
            },
            point=dict(run.point),
            complete=True,
        )


def observer_names(run: Run) -> Iterator[str]:
    """As the live engine calls them."""
    return (f"observer-{number}" for number in range(run.scenario.observers))
