"""The phases of a scenario: what happens after the ramp, one after another."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from bench.scenario.faults import Fault, ServiceFault
from bench.scenario.parts import Services
from bench.scenario.quantities import Duration
from bench.scenario.strict import Problem, Strict


class Phase(Strict):
    """One step after the ramp: exactly one of settle, hold or fault."""

    settle: Duration | None = Field(
        default=None,
        description="Seconds to wait until the services beat steadily; excluded from loads.",
    )
    hold: Duration | None = Field(
        default=None,
        description="Seconds to watch. After a fault at least as long as the slowest detection.",
    )
    fault: Fault | None = Field(
        default=None,
        description="What happens, and to whom: a fault of services (crash, power-loss, freeze, "
        "leave, restart, flap, skew), of racks' links (cut, loss, delay), or, with servers, of the "
        "backend's servers (kill, pause, restart, cut).",
    )

    @property
    def kind(self) -> Literal["settle", "hold", "fault"]:
        if self.fault is not None:
            return "fault"
        return "settle" if self.settle is not None else "hold"

    def seconds(self, services: Services) -> float:
        """How long the phase lasts: a fault's, until the last of its victims is hit. What is done
        to them may last longer."""
        if isinstance(self.fault, ServiceFault):
            return self.fault.seconds(services)
        return (self.settle or 0.0) + (self.hold or 0.0)

    def impossible(self) -> Iterator[Problem]:
        given = [key for key in ("settle", "hold", "fault") if getattr(self, key) is not None]
        if not given:
            yield Problem((), "an empty phase (settle, hold or fault)")
        elif len(given) > 1:
            yield Problem(
                (given[1],), f"{' and '.join(given)} in one phase (each in a line of its own)"
            )
