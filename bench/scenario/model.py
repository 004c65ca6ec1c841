"""The scenario: what to run, on which backends, and what must hold.

A Scenario that exists is right: every value in itself, and all of them together. Only the values
of its matrix are checked later, by `sweep.misfits`.
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from bench.scenario.parts import Audit, Backend, Services
from bench.scenario.phases import Phase
from bench.scenario.quantities import Few, Name, Seed, Text
from bench.scenario.rules import rules_fit, servers_fit
from bench.scenario.slo import Rule
from bench.scenario.strict import Problem, Strict
from bench.scenario.victims import victims_fit


class Scenario(Strict):
    """One question, put to several backends side by side."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    name: Name = Field(description="Folder of the results: a-z, 0-9 and -.")
    question: Text = Field(description="The question that the run answers, in a sentence.")
    seed: Seed = Field(description="Every random choice comes from it.")
    backends: dict[Name, Backend] = Field(
        min_length=1,
        description="Variants to compare, by a name of your own. Each runs on fresh servers and "
        "takes the whole time of the phases.",
    )
    services: Services = Field(description="The simulated services.")
    observers: Few = Field(
        description="Members that watch the group, in a process of their own. Each reads what a "
        "watching client reads."
    )
    phases: tuple[Phase, ...] = Field(
        min_length=1, description="What happens after the ramp, one after another."
    )
    slo: tuple[Rule, ...] = Field(
        default=(),
        description="What must hold; `backend: metric op value`, or without a backend for all.",
    )
    repeat: Few = Field(
        default=1,
        description="How often everything runs; every second time in the mirrored order of "
        "backends, so an even number compares fairly.",
    )
    matrix: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="A sweep: fields by path, such as services.count, each with its values. Every "
        "combination is run.",
    )
    audit: Audit = Field(default_factory=Audit, description="Bounds on the harness itself.")

    def impossible(self) -> Iterator[Problem]:
        faults = {place: phase.fault for place, phase in enumerate(self.phases) if phase.fault}
        yield from victims_fit(self.services, faults)
        yield from servers_fit(self.backends, faults)
        yield from rules_fit(self.backends, dict(enumerate(self.slo)))


def schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file. It accepts whatever the loader accepts."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(by_alias=True),
        "title": "heartbench scenario",
    }
