"""What must fit together across the parts of a scenario: faults and services, rules and backends.

Each function takes the parts that are right in themselves, so that these problems are told along
with those of the other parts. Paths are those of the whole scenario.
"""

from collections.abc import Iterator, Mapping

from bench.scenario.parts import Backend, Client, Fault, Services
from bench.scenario.positions import nearest
from bench.scenario.quantities import shown
from bench.scenario.slo import ONLY_ON, Slo
from bench.scenario.strict import Problem


def faults_fit(services: Services, faults: Mapping[int, Fault]) -> Iterator[Problem]:
    """That every fault finds its victims; `faults` by the index of their phase.

    A service meets at most one fault. So that this can be decided before any draw, named victims
    are set aside first, then those of one client kind are drawn, then those of any kind.
    """
    left: dict[Client, int] = {
        client: services.population(client) for client in ("wire", "library", "any")
    }
    named: set[str] = set()
    for phase, fault in faults.items():
        for place, name in enumerate(fault.select.names or ()):
            problem = _misnamed(services, fault, name, named)
            if problem:
                yield Problem(("phases", phase, "fault", "select", "names", place), problem)
            elif name not in named:
                named.add(name)
                index = services.index_of(name)
                assert index is not None
                left["library" if services.is_library(index) else "wire"] -= 1
                left["any"] -= 1

    specific_first = sorted(faults.items(), key=lambda item: item[1].select.client == "any")
    for phase, fault in specific_first:
        select = fault.select
        if select.names is not None:
            continue
        where = ("phases", phase, "fault", "select", "fraction" if select.fraction else "count")
        client, size, all_there_are = select.client, select.size(services), left[select.client]
        population = services.population(client)
        kind = "services" if client == "any" else f"{client} services"
        if population == 0:
            yield Problem(where, f"selects nobody: there are no {kind} (see services.library)")
        elif size == 0:
            yield Problem(
                where,
                f"selects nobody: {select.fraction:.3g} of {population:,} {kind} rounds to "
                f"none (at least {1 / population:.3g})",
            )
        elif size > population:
            yield Problem(
                where, f"selects {size:,} of {population:,} {kind} (at most {population:,})"
            )
        elif size > all_there_are:
            yield Problem(
                where,
                f"selects {size:,} {kind}, but other faults leave {all_there_are:,} (at most "
                f"{all_there_are:,}, since a service meets at most one fault)",
            )
        else:
            left["any"] -= size
            if client != "any":
                left[client] -= size


def _misnamed(services: Services, fault: Fault, name: str, named: set[str]) -> str | None:
    index = services.index_of(name)
    if index is None:
        first, last = services.service_name(0), services.service_name(services.count - 1)
        return f"there is no service {shown(name)} ({first} to {last})"
    kind = "library" if services.is_library(index) else "wire"
    if fault.select.client not in ("any", kind):
        return f"{name} is a {kind} service (client: {kind})"
    if name in named and fault.select.names and fault.select.names.count(name) == 1:
        return f"{name} is the victim of another fault already (a service meets at most one)"
    return None


def rules_fit(backends: Mapping[str, Backend | None], slo: Mapping[int, Slo]) -> Iterator[Problem]:
    """That each rule names a backend of the scenario, and what that backend has.

    A backend that is wrong in itself is None: its name counts, its kind is not known.
    """
    for place, rule in slo.items():
        if rule.backend is not None and rule.backend not in backends:
            right = nearest(rule.backend, backends, "backends")
            yield Problem(("slo", place), f"unknown backend {shown(rule.backend)} ({right})")
            continue
        only = ONLY_ON.get(rule.metric)
        for name in backends if rule.backend is None else [rule.backend]:
            backend = backends[name]
            if only is not None and backend is not None and backend.kind != only:
                have = [other for other, it in backends.items() if it is None or it.kind == only]
                right = f"name one of {', '.join(have)}" if have else "no backend here has it"
                yield Problem(
                    ("slo", place), f"{name} is not {only} and has no {rule.metric} ({right})"
                )
                break
