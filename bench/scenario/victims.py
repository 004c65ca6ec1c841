"""Whether the faults of a scenario find their victims, decided before any draw.

A service meets at most one fault of services or links. Victims are set aside in this order: those
of racks that are listed, those by name, those of racks that are drawn, those drawn among one
client's services, those drawn among all. The draws of a plan follow the same order.
"""

from collections.abc import Iterator, Mapping
from heapq import nlargest

from bench.scenario.faults import Fault, LinkFault, ServiceFault
from bench.scenario.parts import Client, Services
from bench.scenario.quantities import shown
from bench.scenario.strict import Problem

CLIENTS: tuple[Client, ...] = ("wire", "library", "any")
TAKEN = "(a service meets at most one)"


def listed_racks(fault: Fault) -> tuple[int, ...]:
    """The racks that a fault lists."""
    if isinstance(fault, ServiceFault):
        return fault.select.racks or ()
    if isinstance(fault, LinkFault) and not isinstance(fault.select.racks, int):
        return fault.select.racks
    return ()


def drawn_racks(fault: Fault) -> int:
    """How many racks have to be drawn for a fault."""
    if isinstance(fault, LinkFault) and isinstance(fault.select.racks, int):
        return fault.select.racks
    return 0


def client(fault: Fault) -> Client:
    """The kind of services that a fault is restricted to."""
    return fault.select.client if isinstance(fault, ServiceFault) else "any"


def victims_fit(services: Services, faults: Mapping[int, Fault]) -> Iterator[Problem]:
    """That every fault finds its victims; `faults` by the index of their phase."""
    left = _Left(services)
    for phase, fault in faults.items():
        for place, rack in enumerate(listed_racks(fault)):
            if problem := left.take_rack(rack, client(fault)):
                yield Problem(("phases", phase, "fault", "select", "racks", place), problem)
    for phase, fault in faults.items():
        if isinstance(fault, ServiceFault):
            own: set[str] = set()
            for place, name in enumerate(fault.select.names or ()):
                if name not in own and (problem := left.take_name(name, fault.select.client)):
                    yield Problem(("phases", phase, "fault", "select", "names", place), problem)
                own.add(name)
    for phase, fault in faults.items():
        if (wanted := drawn_racks(fault)) and (problem := left.draw_racks(wanted)):
            yield Problem(("phases", phase, "fault", "select", "racks"), problem)
    for phase, fault in sorted(faults.items(), key=lambda item: client(item[1]) == "any"):
        if isinstance(fault, ServiceFault) and not (fault.select.names or fault.select.racks):
            key = "fraction" if fault.select.fraction else "count"
            if problem := left.draw(fault):
                yield Problem(("phases", phase, "fault", "select", key), problem)


class _Left:
    """The services that no fault has been promised yet."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._left = {kind: services.population(kind) for kind in CLIENTS}
        self._racks: dict[int, set[Client]] = {}
        """The racks that are listed, and whose services in them are taken."""
        self._named: dict[str, int] = {}
        """The services that are named, and their racks."""
        self._drawn = 0

    def take_rack(self, rack: int, kind: Client) -> str | None:
        services = self._services
        if rack >= services.racks:
            right = f"0 to {services.racks - 1}" if services.racks > 1 else "services.racks is 1"
            return f"there is no rack {rack} ({right})"
        taken = self._racks.setdefault(rack, set())
        if kind in taken or "any" in taken or (kind == "any" and taken):
            return f"rack {rack} is hit by another fault already {TAKEN}"
        block = services.rack(rack)
        if not services.population(kind, block):
            return f"selects nobody: there are no {kind} services in rack {rack}"
        taken.add(kind)
        for each in CLIENTS if kind == "any" else (kind, "any"):
            self._left[each] -= services.population(each if kind == "any" else kind, block)
        return None

    def take_name(self, name: str, kind: Client) -> str | None:
        services = self._services
        index = services.index_of(name)
        if index is None:
            first, last = services.service_name(0), services.service_name(services.count - 1)
            return f"there is no service {shown(name)} ({first} to {last})"
        own: Client = "library" if services.is_library(index) else "wire"
        if kind not in ("any", own):
            return f"{name} is a {own} service (client: {own})"
        rack = services.rack_of(index)
        if name in self._named or self._racks.get(rack, set()) & {own, "any"}:
            return f"{name} is the victim of another fault already {TAKEN}"
        self._named[name] = rack
        self._left[own] -= 1
        self._left["any"] -= 1
        return None

    def draw_racks(self, wanted: int) -> str | None:
        """Some among the racks that no other fault touches, whichever: the largest, to be sure."""
        services = self._services
        touched = {*self._racks, *self._named.values()}
        untouched = [rack for rack in range(services.racks) if rack not in touched]
        if wanted > services.racks:
            return f"selects {wanted} of {services.racks} racks (at most {services.racks})"
        if wanted > (there_are := len(untouched) - self._drawn):
            return (
                f"selects {wanted} racks, but other faults leave {there_are} untouched (at most "
                f"{there_are}, since a service meets at most one fault)"
            )
        for kind in CLIENTS:
            sizes = [services.population(kind, services.rack(rack)) for rack in untouched]
            before = sum(nlargest(self._drawn, sizes))
            self._left[kind] -= sum(nlargest(self._drawn + wanted, sizes)) - before
        self._drawn += wanted
        return None

    def draw(self, fault: ServiceFault) -> str | None:
        kind, size = fault.select.client, fault.size(self._services)
        population, there_are = self._services.population(kind), self._left[kind]
        noun = "services" if kind == "any" else f"{kind} services"
        if population == 0:
            return f"selects nobody: there are no {noun} (see services.library)"
        if size == 0:
            return (
                f"selects nobody: {fault.select.fraction:.3g} of {population:,} {noun} rounds to "
                f"none (at least {1 / population:.3g})"
            )
        if size > population:
            return f"selects {size:,} of {population:,} {noun} (at most {population:,})"
        if size > there_are:
            return (
                f"selects {size:,} {noun}, but other faults leave {there_are:,} (at most "
                f"{there_are:,}, since a service meets at most one fault)"
            )
        self._left["any"] -= size
        if kind != "any":
            self._left[kind] -= size
        return None
