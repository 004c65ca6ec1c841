"""Durations that differ from victim to victim, by a stated law."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from bench.scenario.quantities import (
    SECONDS,
    Duration,
    Number,
    Positive,
    WrongValue,
    pattern,
    shown,
)
from bench.scenario.strict import Problem, Strict, one_of


def _pair(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise WrongValue(f"{shown(value)} is not two durations (such as [2s, 30s])")
    return value


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    low, high = pair
    if low >= high:
        raise WrongValue(f"{high:g}s is not above {low:g}s (the shorter one comes first)")
    return pair


_ONE = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern(SECONDS)}]
}
Bounds = Annotated[
    tuple[Duration, Duration],
    BeforeValidator(_pair),
    AfterValidator(_ascending),
    WithJsonSchema({"type": "array", "items": _ONE, "minItems": 2, "maxItems": 2}),
]
"""Two durations in seconds, the shorter one first."""


class Lognormal(Strict):
    """A duration whose logarithm is normal."""

    median: Positive = Field(description="Seconds; half of them are shorter.")
    sigma: Number = Field(
        description="Standard deviation of the logarithm: one in six is longer than "
        "median * exp(sigma)."
    )


class Spread(Strict):
    """A duration drawn anew for each victim, from the seed: exactly one distribution."""

    exponential: Positive | None = Field(
        default=None, description="Exponential, with this mean in seconds."
    )
    uniform: Bounds | None = Field(
        default=None, description="Evenly between two durations, such as [2s, 30s]."
    )
    lognormal: Lognormal | None = Field(
        default=None, description="Lognormal: many short ones and a few long ones."
    )

    def impossible(self) -> Iterator[Problem]:
        yield from one_of(self, ("exponential", "uniform", "lognormal"), "no distribution")


def _is_mapping(value: object) -> str:
    return "[drawn]" if isinstance(value, dict | Spread) else "[fixed]"


Drawn = Annotated[
    Annotated[Duration, Tag("[fixed]")] | Annotated[Spread, Tag("[drawn]")],
    Discriminator(_is_mapping),
]
"""Seconds, the same for every victim or drawn for each."""
