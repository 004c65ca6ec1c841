"""What a right scenario becomes: quantities, rules, overrides, sweeps, the editors' schema."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.scenario import (
    LinkFault,
    ServerFault,
    ServiceFault,
    SqlBackend,
    ZooKeeperBackend,
    at,
    dump,
    find,
    load,
    loads,
    points,
    schema,
)
from bench.scenario import quantities as q
from bench.scenario.slo import METRICS, parse

SHIPPED = sorted(Path(__file__).parents[2].glob("scenarios/*.yaml"))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("10s", 10), ("500ms", 0.5), ("2m", 120), ("2 min", 120), ("1h", 3600), (1.5, 1.5), (3, 3),
     ("1_000s", 1000), ("0.25s", 0.25), (0, 0)],
)  # fmt: skip
def test_durations_are_seconds(written: object, seconds: float) -> None:
    assert q.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["", "s", "10", "10 s s", "1e3s", "--1s", "1__0s", "10S", "\u0661s", "10s\n", True, None, [],
     math.nan, 10**400],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(q.WrongValue, match="is not a duration"):
        q.duration(written)


def test_fractions_rates_and_whole_numbers() -> None:
    assert q.fraction("1%") == pytest.approx(0.01)
    assert q.fraction(1) == 1
    assert q.rate("60/m") == q.rate(1) == 1
    assert q.whole("10_000", 1, 10_000) == q.whole(10_000.0, 1, 10_000) == 10_000


@pytest.mark.parametrize(
    ("rule", "backend", "metric", "op", "value"),
    [
        ("zk: detection.p99 <= 13s", "zk", "detection.p99", "<=", 13.0),
        ({"zk": "detection.p99 <= 500ms"}, "zk", "detection.p99", "<=", 0.5),
        ("mistakes.count == 0", None, "mistakes.count", "==", 0.0),
        ("mistakes.count==0", None, "mistakes.count", "==", 0.0),
        ("mistakes.query_accuracy >= 99.9%", None, "mistakes.query_accuracy", ">=", 0.999),
        ("mistakes.rate_upper95 < 1e-4", None, "mistakes.rate_upper95", "<", 0.0001),
        ("db: load.network_bytes < 64 MB", "db", "load.network_bytes", "<", 64e6),
    ],
)
def test_a_rule_is_read_into_base_units(
    rule: object, backend: str | None, metric: str, op: str, value: float
) -> None:
    slo = parse(rule)
    assert (slo.backend, slo.metric, slo.op) == (backend, metric, op)
    assert slo.value == pytest.approx(value)
    assert parse(slo.rule) == slo


@pytest.mark.parametrize(
    ("op", "holds"),
    [("<=", [1, 2]), ("<", [1]), (">=", [2, 3]), (">", [3]), ("==", [2]), ("!=", [1, 3])],
)
def test_a_rule_holds_by_its_operator_and_never_for_nan(op: str, holds: list[float]) -> None:
    slo = parse(f"mistakes.count {op} 2")
    assert [value for value in (1, 2, 3, math.nan) if slo.holds(value)] == holds


def test_overrides_are_typed_by_yaml_and_replace_what_the_file_says() -> None:
    scenario = load(
        find("quickstart"),
        [
            "services.count=500",
            "backends.zk.session_timeout=8s",
            "phases.1.fault.select={names: [compute-000003]}",
            "audit.lateness_p99=100ms",
            "backends.zk2={kind: zookeeper, session_timeout: 10s}",
        ],
    )
    zk, added = scenario.backends["zk"], scenario.backends["zk2"]
    assert isinstance(zk, ZooKeeperBackend)
    assert isinstance(added, ZooKeeperBackend)
    assert scenario.services.count == 500
    assert (zk.session_timeout, added.session_timeout) == (8.0, 10.0)
    assert isinstance(scenario.phases[1].fault, ServiceFault)
    assert scenario.phases[1].fault.select.names == ("compute-000003",)
    assert scenario.audit.lateness_p99 == pytest.approx(0.1)


def test_a_matrix_gives_every_combination_as_a_scenario_without_one() -> None:
    scenario = load(
        find("quickstart"),
        ["matrix={services.count: [1000, 2000], backends.db-nova.interval: [1s, 2s]}"],
    )
    found = [at(scenario, point) for point in points(scenario)]
    intervals = [it.backends["db-nova"] for it in found]
    assert [it.services.count for it in found] == [1000, 1000, 2000, 2000]
    assert [it.interval for it in intervals if isinstance(it, SqlBackend)] == [1.0, 2.0, 1.0, 2.0]
    assert all(it.matrix == {} for it in found)


def test_a_scenario_cannot_be_changed() -> None:
    scenario = load(find("quickstart"))
    with pytest.raises(ValueError, match="frozen"):
        scenario.seed = 2


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_each_shipped_scenario_loads_and_its_dump_is_the_same_scenario(file: Path) -> None:
    scenario = load(file)
    assert scenario.name == file.stem
    assert loads(dump(scenario), "dumped") == scenario


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_schema_accepts_each_shipped_scenario_as_written_and_as_dumped(file: Path) -> None:
    assert accepts(yaml.safe_load(file.read_text()))
    assert accepts(yaml.safe_load(dump(load(file))))


def test_the_schema_accepts_every_way_to_write_a_quantity() -> None:
    data = yaml.safe_load(find("quickstart").read_text())
    data["services"] |= {"count": "1_000", "ramp": 250.5}
    data["phases"] = [
        {"settle": "1_000ms"},
        {"hold": 1.5},
        {"fault": {"kind": "freeze", "select": {"fraction": "2.5 %"}, "for": "1 min"}},
    ]
    data["slo"] += [{"zk": "detection.every.p99 <= 13s"}, "db-nova:load.statements<5"]
    loads(yaml.safe_dump(data), "quantities")
    assert accepts(data)


FAULTS: list[dict[str, Any]] = [
    {"kind": "power-loss", "select": {"racks": [0, "1"]}, "over": "3s"},
    {"kind": "freeze", "select": {"count": 1}, "for": {"exponential": "8s"}},
    {"kind": "freeze", "select": {"count": 1}, "for": {"uniform": ["500ms", 30]}},
    {"kind": "freeze", "select": {"count": 1}, "for": {"lognormal": {"median": 4, "sigma": 0.7}}},
    {"kind": "restart", "select": {"count": 2}, "every": "200ms", "stop": "leave", "for": 0},
    {"kind": "flap", "select": {"count": 1}, "for": "3s", "up": 2, "times": 5},
    {"kind": "skew", "select": {"count": 1}, "offset": "-90s", "for": "1m"},
    {"kind": "skew", "select": {"count": 1}, "offset": 90},
    {"kind": "cut", "select": {"racks": 1}, "direction": "in", "for": "20s"},
    {"kind": "loss", "select": {"racks": [2]}, "rate": "80%"},
    {"kind": "delay", "select": {"racks": [3]}, "delay": "100ms", "jitter": "20ms"},
    {"kind": "kill", "servers": "leader"},
    {"kind": "pause", "servers": [1], "for": "5s"},
    {"kind": "restart", "servers": "all"},
]


def test_every_kind_of_fault_is_read_dumped_and_accepted_by_the_schema() -> None:
    data = yaml.safe_load(find("quickstart").read_text())
    data["services"]["racks"] = 6
    data["phases"] = [{"fault": fault} for fault in FAULTS]
    scenario = loads(yaml.safe_dump(data), "faults")
    assert accepts(data)
    assert accepts(yaml.safe_load(dump(scenario)))
    assert loads(dump(scenario), "dumped") == scenario
    kinds = [type(phase.fault) for phase in scenario.phases]
    assert kinds == [ServiceFault] * 8 + [LinkFault] * 3 + [ServerFault] * 3


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "crash", "servers": "all"},
        {"kind": "kill", "select": {"count": 1}},
        {"kind": "cut", "select": {"count": 1}},
        {"kind": "freeze", "select": {"count": 1}, "for": {"uniform": [1, 2, 3]}},
        {"kind": "skew", "select": {"count": 1}, "offset": "soon"},
    ],
)
def test_the_schema_refuses_a_fault_that_mixes_the_families(fault: dict[str, Any]) -> None:
    phases = {"phases": [{"fault": fault}]}
    assert not accepts(yaml.safe_load(find("quickstart").read_text()) | phases)


@pytest.mark.parametrize(
    ("servers", "kind", "hit"),
    [
        # on one PostgreSQL, one ZooKeeper, and three and five of them
        ("leader", "kill", [1, 1, 1, 1]),
        ("any", "pause", [1, 1, 1, 1]),
        ("all", "restart", [1, 1, 3, 5]),
        ("follower", "kill", [0, 0, 1, 1]),
        ("majority", "kill", [0, 1, 2, 3]),
        ((1, 3), "kill", [0, 0, 2, 2]),
        ((1,), "kill", [1, 1, 1, 1]),
        ("leader", "cut", [0, 0, 1, 1]),
        ("all", "cut", [0, 0, 3, 5]),
    ],
)
def test_a_fault_of_servers_hits_those_that_a_backend_has(
    servers: Any, kind: Any, hit: list[int]
) -> None:
    fault = ServerFault(kind=kind, servers=servers, **{"for": 1.0})
    sql = SqlBackend(kind="sql", profile="nova", interval=1.0, timeout=5.0, poll=1.0)
    ensembles = [
        ZooKeeperBackend(kind="zookeeper", servers=number, session_timeout=10.0)
        for number in (1, 3, 5)
    ]
    assert [fault.hits(sql), *map(fault.hits, ensembles)] == hit


@pytest.mark.parametrize(
    "wrong",
    [
        {"observers": "few"},
        {"nonsense": 1},
        {"name": "Not Good"},
        {"phases": []},
        {"slo": ["detection.p98 <= 3"]},
        {"services": {"count": 0}},
        {"backends": {"zk": {"kind": "zookeeper"}}},
        {"backends": {"zk": {"kind": "redis"}}},
    ],
)
def test_the_schema_refuses_what_is_wrong_in_itself(wrong: dict[str, Any]) -> None:
    assert not accepts(yaml.safe_load(find("quickstart").read_text()) | wrong)


def test_the_schema_describes_every_field() -> None:
    whole = schema()
    models = [whole, *whole["$defs"].values()]
    fields = [(m["title"], k, f) for m in models for k, f in m["properties"].items()]
    assert len(fields) > 40
    assert [(model, key) for model, key, field in fields if not field.get("description")] == []


def test_each_metric_of_the_design_can_be_bounded() -> None:
    for metric in METRICS:
        assert parse(f"{metric} >= 0").metric == metric


TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": (int, float),
    "null": type(None),
}


def accepts(value: object) -> bool:
    """Whether our schema accepts a value: the keywords that pydantic writes, and no others."""
    whole = schema()

    def valid(value: object, rule: dict[str, Any]) -> bool:
        return all(check(value, keyword, want, rule) for keyword, want in rule.items())

    def check(value: Any, keyword: str, want: Any, rule: dict[str, Any]) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        mapping = value if isinstance(value, dict) else {}
        match keyword:
            case "$schema" | "$defs" | "title" | "description" | "default" | "discriminator":
                return True
            case "$ref":
                return valid(value, whole["$defs"][want.rsplit("/", 1)[-1]])
            case "anyOf":
                return any(valid(value, each) for each in want)
            case "oneOf":
                return sum(valid(value, each) for each in want) == 1
            case "const":
                return bool(value == want)
            case "enum":
                return value in want
            case "type":
                if isinstance(value, bool):
                    return bool(want == "boolean")
                whole_enough = want != "integer" or (number and float(value).is_integer())
                return bool(isinstance(value, TYPES[want]) and whole_enough)
            case "pattern":
                return not isinstance(value, str) or re.search(want, value) is not None
            case "minLength" | "minItems" | "minProperties":
                return not isinstance(value, str | list | dict) or len(value) >= want
            case "maxItems":
                return not isinstance(value, list) or len(value) <= want
            case "maxProperties":
                return bool(len(mapping) <= want)
            case "minimum":
                return not number or value >= want
            case "maximum":
                return not number or value <= want
            case "exclusiveMinimum":
                return not number or value > want
            case "items":
                return not isinstance(value, list) or all(valid(each, want) for each in value)
            case "required":
                return not isinstance(value, dict) or all(key in value for key in want)
            case "properties":
                return all(valid(part, want[key]) for key, part in mapping.items() if key in want)
            case "patternProperties":
                return all(
                    valid(part, each)
                    for key, part in mapping.items()
                    for pattern, each in want.items()
                    if re.search(pattern, key)
                )
            case "propertyNames":
                return all(valid(key, want) for key in mapping)
            case "additionalProperties":
                patterns = rule.get("patternProperties", {})
                others = [
                    part
                    for key, part in mapping.items()
                    if key not in rule.get("properties", {})
                    and not any(re.search(pattern, key) for pattern in patterns)
                ]
                return all(
                    want is True or (want is not False and valid(part, want)) for part in others
                )
        raise AssertionError(f"{keyword}: a keyword that this test doesn't know")

    return valid(value, whole)
