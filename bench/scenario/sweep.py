"""The matrix of a scenario: fields by path, each with the values that it takes in turn."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from bench.scenario.model import Scenario
from bench.scenario.positions import inside, put
from bench.scenario.quantities import MOST_SERVICES, WrongValue, shown
from bench.scenario.strict import KEY, Problem

MOST_FIELDS = 8
MOST_RUNS = 10_000
MOST_IN_ALL = 100 * MOST_SERVICES
"""Services of all repeats and points together, so that a plan fits in memory."""

FIXED = ("version", "name", "question", "slo", "repeat", "matrix")
"""Fields that mean something for the scenario as a whole and cannot differ between its runs."""


def points(scenario: Scenario) -> tuple[Mapping[str, Any], ...]:
    """Every combination of the matrix, the last field changing fastest; one empty one without."""
    fields, values = scenario.matrix.keys(), scenario.matrix.values()
    return tuple(dict(zip(fields, row, strict=True)) for row in itertools.product(*values))


def at(scenario: Scenario, point: Mapping[str, Any]) -> Scenario:
    """The scenario with the fields of `point` set and no matrix any more.

    Raises pydantic's ValidationError where that is not a right scenario, and WrongValue where a
    field does not exist. The points of a loaded scenario are right.
    """
    if not point:
        return scenario
    data = plain(scenario)
    data["matrix"] = {}
    for field, value in point.items():
        put(data, field, copy.deepcopy(value))
    return Scenario.model_validate(data)


def plain(scenario: Scenario) -> dict[str, Any]:
    """The scenario as plain mappings and lists, quantities in base units, defaults written out."""
    return scenario.model_dump(mode="json", by_alias=True, exclude_none=True)


def unknown(data: Mapping[str, Any]) -> Iterator[Problem]:
    """The fields of a matrix that the scenario has not; the scenario may be wrong otherwise."""
    matrix = data.get("matrix")
    if not isinstance(matrix, dict):
        return
    if len(matrix) > MOST_FIELDS:
        yield Problem(("matrix",), f"{len(matrix)} fields (at most {MOST_FIELDS})")
        return
    for field in matrix:
        problem = _unknown(dict(data), field)
        if problem:
            yield Problem(("matrix", field, KEY), problem)


def _unknown(data: dict[str, Any], field: str) -> str | None:
    first = field.split(".")[0]
    if first in FIXED:
        return f"{first} cannot differ between runs (services, backends, phases, observers, seed)"
    trial = copy.deepcopy(data)
    try:
        path = put(trial, field, None)
        Scenario.model_validate(trial)
    except WrongValue as error:
        return str(error)
    except ValidationError as error:
        for detail in error.errors():
            where = detail["loc"]
            if where[-1:] == (KEY,) and inside(trial, where) == path:
                return detail["msg"]
    return None


def misfits(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong with the values of a matrix; everything else of the scenario is right."""
    empty = [field for field, values in scenario.matrix.items() if not values]
    if empty:
        yield from (Problem(("matrix", field), "no values (at least one)") for field in empty)
        return
    repeats = scenario.repeat * math.prod(len(values) for values in scenario.matrix.values())
    blame = "matrix" if scenario.matrix else "repeat"
    if (runs := repeats * len(scenario.backends)) > MOST_RUNS:
        yield Problem((blame,), f"{runs:,} runs in all (at most {MOST_RUNS:,})")
        return
    services = 0
    for point in points(scenario):
        try:
            services += at(scenario, point).services.count * scenario.repeat
        except ValidationError as error:
            yield from _wrong_at(scenario, point, error)
        except WrongValue as error:  # one field takes away what another stands in
            yield Problem(("matrix",), str(error))
    if services > MOST_IN_ALL:
        yield Problem((blame,), f"{services:,} services in all runs (at most {MOST_IN_ALL:,})")


def _wrong_at(
    scenario: Scenario, point: Mapping[str, Any], error: ValidationError
) -> Iterator[Problem]:
    """The errors of one point, at the value that stands nearest to where each was found."""
    for detail in error.errors():
        words = [str(step) for step in detail["loc"]]
        field = max(point, key=lambda it: sum(word in words for word in it.split(".")))
        place = scenario.matrix[field].index(point[field])
        yield Problem(("matrix", field, place), f"{field}: {shown(point[field])}: {detail['msg']}")
