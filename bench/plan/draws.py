"""Every random choice of a run, drawn from the seed.

A draw is keyed by what it is for, never by the backend, so that all backends of a repeat share it.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.plan.faults import Floats, Indexes, OnLinks, OnServers, OnServices, PlannedFault
from bench.randomness import stream
from bench.scenario import Fault, LinkFault, Scenario, ServerFault, ServiceFault, Services, Spread
from bench.scenario.quantities import LONGEST
from bench.scenario.victims import client, drawn_racks, listed_racks

Array = TypeVar("Array", bound=NDArray[Any])


def sealed(array: Array) -> Array:
    """The array, from now on read-only."""
    array.setflags(write=False)
    return array


def library(services: Services) -> NDArray[np.bool_]:
    """`Services.is_library` of every service."""
    steps = np.arange(services.count + 1, dtype=np.int64) * services.library // services.count
    return np.diff(steps) > 0


def racks(services: Services) -> Indexes:
    """`Services.rack_of` of every service."""
    index = np.arange(services.count, dtype=np.int64)
    return (index * services.racks // services.count).astype(np.int32)


def faults(scenario: Scenario, repeat: int, starts: Mapping[int, float]) -> dict[int, PlannedFault]:
    """The faults of a repeat by the place of their phase, of which ``starts`` holds the starts.

    Those of servers are as for a backend with one server.
    """
    written = {place: phase.fault for place, phase in enumerate(scenario.phases) if phase.fault}
    hit = _Victims(scenario, repeat).of(written)

    def planned(place: int, fault: Fault) -> PlannedFault:
        start = starts[place]
        match fault:
            case ServiceFault():
                return _on_services(scenario, repeat, place, fault, start, hit[place])
            case LinkFault():
                return OnLinks(
                    kind=fault.kind,
                    racks=tuple(sorted(_racks_of(scenario.services, hit[place]))),
                    victims=sealed(hit[place]),
                    at=sealed(np.array([start])),
                    duration=math.inf if fault.duration is None else fault.duration,
                    direction=fault.direction,
                    rate=fault.rate or 0.0,
                    delay=fault.delay or 0.0,
                    jitter=fault.jitter or 0.0,
                )
            case ServerFault():
                lasting = 0.0 if fault.kind == "restart" else math.inf
                return OnServers(
                    kind=fault.kind,
                    servers=fault.servers,
                    at=sealed(np.array([start])),
                    duration=lasting if fault.duration is None else fault.duration,
                    choice=float(stream(scenario.seed, "servers", repeat, place).random()),
                    onsets=1,
                )

    return {place: planned(place, fault) for place, fault in written.items()}


def _on_services(
    scenario: Scenario,
    repeat: int,
    place: int,
    fault: ServiceFault,
    start: float,
    victims: Indexes,
) -> OnServices:
    count, random = len(victims), stream(scenario.seed, "instants", repeat, place)
    if fault.every is not None:
        at = start + fault.every * np.arange(count, dtype=np.float64)
    else:
        at = np.sort(start + (fault.over or 0.0) * random.random(count))
    if isinstance(fault.duration, Spread):
        lengths = stream(scenario.seed, "durations", repeat, place)
        duration = spread(fault.duration, lengths, count)
    else:
        lasting = 0.0 if fault.kind == "restart" else math.inf
        duration = np.full(count, lasting if fault.duration is None else fault.duration)
    return OnServices(
        kind=fault.kind,
        victims=sealed(victims),
        at=sealed(at),
        duration=sealed(duration),
        times=(fault.times or DEFAULT_TIMES) if fault.kind == "flap" else 1,
        up=fault.up or 0.0,
        offset=fault.offset or 0.0,
        orderly=fault.stop == "leave",
    )


DEFAULT_TIMES = 3
"""How often a flap stops its victims, unless the scenario says."""


def spread(law: Spread, random: np.random.Generator, count: int) -> Floats:
    """So many durations, in s, of a law; from plain uniform numbers alone, which never change."""
    low = 1.0 - random.random(count)  # above 0, at most 1
    if law.exponential is not None:
        drawn = -law.exponential * np.log(low)
    elif law.uniform is not None:
        shortest, longest = law.uniform
        drawn = shortest + (longest - shortest) * (1.0 - low)
    else:
        assert law.lognormal is not None
        normal = np.sqrt(-2.0 * np.log(low)) * np.cos(2.0 * np.pi * random.random(count))
        with np.errstate(over="ignore"):
            drawn = law.lognormal.median * np.exp(law.lognormal.sigma * normal)
    return np.minimum(drawn, LONGEST)


class _Victims:
    """Sets aside the victims of each fault in the order that `bench.scenario.victims` states,
    which has decided beforehand that all find enough."""

    def __init__(self, scenario: Scenario, repeat: int) -> None:
        self._seed = scenario.seed
        self._repeat = repeat
        self._services = scenario.services
        self._library = library(scenario.services)
        self._free = np.ones(scenario.services.count, dtype=np.bool_)
        self._untouched = np.ones(scenario.services.racks, dtype=np.bool_)
        self._chosen: dict[int, Indexes] = {}

    def of(self, faults: Mapping[int, Fault]) -> dict[int, Indexes]:
        """By the place of the fault's phase, in the order in which they are hit."""
        for place, fault in faults.items():
            if listed := listed_racks(fault):
                self._take(place, self._among(client(fault), listed))
        for place, fault in faults.items():
            if isinstance(fault, ServiceFault) and fault.select.names is not None:
                named = [self._services.index_of(name) for name in fault.select.names]
                self._take(place, np.array(named, dtype=np.int32))
        for place, fault in faults.items():
            if wanted := drawn_racks(fault):
                untouched = np.flatnonzero(self._untouched)
                scores = self._scores("racks", place, self._services.racks)
                chosen = untouched[np.argsort(scores[untouched], kind="stable")[:wanted]]
                self._take(place, self._among("any", tuple(chosen.tolist())))
        for place, fault in sorted(faults.items(), key=lambda item: client(item[1]) == "any"):
            if isinstance(fault, ServiceFault) and place not in self._chosen:
                self._take(place, self._draw(place, fault))
        return self._chosen

    def _take(self, place: int, victims: Indexes) -> None:
        self._free[victims] = False
        self._untouched[list(_racks_of(self._services, victims))] = False
        self._chosen[place] = victims

    def _among(self, kind: str, listed: tuple[int, ...]) -> Indexes:
        blocks = [np.arange(block.start, block.stop) for block in map(self._services.rack, listed)]
        members = np.concatenate(blocks).astype(np.int32)
        return members[self._is_of(kind)[members]]

    def _is_of(self, kind: str) -> NDArray[np.bool_]:
        everybody = np.ones_like(self._library)
        return {"wire": ~self._library, "library": self._library}.get(kind, everybody)

    def _draw(self, place: int, fault: ServiceFault) -> Indexes:
        candidates = np.flatnonzero(self._is_of(client(fault)) & self._free).astype(np.int32)
        scores = self._scores("victims", place, self._services.count)
        order = np.argsort(scores[candidates], kind="stable")
        return candidates[order[: fault.size(self._services)]]

    def _scores(self, purpose: str, place: int, count: int) -> Floats:
        """For everybody, eligible or not: who was hit before doesn't shift the draw."""
        return stream(self._seed, purpose, self._repeat, place).random(count)


def _racks_of(services: Services, members: Indexes) -> set[int]:
    return set(np.unique(members.astype(np.int64) * services.racks // services.count).tolist())
