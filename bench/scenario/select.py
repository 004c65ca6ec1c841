"""Whom a fault hits: services, or whole racks."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from bench.scenario.parts import Client
from bench.scenario.quantities import LISTED, Count, Fraction, Rack, Text, WrongValue, shown, whole
from bench.scenario.strict import Problem, Strict, one_of, twice


class Select(Strict):
    """Which services a fault hits: exactly one of count, fraction, names or racks.

    They are drawn from the seed, the same ones on every backend. A service meets at most one
    fault in a run, so that each detection has one cause; faults of servers concern none.
    """

    count: Count | None = Field(default=None, description="So many services.")
    fraction: Fraction | None = Field(
        default=None,
        description="This share of the services of the chosen client, rounded to whole ones.",
    )
    names: tuple[Text, ...] | None = Field(
        default=None, description="These services, by name, such as compute-000017.", min_length=1
    )
    racks: tuple[Rack, ...] | None = Field(
        default=None,
        description="All services of these racks, which are numbered from 0.",
        min_length=1,
    )
    client: Client = Field(
        default="any", description="Only services of this kind: wire, library, or any of both."
    )

    def impossible(self) -> Iterator[Problem]:
        yield from one_of(self, ("count", "fraction", "names", "racks"), "selects nobody")
        yield from twice(("names",), self.names or (), "service")
        yield from twice(("racks",), self.racks or (), "rack")


def _racks(value: object) -> int | tuple[int, ...]:
    if isinstance(value, list | tuple):
        if not value:
            raise WrongValue("nothing in it (at least one)")
        numbers = tuple(whole(each, 0, MOST_RACKS - 1) for each in value)
        if len(set(numbers)) < len(numbers):
            raise WrongValue(f"{shown(value)} names a rack twice (each once)")
        return numbers
    return whole(value, 1, MOST_RACKS)


MOST_RACKS = 1_000
"""That a fault of links can name or count. Each rack is a network namespace."""

_NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


class RackSelect(Strict):
    """Which racks a fault of links hits: so many, drawn from the seed, or these."""

    racks: Annotated[
        int | tuple[int, ...],
        PlainValidator(_racks),
        LISTED,
        WithJsonSchema(
            {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_RACKS}, _NUMBERS]}
        ),
    ] = Field(description="A number of racks, such as 2, or a list such as [0, 3]; from 0.")
