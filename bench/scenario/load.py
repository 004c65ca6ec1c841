"""From a file to a Scenario, or to everything that is wrong with it."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from bench.errors import ScenarioError
from bench.scenario import positions, rules, sweep, victims
from bench.scenario.faults import Fault
from bench.scenario.model import Scenario
from bench.scenario.parts import Backend, Services
from bench.scenario.phases import Phase
from bench.scenario.positions import Document, Position
from bench.scenario.quantities import WrongValue, printable
from bench.scenario.slo import Rule, Slo
from bench.scenario.strict import KEY, Problem
from bench.shipped import folder

LARGEST_FILE = 1_000_000
"""Bytes; a scenario is a page that somebody wrote."""


def load(path: Path | str, overrides: Sequence[str] = ()) -> Scenario:
    """Reads the scenario in a file.

    `overrides` are `services.count=500`, the value in YAML. Raises ScenarioError with all
    problems at once, each `file:line:column: what is wrong (what would be right)`, where
    `--set services.count=500` stands for the position of an override.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ScenarioError([f"{path}: cannot be read: {reason} (a scenario file)"]) from None
    if len(raw) > LARGEST_FILE:
        raise ScenarioError([f"{path}: too large for a scenario ({LARGEST_FILE:,} bytes at most)"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise ScenarioError(
            [f"{path}:{line}:{column}: not a text in UTF-8 (save as UTF-8)"]
        ) from None
    return loads(text, str(path), overrides)


def loads(text: str, source: str, overrides: Sequence[str] = ()) -> Scenario:
    """Reads the scenario in a text; `source` is named in front of positions. Else as `load`."""
    document = positions.parse(text, source)
    refused = _override(document, overrides)
    data = document.data
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        found = [Problem(detail["loc"], detail["msg"]) for detail in error.errors()]
        found += _across(data, {where[:2] for where, _ in found})
        found += sweep.unknown(data)
    else:
        found = list(sweep.unknown(data)) or list(sweep.misfits(scenario))
        if not found and not refused:
            return scenario
    raise ScenarioError(_lines(document, found) + refused)


def find(argument: str) -> Path:
    """The file of an argument: a path, or the name of a scenario that is shipped (`quickstart`).

    Raises ScenarioError where there is neither.
    """
    path = Path(argument)
    with suppress(OSError):  # a name too long for a file, say
        if path.exists() and not path.is_dir():
            return path
    known = {file.stem: file for file in shipped()}
    if argument in known:
        return known[argument]
    close = difflib.get_close_matches(path.stem, known, n=1)
    right = f"did you mean {close[0]!r}?" if close else f"a file, or one of {', '.join(known)}"
    raise ScenarioError([f"{argument}: there is no such scenario ({right})"])


def shipped() -> tuple[Path, ...]:
    """The files of all scenarios that are shipped, by name."""
    return tuple(sorted(folder("scenarios").glob("*.yaml")))


def dump(scenario: Scenario) -> str:
    """The scenario as YAML that `loads` reads as the same one, with every default written out."""
    return yaml.safe_dump(sweep.plain(scenario), sort_keys=False, allow_unicode=True)


def _override(document: Document, overrides: Iterable[str]) -> list[str]:
    """Sets each override in the document; says what is wrong with those that cannot be."""
    problems = []
    for number, override in enumerate(overrides):
        position = Position(10**9, number, f"--set {' '.join(override.split())}")
        path, equals, value = override.partition("=")
        if not equals or not all(path.split(".")):
            problems.append(f"{position}: not an override (such as services.count=500)")
            continue
        try:
            document.put(path, positions.fragment(value, str(position)), position)
        except ScenarioError as error:
            problems += error.problems
        except WrongValue as error:
            problems.append(f"{position}: {error}")
    return problems


def _across(data: dict[str, Any], bad: set[tuple[str | int, ...]]) -> Iterator[Problem]:
    """What does not fit together among the parts that are right in themselves.

    `bad` holds the beginnings of the paths of what is not.
    """

    def right(part: str, kind: TypeAdapter[Any]) -> dict[Any, Any]:
        if (part,) in bad:
            return {}
        parts = data.get(part, ())
        pairs = parts.items() if isinstance(parts, dict) else enumerate(parts)
        return {key: kind.validate_python(it) for key, it in pairs if (part, key) not in bad}

    phases: dict[int, Phase] = right("phases", TypeAdapter(Phase))
    faults: dict[int, Fault] = {key: it.fault for key, it in phases.items() if it.fault}
    if not any(where[0] == "services" for where in bad):
        yield from victims.victims_fit(Services.model_validate(data["services"]), faults)
    if isinstance(data.get("backends"), dict):
        backends: dict[str, Backend | None] = dict.fromkeys(data["backends"])
        backends |= right("backends", TypeAdapter(Backend))
        slo: dict[int, Slo] = right("slo", TypeAdapter(Rule))
        yield from rules.rules_fit(backends, slo)
        yield from rules.servers_fit(backends, faults)


def _lines(document: Document, problems: Iterable[Problem]) -> list[str]:
    """The problems as the user reads them, one line each, in the order of the file, each once."""
    placed = set()
    for where, message in problems:
        path = positions.inside(document.data, where)
        placed.add((document.where(path, key=where[-1:] == (KEY,)), printable(message)))
    return [f"{position}: {message}" for position, message in sorted(placed)]
