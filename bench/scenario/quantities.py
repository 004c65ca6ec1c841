"""The quantities that a scenario is written in: `10s`, `1%`, `1000/s`, `10_000`.

Each type parses what a person writes into a plain number in the base unit (seconds, a share of
one, per second) and says in the JSON Schema what it accepts. A wrong one is a WrongValue.
"""

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)


class WrongValue(ValueError):
    """Not what is accepted; the text reads `what is wrong (what would be right)`."""


LONGEST = 30 * 86_400.0
"""The longest duration accepted, in seconds: longer ones are slips of the pen."""

MOST_SERVICES = 1_000_000
NUMBER = r"[0-9]+(_[0-9]+)*(\.[0-9]+)?"
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
PERCENT = {"%": 0.01}
PER_SECOND = {"/s": 1.0, "/m": 1 / 60, "/min": 1 / 60, "/h": 1 / 3600}


def shown(value: object) -> str:
    """`value` as an error message quotes it: short, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """`text` on one line, whatever names in it the file gave."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def pattern(units: dict[str, float]) -> str:
    """The regular expression, for the schema, of what `measured` reads with these units."""
    return rf"^{NUMBER} ?({'|'.join(re.escape(unit) for unit in units)})$"


def measured(value: object, units: dict[str, float], right: str) -> float:
    """`value` in the base unit: a finite number as it stands, or a text with one of `units`."""
    wrong = f"{shown(value)} is not {right}"
    if isinstance(value, str):
        found = re.fullmatch(rf"(?P<number>-?{NUMBER}) ?(?P<unit>\D*)", value, re.ASCII)
        if not found or found["unit"] not in units:
            raise WrongValue(wrong)
        value, factor = found["number"].replace("_", ""), units[found["unit"]]
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(wrong)
    else:
        factor = 1.0
    try:
        number = float(value) * factor
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise WrongValue(wrong)
    return number


def duration(value: object) -> float:
    """Seconds from `10s`, `500ms`, `2m`, `1h` or a number; from 0 to 30 days."""
    seconds = measured(value, SECONDS, "a duration (such as 10s, 500ms, 2m or 1.5)")
    if seconds < 0:
        raise WrongValue(f"{shown(value)} is negative (a duration is 0 or more)")
    if seconds > LONGEST:
        raise WrongValue(f"{shown(value)} is too long (30 days at most)")
    return seconds


def offset(value: object) -> float:
    """Seconds ahead, or behind where negative; up to 30 days, and not 0."""
    seconds = measured(value, SECONDS, "an offset (such as 90s or -90s)")
    if not 0 < abs(seconds) <= LONGEST:
        raise WrongValue(f"{shown(value)} is out of range (not 0, and 30 days at most)")
    return seconds


def fraction(value: object) -> float:
    """A share of one from `1%` or 0.01; above 0, at most 1."""
    share = measured(value, PERCENT, "a fraction (such as 1% or 0.01)")
    if not 0 < share <= 1:
        raise WrongValue(f"{shown(value)} is out of range (more than 0%, at most 100%)")
    return share


def rate(value: object) -> float:
    """Per second, from `1000/s`, `60/m` or a number; above 0."""
    per_second = measured(value, PER_SECOND, "a rate (such as 1000/s)")
    if per_second <= 0:
        raise WrongValue(f"{shown(value)} is too low (more than 0 a second)")
    if per_second > 1e9:
        raise WrongValue(f"{shown(value)} is too high (1e9 a second at most)")
    return per_second


def whole(value: object, least: int, most: int) -> int:
    """A whole number from `10_000`, between `least` and `most`."""
    if isinstance(value, str) and re.match(r"^[0-9]+(_[0-9]+)*$", value) and len(value) < 40:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongValue(f"{shown(value)} is not a whole number (such as 10 or 10_000)")
    if not least <= value <= most:
        raise WrongValue(f"{shown(value)} is out of range (from {least} to {most})")
    return value


def number(value: object) -> float:
    """A plain number above 0."""
    plain = measured(value, {}, "a number (such as 0.5)")
    if plain <= 0:
        raise WrongValue(f"{shown(value)} is too low (more than 0)")
    return plain


def switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongValue(f"{shown(value)} is neither true nor false (true or false)")
    return value


def positive(seconds: float) -> float:
    if seconds <= 0:
        raise WrongValue("0 is too short (more than 0s)")
    return seconds


def name(value: object) -> str:
    """A word that is safe in a path, a znode and a table: a-z, 0-9 and `-`."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", value):
        raise WrongValue(
            f"{shown(value)} is not a safe name (a-z, 0-9 and -, starting with a letter or digit, "
            "at most 64)"
        )
    return value


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(f"{shown(value)} is not a text (put it in quotes)")
    return value


def _schema(units: dict[str, float], **number: Any) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number", **number}, {"type": "string", "pattern": pattern(units)}]}
    )


def _in(least: int, most: int) -> Callable[[object], int]:
    return lambda value: whole(value, least, most)


def _whole_schema(least: int, most: int) -> WithJsonSchema:
    # Editors read YAML 1.2, where 10_000 is a text.
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": least, "maximum": most},
                {"type": "string", "pattern": "^[0-9]+(_[0-9]+)*$"},
            ]
        }
    )


_seconds = _schema(SECONDS, minimum=0, maximum=LONGEST)
Duration = Annotated[float, PlainValidator(duration), _seconds]
"""Seconds, 0 allowed."""
Positive = Annotated[float, PlainValidator(duration), AfterValidator(positive), _seconds]
"""Seconds, more than 0."""
Offset = Annotated[
    float,
    PlainValidator(offset),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": -LONGEST, "maximum": LONGEST},
                {"type": "string", "pattern": pattern(SECONDS).replace("^", "^-?", 1)},
            ]
        }
    ),
]
"""Seconds, ahead or behind, not 0."""
Fraction = Annotated[float, PlainValidator(fraction), _schema(PERCENT, minimum=0, maximum=1)]
Rate = Annotated[float, PlainValidator(rate), _schema(PER_SECOND, minimum=0)]
Count = Annotated[int, PlainValidator(_in(1, MOST_SERVICES)), _whole_schema(1, MOST_SERVICES)]
CountOrNone = Annotated[int, PlainValidator(_in(0, MOST_SERVICES)), _whole_schema(0, MOST_SERVICES)]
Rack = Annotated[
    int, PlainValidator(_in(0, MOST_SERVICES - 1)), _whole_schema(0, MOST_SERVICES - 1)
]
Few = Annotated[int, PlainValidator(_in(1, 1000)), _whole_schema(1, 1000)]
Number = Annotated[
    float, PlainValidator(number), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})
]
Switch = Annotated[bool, PlainValidator(switch), WithJsonSchema({"type": "boolean"})]
Seed = Annotated[int, PlainValidator(_in(0, 2**63 - 1)), _whole_schema(0, 2**63 - 1)]
Name = Annotated[
    str,
    PlainValidator(name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"}),
]
LISTED = PlainSerializer(lambda value: list(value) if isinstance(value, tuple) else value)
"""Writes a tuple as the list that it was read from, and any other value as it is."""
Text = Annotated[str, BeforeValidator(text), WithJsonSchema({"type": "string", "minLength": 1})]
