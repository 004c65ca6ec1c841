"""What must fit together across the parts of a scenario: rules and faults with backends.

Each function takes the parts that are right in themselves, so that these problems are told along
with those of the other parts. Paths are those of the whole scenario; a backend that is wrong in
itself is None: its name counts, its kind is not known.
"""

from collections.abc import Iterator, Mapping

from bench.scenario.faults import Fault, ServerFault
from bench.scenario.parts import Backend
from bench.scenario.positions import nearest
from bench.scenario.quantities import shown
from bench.scenario.slo import ONLY_ON, Slo
from bench.scenario.strict import Problem


def rules_fit(backends: Mapping[str, Backend | None], slo: Mapping[int, Slo]) -> Iterator[Problem]:
    """That each rule names a backend of the scenario, and what that backend has."""
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


def servers_fit(
    backends: Mapping[str, Backend | None], faults: Mapping[int, Fault]
) -> Iterator[Problem]:
    """That each fault of servers makes sense on some backend; `faults` by their phase."""
    for phase, fault in faults.items():
        if not isinstance(fault, ServerFault):
            continue
        if any(backend is None or fault.hits(backend) for backend in backends.values()):
            continue
        if fault.kind == "cut":
            wrong, right = "cuts servers from each other", "kind: zookeeper with servers: 3 or more"
        else:
            which = fault.servers if isinstance(fault.servers, str) else list(fault.servers)
            wrong, right = f"hits servers {which}", "leader, any and all are on every backend"
        yield Problem(
            ("phases", phase, "fault", "servers"),
            f"{wrong}, but no backend here has them ({right})",
        )
