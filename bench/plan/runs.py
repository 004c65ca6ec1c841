"""The runs of a scenario, each with everything that an engine is told."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.plan import draws
from bench.plan.faults import Floats, Indexes, OnLinks, OnServers, OnServices, PlannedFault
from bench.randomness import stream
from bench.scenario import Backend, Scenario, ServerFault, at, points


@dataclass(frozen=True, eq=False)
class PlannedPhase:
    """One step of a run. Seconds since t0, the end of the ramp."""

    kind: Literal["settle", "hold", "fault"]
    start: float
    end: float
    fault: PlannedFault | None = None
    """None too where the scenario has a fault that makes no sense on the run's backend."""


@dataclass(frozen=True, eq=False)
class Run:
    """One backend, once: what an engine is given. Arrays hold one entry for each service."""

    index: int
    """Its place in the plan, from 0."""
    scenario: Scenario
    """With the matrix point applied."""
    point: Mapping[str, Any]
    """The fields that the matrix set, by path; empty without a matrix."""
    backend_name: str
    backend: Backend
    repeat: int
    """From 0; odd ones run the backends in the mirrored order."""
    library: NDArray[np.bool_]
    """Whether it is the library in a process of its own (else a wire service)."""
    rack: Indexes
    """From 0, in blocks of neighbours."""
    join_at: Floats
    """When it joins: seconds since the start of the ramp."""
    beat_phase: Floats
    """How far into its interval it beats, from 0 to 1: its first beat is at
    `join_at + beat_phase * interval`, and one an interval follows (jitter apart)."""
    phases: tuple[PlannedPhase, ...]

    @property
    def faults(self) -> tuple[PlannedFault, ...]:
        return tuple(phase.fault for phase in self.phases if phase.fault is not None)

    @property
    def linked_racks(self) -> tuple[int, ...]:
        """The racks that some fault of links touches, ascending: those that need a network of
        their own."""
        links = (fault.racks for fault in self.faults if isinstance(fault, OnLinks))
        return tuple(sorted({rack for racks in links for rack in racks}))

    @property
    def skews_library(self) -> bool:
        """Whether some fault sets off the clock of a library service, which takes libfaketime."""
        skews = (it for it in self.faults if isinstance(it, OnServices) and it.kind == "skew")
        return any(self.library[fault.victims].any() for fault in skews)

    @property
    def ramp(self) -> float:
        """Seconds from the start of the ramp to t0."""
        return self.scenario.services.count / self.scenario.services.ramp

    @property
    def duration(self) -> float:
        """Seconds from the start of the ramp to the end of the last phase; no server's start."""
        return self.ramp + self.phases[-1].end

    def service_name(self, index: int) -> str:
        """The name that a service joins under."""
        return self.scenario.services.service_name(index)


def plan(scenario: Scenario) -> tuple[Run, ...]:
    """All runs, in order: matrix points, repeats, backends; every second repeat mirrored."""
    runs: list[Run] = []
    for point in points(scenario):
        applied = at(scenario, point)
        for repeat in range(scenario.repeat):
            runs += _side_by_side(applied, point, repeat, first=len(runs))
    return tuple(runs)


def _side_by_side(
    scenario: Scenario, point: Mapping[str, Any], repeat: int, first: int
) -> Iterator[Run]:
    """The runs of all backends in one repeat: everything drawn in them is shared."""
    services = scenario.services
    index = np.arange(services.count, dtype=np.int64)
    library = draws.sealed(draws.library(services))
    rack = draws.sealed(draws.racks(services))
    join_at = draws.sealed(index / services.ramp)
    beat_phase = draws.sealed(stream(scenario.seed, "beat phases", repeat).random(services.count))
    phases = _phases(scenario, repeat)
    names = list(scenario.backends)
    for place, name in enumerate(names[::-1] if repeat % 2 else names):
        yield Run(
            index=first + place,
            scenario=scenario,
            point=point,
            backend_name=name,
            backend=scenario.backends[name],
            repeat=repeat,
            library=library,
            rack=rack,
            join_at=join_at,
            beat_phase=beat_phase,
            phases=tuple(_on_backend(scenario, phases, scenario.backends[name])),
        )


def _phases(scenario: Scenario, repeat: int) -> tuple[PlannedPhase, ...]:
    lengths = [phase.seconds(scenario.services) for phase in scenario.phases]
    ends = list(accumulate(lengths))
    starts = [0.0, *ends[:-1]]
    faults = draws.faults(scenario, repeat, dict(enumerate(starts)))
    return tuple(
        PlannedPhase(phase.kind, start, end, faults.get(place))
        for place, (phase, start, end) in enumerate(zip(scenario.phases, starts, ends, strict=True))
    )


def _on_backend(
    scenario: Scenario, phases: Iterable[PlannedPhase], backend: Backend
) -> Iterator[PlannedPhase]:
    """The phases with so many servers hit as the backend has, and without what it can't have."""
    for written, planned in zip(scenario.phases, phases, strict=True):
        if isinstance(written.fault, ServerFault):
            assert isinstance(planned.fault, OnServers)
            hits = written.fault.hits(backend)
            yield replace(planned, fault=replace(planned.fault, onsets=hits) if hits else None)
        else:
            yield planned
