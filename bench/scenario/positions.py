"""YAML read with its positions: every value knows the line and column it came from."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bench.errors import ScenarioError
from bench.scenario.quantities import WrongValue, shown

Path = tuple[str | int, ...]
"""Where a value stands in the document: `("phases", 1, "fault")`."""

DEEPEST = 20
LARGEST = 10**40


@dataclass(frozen=True, order=True)
class Position:
    """Where something was written, in the order of the file; what `--set` gave comes last."""

    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Document:
    """Plain data (mappings, lists and scalars) and where each piece of it was written."""

    source: str
    data: dict[str, Any]
    values: dict[Path, Position]
    keys: dict[Path, Position]

    def where(self, path: Path, *, key: bool = False) -> Position:
        """The position of the value (or of the key) at `path`, or else of what is around it."""
        for length in range(len(path), 0, -1):
            for place in (self.keys, self.values) if key else (self.values, self.keys):
                if path[:length] in place:
                    return place[path[:length]]
        return Position(1, 1, f"{self.source}:1:1")

    def put(self, dotted: str, value: object, position: Position) -> None:
        """Sets the value at `services.count`, in place of what stood there.

        Raises WrongValue where something on the way is not a mapping or a list.
        """
        path = put(self.data, dotted, value)
        for places in (self.values, self.keys):
            for below in [old for old in places if old[: len(path)] == path]:
                del places[below]
        self.values[path] = self.keys[path] = position


def put(data: dict[str, Any], dotted: str, value: object) -> Path:
    """Sets `value` in nested mappings and lists; says at which path.

    A part of the scenario that is missing as a whole is made. Raises WrongValue where the way
    does not exist.
    """
    words = dotted.split(".")
    path: list[str | int] = []
    inside: Any = data
    for number, word in enumerate(words):
        last, so_far = number == len(words) - 1, ".".join(words[:number])
        step: str | int = word
        if isinstance(inside, list):
            if not re.fullmatch("[0-9]{1,6}", word) or int(word) >= len(inside):
                right = f"0 to {len(inside) - 1}" if inside else "it is empty"
                raise WrongValue(f"no {shown(word)} in {so_far} ({right})")
            step = int(word)
        elif not isinstance(inside, dict):
            raise WrongValue(f"{so_far} has no fields (it is {shown(inside)})")
        elif not last and number > 0 and word not in inside:
            raise WrongValue(f"no {shown(word)} in {so_far} ({nearest(word, inside, 'known')})")
        elif not last:
            inside.setdefault(word, {})
        path.append(step)
        if last:
            inside[step] = value
        else:
            inside = inside[step]
    return tuple(path)


def inside(data: Any, location: Path) -> Path:
    """The part of a pydantic location that is in the data.

    The rest is the kind of a union, a field that is missing, or `[key]`.
    """
    path: list[str | int] = []
    for step in location:
        try:
            data = data[step]
        except (LookupError, TypeError):
            continue
        path.append(step)
    return tuple(path)


def nearest(word: object, known: Iterable[str], kind: str) -> str:
    """What would have been right: the word that was meant, or all words that there are."""
    known = sorted(known) or ["none"]
    close = closest(word, known)
    return f"did you mean {close!r}?" if close else f"{kind}: {', '.join(known)}"


def closest(word: object, known: Iterable[str]) -> str | None:
    """The one of the known words that is meant, if one is."""
    return next(iter(difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)), None)


def parse(text: str, source: str) -> Document:
    """Reads one YAML mapping. Raises ScenarioError with the position of what is no good."""
    reader = _Reader(source)
    root = _compose(text, reader)
    if root is None:
        raise ScenarioError([f"{source}:1:1: the file is empty (a scenario is a mapping)"])
    if not isinstance(root, yaml.MappingNode):
        where = reader.position(root.start_mark)
        raise ScenarioError([f"{where}: not a mapping (a scenario is key: value lines)"])
    data = reader.mapping(root.value, ())
    if reader.problems:
        raise ScenarioError(reader.problems)
    return Document(source, data, reader.values, reader.keys)


def fragment(text: str, source: str) -> Any:
    """The plain value of a piece of YAML, such as the right side of `--set path=value`.

    Raises ScenarioError; `source` is named as its position.
    """
    reader = _Reader(source)
    root = _compose(text, reader)
    value = None if root is None else reader.read(root, ())
    if reader.problems:
        raise ScenarioError(reader.problems)
    return value


def _compose(text: str, reader: "_Reader") -> yaml.Node | None:
    try:
        node: yaml.Node | None = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        what = f"character {chr(error.character)!r} is not allowed (remove it)"
        raise ScenarioError([f"{reader.source}:{line}:{column}: {what}"]) from None
    except yaml.MarkedYAMLError as error:
        where = reader.position(error.problem_mark or error.context_mark)
        raise ScenarioError([f"{where}: {_plain(error)}"]) from None
    return node


class _RefusedError(yaml.MarkedYAMLError):
    """Good YAML that a scenario has no use for."""


def _plain(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if isinstance(error, _RefusedError):
        return problem
    if r"'\t'" in problem:
        return "a tab (indent with spaces)"
    if "expected a single document" in (error.context or ""):
        return "a second document (one scenario a file)"
    context = f"{error.context}, " if error.context else ""
    return f"not valid YAML: {context}{problem}"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, bounded in depth and without aliases: a page of them fills memory."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark: Any = self.peek_event().start_mark  # type: ignore[no-untyped-call] # so in its stubs
        if self.check_event(yaml.AliasEvent):
            raise _RefusedError(problem="an alias (write the value out)", problem_mark=mark)
        if self.depth > DEEPEST:
            raise _RefusedError(problem=f"nested deeper than {DEEPEST}", problem_mark=mark)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclass
class _Reader:
    """Turns YAML nodes into plain data, keeping positions and collecting problems."""

    source: str
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def position(self, mark: Any) -> Position:
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return Position(line, column, f"{self.source}:{line}:{column}")

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.values[path] = self.position(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node.value, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node)

    def mapping(self, pairs: Sequence[tuple[yaml.Node, yaml.Node]], path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in pairs:
            position = self.position(key_node.start_mark)
            key = self.scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self.problems.append(f"{position}: a key that is not a text (put it in quotes)")
            elif key in result:
                first = self.keys[(*path, key)].line
                self.problems.append(
                    f"{position}: key {shown(key)} is given twice (it is in line {first} already)"
                )
            else:
                self.keys[(*path, key)] = position
                result[key] = self.read(value_node, (*path, key))
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        construct = yaml.constructor.SafeConstructor()
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return construct.construct_yaml_bool(node)
                case "int":
                    number = construct.construct_yaml_int(node)
                    if abs(number) < LARGEST:
                        return number
                case "float":
                    return construct.construct_yaml_float(node)
                case "str" | "timestamp" | "value" | "merge":
                    return str(node.value)
                case _:
                    what = f"tag {shown(node.tag)} is not allowed (leave it out)"
                    self.problems.append(f"{self.position(node.start_mark)}: {what}")
                    return None
        except (ValueError, KeyError, OverflowError, IndexError):
            pass
        what = f"{shown(node.value)} cannot be read as {kind} (in quotes, if it is a text)"
        self.problems.append(f"{self.position(node.start_mark)}: {what}")
        return None
