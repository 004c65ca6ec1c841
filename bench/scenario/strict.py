"""The base of every mapping in a scenario: it says everything that is wrong with it at once."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from bench.scenario.positions import nearest
from bench.scenario.quantities import shown


class Problem(NamedTuple):
    """One thing that is wrong."""

    where: tuple[str | int, ...]
    """The steps from the value that is being checked to the one that is wrong."""
    message: str
    """`what is wrong (what would be right)`"""


KEY = "[key]"
"""The last step of a location that means the key itself, as pydantic has it too."""


class Strict(BaseModel):
    """A frozen mapping of known keys. A ValidationError holds keys, values and combinations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def impossible(self) -> Iterator[Problem]:
        """What each value allows for itself but not all of them together."""
        yield from ()

    @classmethod
    def known(cls) -> dict[str, str]:
        """The keys that may be written, each with the attribute that it becomes."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        known = cls.known()
        problems = [
            Problem((key, KEY), f"unknown key {shown(key)} ({nearest(key, known, 'known')})")
            for key in data
            if key not in known
        ]
        try:
            model = handler({key: value for key, value in data.items() if key in known})
        except ValidationError as error:
            problems += [Problem(detail["loc"], said(detail)) for detail in error.errors()]
        else:
            problems += model.impossible()
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, [_detail(p) for p in problems])
        return model


def said(detail: ErrorDetails) -> str:
    """pydantic's finding in the words of this project."""
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "scenario":
            return str(context["message"])
        case "value_error":
            return str(context["error"])
        case "missing":
            return f"{str(detail['loc'][-1])!r} is missing (add it)"
        case "union_tag_not_found":
            return "'kind' is missing (add it)"
        case "union_tag_invalid":
            words = [tag.strip("'") for tag in str(context["expected_tags"]).split(", ")]
            return (
                f"unknown kind {shown(context['tag'])} ({nearest(context['tag'], words, 'kinds')})"
            )
        case "literal_error":
            words = str(context["expected"]).replace(" or ", ", ").split(", ")
            right = nearest(value, (word.strip("'") for word in words), "known")
            return f"unknown value {shown(value)} ({right})"
        case "string_type":
            return f"{shown(value)} is not a text (put it in quotes)"
        case "tuple_type" | "list_type":
            return f"{shown(value)} is not a list (lines that start with '- ')"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{shown(value)} is not a mapping (key: value)"
        case "too_short":
            return "nothing in it (at least one)"
        case _:
            return f"{shown(value)}: {detail['msg']}"


def one_of(model: Strict, keys: tuple[str, ...], otherwise: str) -> Iterator[Problem]:
    """That exactly one of the keys is given."""
    given = [key for key in keys if getattr(model, key) is not None]
    if not given:
        yield Problem((), f"{otherwise} (one of {', '.join(keys[:-1])} or {keys[-1]})")
    elif len(given) > 1:
        yield Problem((given[1],), f"{' and '.join(given)} at once (one of them)")


def twice(where: tuple[str, ...], values: Iterable[str | int], noun: str) -> Iterator[Problem]:
    """That each value is there once."""
    seen = set()
    for place, value in enumerate(values):
        if value in seen:
            yield Problem((*where, place), f"{noun} {shown(value)} is named twice (once)")
        seen.add(value)


def _detail(problem: Problem) -> InitErrorDetails:
    # The message goes in as a parameter: braces in it are the user's, not a template's.
    error = PydanticCustomError("scenario", "{message}", {"message": problem.message})
    return InitErrorDetails(type=error, loc=problem.where, input=None)
