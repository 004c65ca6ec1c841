"""The loader says ScenarioError, with positions, or returns a scenario; whatever it is given."""

import random
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import ScenarioError
from bench.plan import plan
from bench.scenario import Scenario, dump, loads

GOOD = [file.read_text() for file in sorted(Path(__file__).parents[2].glob("scenarios/*.yaml"))]
PROBLEM = re.compile(r"(f\.yaml:[0-9]+:[0-9]+|--set .*): [^\n]*[^\n ][^\n]*\Z")

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10s", "1%", "1000/s", "read", "sql", "zookeeper", "nova", "-1s", "zk"])
)
keys = st.text(max_size=6) | st.sampled_from(
    ["version", "name", "seed", "backends", "services", "count", "phases", "slo", "matrix", "kind"]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def check(text: str, overrides: list[str]) -> Scenario | None:
    try:
        return loads(text, "f.yaml", overrides)
    except ScenarioError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert PROBLEM.match(problem), problem
    return None


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    check(text, [])


@given(trees)
@settings(max_examples=150, deadline=None)
def test_any_yaml(tree: object) -> None:
    check(yaml.safe_dump(tree, allow_unicode=True), [])


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=300, deadline=None)
def test_a_good_file_with_any_part_replaced_by_anything(text: str, data: st.DataObject) -> None:
    """Where it still loads, it can be planned, and its dump is the same scenario."""
    tree = yaml.safe_load(text)
    place, step = tree, data.draw(st.sampled_from(sorted(tree)))
    while data.draw(st.booleans()) and isinstance(place[step], dict | list) and place[step]:
        place = place[step]
        step = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
    place[step] = data.draw(trees)
    scenario = check(yaml.safe_dump(tree, allow_unicode=True), [])
    if scenario is not None and scenario.services.count <= 10_000 and scenario.repeat <= 10:
        assert plan(scenario)
        assert loads(dump(scenario), "dumped") == scenario


def test_a_name_of_several_lines_is_told_on_one() -> None:
    tree = yaml.safe_load(next(text for text in GOOD if "db-tuned: mistakes" in text))
    tree["backends"] = {"\n": None}
    assert check(yaml.safe_dump(tree), []) is None


@given(st.sampled_from(GOOD), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_a_good_file_with_characters_changed(text: str, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(text))
        letter = chance.choice("{}[]:,-'\"#&*!|>%@`\t\n 0z.~?=<\\\u00e9\x00")
        text = text[:at] + letter + text[at + chance.randrange(3) :]
    check(text, [])


@given(
    st.text(max_size=12)
    | st.sampled_from(["services", "backends.zk", "phases.1.fault", "slo.0", "matrix", "audit.x"]),
    st.text(max_size=12) | trees.map(lambda tree: yaml.safe_dump(tree, default_flow_style=True)),
)
@settings(max_examples=200, deadline=None)
def test_any_override(path: str, value: str) -> None:
    check(GOOD[-1], [f"{path}={value}"])


def test_aliases_cannot_blow_up() -> None:
    """A page of aliases to aliases stands for gigabytes; it is refused at the first."""
    bomb = "a: &a [1]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(50))
    with pytest.raises(ScenarioError, match=r"f\.yaml:2:10: an alias \(write the value out\)"):
        loads(bomb, "f.yaml")
