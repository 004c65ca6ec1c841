"""Reference tables made from the code: the directive `{generated}` names which.

```{generated} figures detection
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from meanings import FIGURES
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from bench.engines.live.meters import postgresql, zookeeper
from bench.frames import COLUMNS
from bench.scenario import schema
from bench.scenario.quantities import PER_SECOND, PERCENT, SECONDS, pattern
from bench.scenario.slo import METRICS, ONLY_ON


class Generated(SphinxDirective):
    """Markdown from a function of this module, as if it stood in the document."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        name, *arguments = self.arguments
        text = TABLES[name](*arguments)
        source, _ = self.get_source_info()
        holder = nodes.container()
        holder.document = self.state.document
        self.state.nested_parse(StringList(text.splitlines(), source), 0, holder, match_titles=True)
        return holder.children


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx calls it."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("generated", Generated)
    app.connect("autodoc-process-docstring", _literal_blocks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# The scenario

_TEXTS = {
    pattern(SECONDS): "duration",
    f"^-?{pattern(SECONDS)[1:]}": "duration, or a negative one",
    pattern(PERCENT): "fraction",
    pattern(PER_SECOND): "rate",
}
"""What a text is, by the pattern that it has to match."""

_PLAIN = {"integer": "whole number", "boolean": "`true` or `false`", "object": "mapping"}


def scenario() -> str:
    """Every mapping of a scenario file with its keys, in the order of their first mention."""
    root = schema()
    parts, waiting = {"Scenario": root}, [root]
    while waiting:
        mentioned = re.findall(r"'#/\$defs/(\w+)'", str(waiting.pop(0)["properties"]))
        for name in dict.fromkeys(mentioned):
            if name not in parts:
                parts[name] = root["$defs"][name]
                waiting.append(parts[name])
    return "\n".join(line for name, part in parts.items() for line in _mapping(name, part))


def _mapping(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {name}", "", str(part["description"]), "")
    yield from ("| key | value | unless given | |", "|---|---|---|---|")
    for key, field in part["properties"].items():
        default = field.get("default")
        absent = "" if default is None else f"`{default}`"
        absent = "required" if key in part.get("required", ()) else absent
        yield f"| `{key}` | {_value(field)} | {absent} | {_cell(field.get('description', ''))} |"
    yield ""


def _value(field: Mapping[str, Any]) -> str:
    """What may be written there."""
    kinds = list(dict.fromkeys(kind for kind in _kinds(field) if kind))
    if set(kinds) & set(_TEXTS.values()):  # each may be written as a bare number, too
        kinds.remove("number")
    return " or ".join(kinds)


def _kinds(field: Mapping[str, Any]) -> Iterator[str]:
    for each in (*field.get("anyOf", ()), *field.get("oneOf", ())):
        yield from _kinds(each)
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        yield f"[{name}](#{name.lower()})"
    elif "enum" in field or "const" in field:
        yield from (f"`{word}`" for word in field.get("enum", (field.get("const"),)))
    elif field.get("type") == "array":
        yield _list(field["items"])
    elif "patternProperties" in field:
        [each] = field["patternProperties"].values()
        yield f"names, each with {_value(each)}"
    elif field.get("type") == "string":
        yield _TEXTS.get(field.get("pattern", ""), "" if _is_whole(field) else "text")
    elif field.get("type") != "null":
        yield _PLAIN.get(kind := field.get("type", ""), kind)


def _list(items: Mapping[str, Any]) -> str:
    if any(word in str(items) for word in METRICS):
        return "list of [rules](summary.md)"
    return f"list of {_value(items)}" + ("" if "$ref" in items else "s")


def _is_whole(field: Mapping[str, Any]) -> bool:
    """A whole number, written with underscores."""
    return bool(re.match(field.get("pattern", "^$"), "10_000"))


# Results


def columns(frame: str) -> str:
    """The columns of one of `bench.load`'s frames."""
    lines = ["| column | type | unit | |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {column.dtype} | {column.unit} | {_cell(column.meaning)} |"
        for name, column in COLUMNS[frame].items()
    ]
    return "\n".join(lines)


def figures(part: str) -> str:
    """The figures of one part of a backend's summary, those together that are in the same places.

    Raises: KeyError for a figure that `meanings` doesn't explain.
    """
    places: dict[str, list[str]] = {}
    for path in METRICS:
        place, _, figure = path.rpartition(".")
        if path.split(".")[0] == part:
            places.setdefault(figure, []).append(place or "the backend itself")
    tables: dict[tuple[str, ...], list[str]] = {}
    for figure, there in places.items():
        tables.setdefault(tuple(there), []).append(figure)
    lines = []
    for shared, names in tables.items():
        lines += ["", f"{_in(*shared)}:", ""]
        lines += ["| figure | unit | |", "|---|---|---|"]
        for figure in names:
            path = f"{shared[0]}.{figure}"
            kind = ONLY_ON.get(path)
            only = f" Only of {kind} backends." if kind else ""
            lines.append(f"| `{figure}` | {_unit(path)} | {_cell(FIGURES[part][figure])}{only} |")
    return "\n".join(lines)


def _in(first: str, *others: str) -> str:
    """Where figures stand, the further places named from the first one on."""
    below = ", ".join(f"`{place.removeprefix(first)}`" for place in others)
    return f"In `{first}`" + (f", and below it in {below}" if below else "")


def _unit(path: str) -> str:
    described = METRICS[path][1].partition(" (")[0]
    unit = {"a duration": "s", "an amount of bytes": "bytes", "a fraction": "share"}
    return unit.get(described, "")


def meters(server: str) -> str:
    """What a server is asked for, and what it is called here."""
    asked = {"postgresql": postgresql.METRICS, "zookeeper": zookeeper.METRICS}[server]
    lines = ["| metric | unit | the server's own name |", "|---|---|---|"]
    lines += [f"| `{metric}` | {unit} | `{own}` |" for own, (metric, unit) in asked.items()]
    return "\n".join(lines)


TABLES: Mapping[str, Callable[..., str]] = {
    "scenario": scenario,
    "columns": columns,
    "figures": figures,
    "meters": meters,
}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# Docstrings

_BEFORE_CODE = re.compile(r"^([^\s*-].*?)(:*)\n\n(?=    \S)", re.MULTILINE)


def _literal_blocks(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Indented text is code: autodoc reads reStructuredText, which wants `::` before it."""
    text = _BEFORE_CODE.sub(
        lambda found: f"{found[1]}::\n\n" if found[2] else f"{found[1]}\n\n::\n\n", "\n".join(lines)
    )
    lines[:] = text.split("\n")
