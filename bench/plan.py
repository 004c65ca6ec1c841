"""From a scenario to a flat list of runs, with every random choice already made.

Pure: the same scenario gives the same runs, on any machine. What is drawn depends on the seed, the
repeat and what it is for, never on the backend: in one repeat every backend loses the same
services at the same offsets. numpy arrays, all read-only, so that a million services stay cheap.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.randomness import stream
from bench.scenario import Backend, Fault, Scenario, Services, at, points

Floats = NDArray[np.float64]
Indexes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PlannedFault:
    """One fault: whom it hits, and when. A service is a victim of at most one in a run."""

    kind: Literal["crash", "leave", "freeze"]
    victims: Indexes
    """Services by index, in the order in which they are hit."""
    at: Floats
    """Seconds since t0, ascending; one for each victim."""
    duration: float
    """Seconds that each victim of a freeze stands still; 0 for the others, which is for good."""


@dataclass(frozen=True, eq=False)
class PlannedPhase:
    """One step of a run. Seconds since t0, the end of the ramp."""

    kind: Literal["settle", "hold", "fault"]
    start: float
    end: float
    fault: PlannedFault | None = None


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
    """The runs of all backends in one repeat: everything in them is shared but the backend."""
    services = scenario.services
    index = np.arange(services.count, dtype=np.int64)
    library = _sealed(_library(services))
    rack = _sealed((index * services.racks // services.count).astype(np.int32))
    join_at = _sealed(index / services.ramp)
    beat_phase = _sealed(stream(scenario.seed, "beat phases", repeat).random(services.count))
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
            phases=phases,
        )


def _library(services: Services) -> NDArray[np.bool_]:
    """`Services.is_library` of every service."""
    steps = np.arange(services.count + 1, dtype=np.int64) * services.library // services.count
    return np.diff(steps) > 0


def _phases(scenario: Scenario, repeat: int) -> tuple[PlannedPhase, ...]:
    victims = _victims(scenario, repeat)
    phases = []
    start = 0.0
    for place, phase in enumerate(scenario.phases):
        end = start + phase.seconds
        fault = None
        if phase.fault is not None:
            hit = victims[place]
            random = stream(scenario.seed, "instants", repeat, place)
            fault = PlannedFault(
                kind=phase.fault.kind,
                victims=_sealed(hit),
                at=_sealed(np.sort(start + phase.fault.over * random.random(len(hit)))),
                duration=phase.fault.duration or 0.0,
            )
        phases.append(PlannedPhase(phase.kind, start, end, fault))
        start = end
    return tuple(phases)


def _victims(scenario: Scenario, repeat: int) -> dict[int, Indexes]:
    """The victims of each fault, by the place of its phase.

    Named ones are set aside first, then those of one client kind are drawn, then those of any:
    this order is what lets `scenario.rules` decide beforehand that all find enough.
    """
    services = scenario.services
    library = _library(services)
    free = np.ones(services.count, dtype=np.bool_)
    chosen: dict[int, Indexes] = {}

    def take(place: int, victims: Indexes) -> None:
        free[victims] = False
        chosen[place] = victims

    def draw(place: int, fault: Fault) -> Indexes:
        eligible = {"wire": ~library, "library": library}.get(fault.select.client, True) & free
        candidates = np.flatnonzero(eligible).astype(np.int32)
        # A score for every service, eligible or not: who was hit before doesn't shift the draw.
        scores = stream(scenario.seed, "victims", repeat, place).random(services.count)
        order = np.argsort(scores[candidates], kind="stable")
        return candidates[order[: fault.select.size(services)]]

    faults = {place: phase.fault for place, phase in enumerate(scenario.phases) if phase.fault}
    for place, fault in faults.items():
        if fault.select.names is not None:
            named = [services.index_of(name) for name in fault.select.names]
            take(place, np.array(named, dtype=np.int32))
    for any_client in (False, True):
        for place, fault in faults.items():
            if place not in chosen and (fault.select.client == "any") is any_client:
                take(place, draw(place, fault))
    return chosen


Array = TypeVar("Array", bound=NDArray[Any])


def _sealed(array: Array) -> Array:
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Cost:
    """What a run is expected to take, from what was measured on small machines."""

    seconds: float
    """By the clock, with starting and stopping the servers."""
    connections: int
    """To the servers, all told."""
    open_files: int
    """Of the one process that needs most: the one that holds the wire services."""
    ports: int
    """Local ports towards one server."""
    processes: int
    memory: int
    """Bytes, servers included."""
    cores: float
    """Processor cores in the steady state, servers included."""
    unseen: float
    """Seconds that the run ends too early for the slowest detection of a crash; 0 is as it ought
    to be. Victims not detected by then count as missed."""


MB = 1_000_000
OWN_FILES = 128
"""Files that a process of the harness has open besides its connections."""
LIBRARY_CONNECTIONS = 2
"""Database connections of one member that is the library: one to beat, one to read."""


def cost(run: Run) -> Cost:
    """An estimate, for `heartbench plan` and for checks beforehand. Errs upwards."""
    services, observers, backend = run.scenario.services, run.scenario.observers, run.backend
    count, library = services.count, services.library
    wire = count - library
    if backend.kind == "sql":
        pool = min(backend.connections, wire)
        connections = pool + LIBRARY_CONNECTIONS * (library + observers)
        ports, files = connections, pool
        servers = 1
        start = 5.0
        memory = 150 * MB + connections * 10 * MB + wire * 2_000
        statement = 350e-6 if backend.profile == "nova" else 140e-6
        read_every = max(backend.timeout - backend.interval / 2, 0.001)
        reads = 1 / read_every * 200e-6 if backend.poll == "read" else 2e-6 / backend.poll
        cores = count * (statement / backend.interval + observers * reads)
    else:
        connections = count + observers
        servers = backend.servers
        ports, files = math.ceil(connections / servers), wire
        start = 4.0 if servers == 1 else 8.0
        memory = servers * (350 * MB + math.ceil(count / servers) * 25_000) + wire * 5_000
        pings = 3 / backend.session_timeout
        cores = count * pings * 130e-6
    return Cost(
        seconds=start + library * 0.02 + run.duration + 2.0,
        connections=connections,
        open_files=files + OWN_FILES,
        ports=ports,
        processes=3 + library + servers,
        memory=memory + 300 * MB + library * 12 * MB + observers * count * 1_000,
        cores=cores,
        unseen=_unseen(run),
    )


def slowest_detection(backend: Backend) -> float:
    """Seconds from a crash to its detection at the latest, by the closed form, on idle servers."""
    if backend.kind == "sql":
        # A tuned reader counts from when it saw the last beat itself, one poll late, to a poll.
        polls = 2 if backend.profile == "tuned" else 1
        return backend.timeout + (0.0 if backend.poll == "read" else polls * backend.poll)
    follower = 0.0 if backend.servers == 1 else backend.tick / 2
    return backend.session_timeout + backend.tick + follower


def _unseen(run: Run) -> float:
    crashes = [fault.at[-1] for fault in run.faults if fault.kind == "crash"]
    if not crashes:
        return 0.0
    return max(0.0, float(max(crashes)) + slowest_detection(run.backend) - run.phases[-1].end)
