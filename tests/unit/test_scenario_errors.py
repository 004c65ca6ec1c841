"""Everything that can be wrong with a scenario is told at its position, in exact words."""

from pathlib import Path

import pytest

from bench.errors import ScenarioError
from bench.scenario import find, load, loads

GOOD = """\
version: 1
name: good
question: Does it load?
seed: 1
backends:
  db: {kind: sql, profile: nova, interval: 10s, timeout: 60s, poll: read}
  zk: {kind: zookeeper, session_timeout: 10s}
services: {count: 100, library: 10}
observers: 2
phases:
  - settle: 5s
  - fault: {kind: crash, select: {count: 5}, over: 5s}
  - hold: 90s
slo:
  - zk: detection.p99 <= 13s
"""

SAFE = "a safe name (a-z, 0-9 and -, starting with a letter or digit, at most 64)"

WRONG = [
    # what is written, in place of what, and the line and message that come of it
    ("seed: 1", "sed: 1", ["1:1: 'seed' is missing (add it)",
                           "4:1: unknown key 'sed' (did you mean 'seed'?)"]),
    ("seed: 1", "seed: -1", ["4:7: -1 is out of range (from 0 to 9223372036854775807)"]),
    ("seed: 1", "seed: 1.5", ["4:7: 1.5 is not a whole number (such as 10 or 10_000)"]),
    ("seed: 1", "seed: yes", ["4:7: True is not a whole number (such as 10 or 10_000)"]),
    ("seed: 1", "seed: 1" + "0" * 60,
     ["4:7: '1" + "0" * 55 + "... cannot be read as int (in quotes, if it is a text)"]),
    ("seed: 1", "seed: 1\nseed: 2", ["5:1: key 'seed' is given twice (it is in line 4 already)"]),
    ("seed: 1", "seed: !!python/name:os.system ''",
     ["4:7: tag 'tag:yaml.org,2002:python/name:os.system' is not allowed (leave it out)"]),
    ("seed: 1", "seed: &a 1\nobservers: *a", ["5:12: an alias (write the value out)"]),
    ("seed: 1", "seed: [", [("6:5: not valid YAML: while parsing a flow sequence, "
                            "expected ',' or ']', but got ':'")]),
    ("seed: 1", "\tseed: 1", ["4:1: a tab (indent with spaces)"]),
    ("seed: 1", "seed: 1\n---\na: 1", ["5:1: a second document (one scenario a file)"]),
    ("seed: 1", "seed: 1\n2: x", ["5:1: a key that is not a text (put it in quotes)"]),
    ("seed: 1", "seed: 1\n\x01", ["5:1: character '\\x01' is not allowed (remove it)"]),
    ("seed: 1", "seed: " + "[" * 30, ["4:27: nested deeper than 20"]),
    ("version: 1", "version: 2", ["1:10: unknown value 2 (known: 1)"]),
    ("name: good", "name: Not/Good",
     [f"2:7: 'Not/Good' is not {SAFE}"]),
    ("name: good", "name: ..",
     [f"2:7: '..' is not {SAFE}"]),
    ("question: Does it load?", "question: 5", ["3:11: 5 is not a text (put it in quotes)"]),
    ("  db: {", "  Db_1: {",
     [f"6:3: 'Db_1' is not {SAFE}"]),
    ("kind: zookeeper", "kind: zookeper",
     ["7:7: unknown kind 'zookeper' (did you mean 'zookeeper'?)"]),
    ("kind: zookeeper, ", "", ["7:7: 'kind' is missing (add it)"]),
    ("profile: nova", "profile: nvoa", ["6:28: unknown value 'nvoa' (did you mean 'nova'?)"]),
    ("timeout: 60s", "tiemout: 60s", ["6:7: 'timeout' is missing (add it)",
                                      "6:49: unknown key 'tiemout' (did you mean 'timeout'?)"]),
    ("timeout: 60s", "timeout: 10s",
     [("6:58: timeout 10s is no longer than interval 10s (every live service would be called "
      "down; more than 10s)")]),
    ("timeout: 60s", "timeout: -3s", ["6:58: '-3s' is negative (a duration is 0 or more)"]),
    ("timeout: 60s", "timeout: 0", ["6:58: 0 is too short (more than 0s)"]),
    ("timeout: 60s", "timeout: .nan",
     ["6:58: nan is not a duration (such as 10s, 500ms, 2m or 1.5)"]),
    ("timeout: 60s", "timeout: .inf",
     ["6:58: inf is not a duration (such as 10s, 500ms, 2m or 1.5)"]),
    ("timeout: 60s", "timeout: 60 parsecs",
     ["6:58: '60 parsecs' is not a duration (such as 10s, 500ms, 2m or 1.5)"]),
    ("timeout: 60s", "timeout: 1000000h", ["6:58: '1000000h' is too long (30 days at most)"]),
    ("poll: read", "poll: reed",
     ["6:69: 'reed' is not a way to poll (a duration such as 1s, or read)"]),
    ("poll: read", "poll: 0s", ["6:69: 0 is too short (more than 0s)"]),
    ("poll: read", "poll: -1", ["6:69: -1 is negative (a duration is 0 or more)"]),
    ("poll: read", "poll: 1s, synchronous_commit: 1",
     ["6:93: 1 is neither true nor false (true or false)"]),
    ("nova, interval: 10s", "tuned, stamp: conductor, interval: 10s",
     ["6:42: profile tuned takes the database's clock (stamp belongs to profile nova)"]),
    ("session_timeout: 10s", "session_timeout: 3s",
     ["7:42: session_timeout 3s would not be granted (2 to 20 ticks of 2s are 4s to 40s)"]),
    ("session_timeout: 10s", "session_timeout: 41s",
     ["7:42: session_timeout 41s would not be granted (2 to 20 ticks of 2s are 4s to 40s)"]),
    ("session_timeout: 10s", "session_timeout: 50s, max_session_timeout: 45s",
     ["7:42: session_timeout 50s would not be granted (the server grants 4s to 45s)"]),
    ("session_timeout: 10s", "session_timeout: 10s, min_session_timeout: 60s",
     [("7:68: the least session timeout 60s exceeds the most 40s (min_session_timeout is at most "
      "max_session_timeout)")]),
    ("session_timeout: 10s", "session_timeout: 10s, warm_up: 200_000",
     [("7:56: 200,000 sessions would warm servers up for longer than a run takes (at most "
       "100,000; 20,000 leave three servers little to compile)")]),
    ("session_timeout: 10s", "session_timeout: 10s, servers: 4",
     ["7:56: 4 servers survive no more losses than 3 (an odd number: 3 or 5)"]),
    ("services: {count: 100, library: 10}", "services: 100",
     ["8:11: 100 is not a mapping (key: value)"]),
    ("library: 10", "library: 101",
     ["8:33: 101 of 100 services cannot be library ones (at most 100)"]),
    ("library: 10", "racks: 200", ["8:31: 200 racks for 100 services (at most 100)"]),
    ("library: 10", "ramp: 0/s", ["8:30: '0/s' is too low (more than 0 a second)"]),
    ("library: 10", "ramp: fast", ["8:30: 'fast' is not a rate (such as 1000/s)"]),
    ("library: 10", "group: A b",
     [f"8:31: 'A b' is not {SAFE}"]),
    ("count: 100", "count: 2_000_000", ["8:19: 2000000 is out of range (from 1 to 1000000)"]),
    ("observers: 2", "observers: 0", ["9:12: 0 is out of range (from 1 to 1000)"]),
    ("settle: 5s", "setle: 5s", ["11:5: an empty phase (settle, hold or fault)",
                                 "11:5: unknown key 'setle' (did you mean 'settle'?)"]),
    ("settle: 5s", "{settle: 5s, hold: 3s}",
     ["11:24: settle and hold in one phase (each in a line of its own)"]),
    ("kind: crash", "kind: crush", ["12:19: unknown value 'crush' (did you mean 'crash'?)"]),
    ("kind: crash", "kind: freeze", ["12:12: a freeze lacks for (add it: how long it is stopped)"]),
    ("over: 5s", "for: 5s",
     ["12:51: a crash takes no for (it belongs to freeze, flap, restart, skew)"]),
    ("kind: crash, ", "kind: freeze, for: 0s, ", ["12:32: 0 is too short (more than 0s)"]),
    ("{count: 5}", "{}", ["12:34: selects nobody (one of count, fraction, names or racks)"]),
    ("{count: 5}", "{count: 5, fraction: 1%}",
     ["12:55: count and fraction at once (one of them)"]),
    ("{count: 5}", "{count: 0}", ["12:42: 0 is out of range (from 1 to 1000000)"]),
    ("{count: 5}", "{count: 101}", ["12:42: selects 101 of 100 services (at most 100)"]),
    ("{count: 5}", "{count: 11, client: library}",
     ["12:42: selects 11 of 10 library services (at most 10)"]),
    ("{count: 5}", "{fraction: 0.1%}",
     ["12:45: selects nobody: 0.001 of 100 services rounds to none (at least 0.01)"]),
    ("{count: 5}", "{fraction: 101%}",
     ["12:45: '101%' is out of range (more than 0%, at most 100%)"]),
    ("{count: 5}", "{names: [compute-000100, compute-7]}",
     ["12:43: there is no service 'compute-000100' (compute-000000 to compute-000099)",
      "12:59: there is no service 'compute-7' (compute-000000 to compute-000099)"]),
    ("{count: 5}", "{names: [compute-000001, compute-000001]}",
     ["12:59: service 'compute-000001' is named twice (once)"]),
    ("{count: 5}", "{names: [compute-000009], client: wire}",
     ["12:43: compute-000009 is a library service (client: library)"]),
    ("  - hold: 90s", "  - fault: {kind: leave, select: {count: 96}}",
     [("13:42: selects 96 services, but other faults leave 95 (at most 95, since a service meets "
      "at most one fault)")]),
    ("count: 100, library: 10", "count: 100", []),
    ("zk: detection.p99", "zkk: detection.p99",
     ["15:5: unknown backend 'zkk' (did you mean 'zk'?)"]),
    ("detection.p99", "detection.p98",
     ["15:5: unknown metric 'detection.p98' (did you mean 'detection.p99'?)"]),
    ("<= 13s", "=< 13s",
     [("15:5: 'zk: detection.p99 =< 13s' is not a rule ([backend:] metric operator value, such as "
      "'zk: detection.p99 <= 13s')")]),
    ("<= 13s", "<= 13%",
     ["15:5: '13%' is not a duration for detection.p99 (such as 13s or 500ms)"]),
    ("detection.p99 <= 13s", "load.statements <= 5",
     ["15:5: zk is not sql and has no load.statements (name one of db)"]),
    ("slo:", "repeat: 2_000\nslo:", ["14:9: 2000 is out of range (from 1 to 1000)"]),
    ("slo:", "matrix: {services.cout: [1]}\nslo:",
     ["14:10: unknown key 'cout' (did you mean 'count'?)"]),
    ("slo:", "matrix: {backends.zkk.tick: [1]}\nslo:",
     ["14:10: no 'zkk' in backends (did you mean 'zk'?)"]),
    ("slo:", "matrix: {repeat: [1]}\nslo:",
     ["14:10: repeat cannot differ between runs (services, backends, phases, observers, seed)"]),
    ("slo:", "matrix: {services.count: []}\nslo:", ["14:26: no values (at least one)"]),
    ("slo:", "matrix: {services.count: [100, 12, 4]}\nslo:",
     ["14:36: services.count: 4: 10 of 4 services cannot be library ones (at most 4)"]),
    ("slo:", "matrix: {phases.1.fault.select.count: [5, 500]}\nslo:",
     ["14:43: phases.1.fault.select.count: 500: selects 500 of 100 services (at most 100)"]),
    ("slo:", f"matrix: {{services.count: {[1000] * 600}, seed: {[1] * 20}}}\nslo:",
     ["14:9: 24,000 runs in all (at most 10,000)"]),
    ("slo:", "matrix: {services: [5], services.count: [1]}\nslo:",
     ["14:9: services has no fields (it is 5)"]),
    ("slo:", "audit: {lateness: 1s}\nslo:",
     ["14:9: unknown key 'lateness' (did you mean 'lateness_p99'?)"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), WRONG, ids=[f"{w[1]!r:.60}" for w in WRONG])
def test_each_error_has_its_position_and_what_would_be_right(
    old: str, new: str, expected: list[str]
) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    if not expected:
        loads(text, "f.yaml")
        return
    with pytest.raises(ScenarioError) as caught:
        loads(text, "f.yaml")
    assert list(caught.value.problems) == [f"f.yaml:{problem}" for problem in expected]


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        loads(text, "f.yaml", overrides)
    return list(caught.value.problems)


FAULT = "{kind: crash, select: {count: 5}, over: 5s}"

WRONG_FAULTS = [
    # in place of FAULT, and the column and message that come of it
    ("{kind: freeze, select: {count: 5}, for: {}}",
     ["52: no distribution (one of exponential, uniform or lognormal)"]),
    ("{kind: freeze, select: {count: 5}, for: {exponential: 8s, uniform: [1s, 2s]}}",
     ["79: exponential and uniform at once (one of them)"]),
    ("{kind: freeze, select: {count: 5}, for: {uniform: [2s, 1s]}}",
     ["62: 1s is not above 2s (the shorter one comes first)"]),
    ("{kind: freeze, select: {count: 5}, for: {uniform: [2s]}}",
     ["62: ['2s'] is not two durations (such as [2s, 30s])"]),
    ("{kind: freeze, select: {count: 5}, for: {lognormal: {median: 4s}}}",
     ["64: 'sigma' is missing (add it)"]),
    ("{kind: freeze, select: {count: 5}, for: {lognormal: {median: 4s, sigma: 0}}}",
     ["84: 0 is too low (more than 0)"]),
    ("{kind: freeze, select: {count: 5}, for: {exponentail: 4s}}",
     ["52: no distribution (one of exponential, uniform or lognormal)",
      "53: unknown key 'exponentail' (did you mean 'exponential'?)"]),
    ("{kind: freeze, select: {count: 5}, for: soon}",
     ["52: 'soon' is not a duration (such as 10s, 500ms, 2m or 1.5)"]),
    ("{kind: flap, select: {count: 5}, for: 3s}",
     ["12: a flap lacks up (add it: how long it runs between two stops)"]),
    ("{kind: flap, select: {count: 5}, for: 3s, up: 2s, times: 0}",
     ["69: 0 is out of range (from 1 to 1000)"]),
    ("{kind: skew, select: {count: 5}}",
     ["12: a skew lacks offset (add it: how far its clock is off, such as 90s or -90s)"]),
    ("{kind: skew, select: {count: 5}, offset: 0s}",
     ["53: '0s' is out of range (not 0, and 30 days at most)"]),
    ("{kind: skew, select: {count: 5}, offset: fast}",
     ["53: 'fast' is not an offset (such as 90s or -90s)"]),
    ("{kind: restart, select: {count: 5}, stop: gently}",
     ["54: unknown value 'gently' (known: kill, leave)"]),
    ("{kind: crash, select: {count: 5}, stop: leave, offset: 3s}",
     ["52: a crash takes no stop (it belongs to restart)",
      "67: a crash takes no offset (it belongs to skew)"]),
    ("{kind: crash, select: {count: 5}, over: 5s, every: 1s}",
     ["63: over and every at once (one of them)"]),
    ("{kind: delya, select: {racks: 1}, delay: 1s}",
     ["19: unknown value 'delya' (did you mean 'delay'?)"]),
    ("{kind: pasue, servers: all, for: 3s}",
     ["19: unknown value 'pasue' (did you mean 'pause'?)"]),
    ("{kind: crash, select: {racks: [1]}}", ["43: there is no rack 1 (services.racks is 1)"]),
    ("{kind: crash, select: {racks: [0, 0]}}", ["46: rack 0 is named twice (once)"]),
    ("{kind: crash, select: {racks: []}}", ["42: nothing in it (at least one)"]),
    ("{kind: cut, select: {racks: 2}}", ["40: selects 2 of 1 racks (at most 1)"]),
    ("{kind: cut, select: {racks: [0, 0]}}", ["40: [0, 0] names a rack twice (each once)"]),
    ("{kind: cut, select: {racks: [7]}}", ["41: there is no rack 7 (services.racks is 1)"]),
    ("{kind: cut, select: {racks: few}}",
     ["40: 'few' is not a whole number (such as 10 or 10_000)"]),
    ("{kind: cut, select: {count: 3}}",
     ["32: 'racks' is missing (add it)", "33: unknown key 'count' (known: racks)"]),
    ("{kind: cut, select: {racks: 1}, rate: 80%}",
     ["50: a cut takes no rate (it belongs to loss)"]),
    ("{kind: cut, select: {racks: 1}, direction: up}",
     ["55: unknown value 'up' (known: both, in, out)"]),
    ("{kind: loss, select: {racks: 1}}",
     ["12: a loss lacks rate (add it: the share that is lost, such as 80%)"]),
    ("{kind: loss, select: {racks: 1}, rate: 0%}",
     ["51: '0%' is out of range (more than 0%, at most 100%)"]),
    ("{kind: delay, select: {racks: 1}}",
     ["12: a delay lacks delay (add it: how much longer a packet takes)"]),
    ("{kind: delay, select: {racks: 1}, delay: 10ms, jitter: 20ms}",
     ["67: jitter 0.02s is more than delay 0.01s (at most as much)"]),
    ("{kind: kill}", ["12: 'servers' is missing (add it)"]),
    ("{kind: kill, servers: leadr}",
     ["34: 'leadr' is no choice of servers (did you mean 'leader'?; or a list such as [1, 3])"]),
    ("{kind: kill, servers: []}", ["34: nothing in it (at least one)"]),
    ("{kind: kill, servers: [0]}", ["34: 0 is out of range (from 1 to 1000)"]),
    ("{kind: kill, servers: [1, 1]}", ["34: [1, 1] names a server twice (each once)"]),
    ("{kind: crash, servers: all}",
     ["19: unknown value 'crash' (known: cut, kill, pause, restart)"]),
    ("{kind: pause, servers: all}",
     ["12: a pause lacks for (add it: how long the servers are stopped)"]),
    ("{kind: pause, servers: all, for: 0s}", ["45: 0 is too short (more than 0s)"]),
    ("{kind: kill, servers: follower}",
     [("34: hits servers follower, but no backend here has them "
       "(leader, any and all are on every backend)")]),
    ("{kind: cut, servers: leader}",
     [("33: cuts servers from each other, but no backend here has them "
       "(kind: zookeeper with servers: 3 or more)")]),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "expected"), WRONG_FAULTS, ids=[w[0] for w in WRONG_FAULTS])
def test_each_wrong_fault_is_refused_at_its_position(fault: str, expected: list[str]) -> None:
    assert GOOD.count(FAULT) == 1
    assert problems(GOOD.replace(FAULT, fault)) == [f"f.yaml:12:{each}" for each in expected]


OTHERS = "services.racks=2"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("crash, select: {racks: [0]}", "cut, select: {racks: [0]}",
         "13:41: rack 0 is hit by another fault already (a service meets at most one)"),
        ("crash, select: {racks: [0], client: library}", "leave, select: {racks: [0]}",
         "13:43: rack 0 is hit by another fault already (a service meets at most one)"),
        ("crash, select: {racks: [0], client: library}",
         "leave, select: {racks: [0], client: wire}", None),
        ("crash, select: {names: [compute-000001]}", "cut, select: {racks: [0]}",
         ("12:43: compute-000001 is the victim of another fault already (a service meets at most "
          "one)")),
        ("crash, select: {names: [compute-000001]}", "cut, select: {racks: 1}", None),
        ("crash, select: {names: [compute-000001]}", "cut, select: {racks: 2}",
         ("13:40: selects 2 racks, but other faults leave 1 untouched (at most 1, since a service "
          "meets at most one fault)")),
        ("cut, select: {racks: 1}", "crash, select: {count: 50}", None),
        ("cut, select: {racks: 1}", "crash, select: {count: 51}",
         ("13:42: selects 51 services, but other faults leave 50 (at most 50, since a service "
          "meets at most one fault)")),
        ("cut, select: {racks: 1}", "crash, select: {count: 6, client: library}",
         ("13:42: selects 6 library services, but other faults leave 5 (at most 5, since a service "
          "meets at most one fault)")),
        ("cut, select: {racks: 2}", "pause, servers: leader, for: 3s", None),
    ],
)  # fmt: skip
def test_no_service_can_meet_two_faults(first: str, second: str, expected: str | None) -> None:
    """Which ones are drawn doesn't matter: of two racks either may be cut off."""
    both = f"{{kind: {first}}}\n  - fault: {{kind: {second}}}"
    text = GOOD.replace(FAULT, both)
    if expected is None:
        loads(text, "f.yaml", [OTHERS])
    else:
        assert problems(text, OTHERS) == [f"f.yaml:{expected}"]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    """Broken parts don't hide what is wrong among the others."""
    text = (
        GOOD.replace("seed: 1", "seed: x")
        .replace("profile: nova", "profile: nvoa")
        .replace("session_timeout: 10s", "session_timeout: 60s")
        .replace("{count: 5}", "{count: 500}")
        .replace("zk: detection", "zkk: detection")
    )
    assert problems(text, "observers=none", "services.cuont=5", "nothing") == [
        "f.yaml:4:7: 'x' is not a whole number (such as 10 or 10_000)",
        "f.yaml:6:28: unknown value 'nvoa' (did you mean 'nova'?)",
        "f.yaml:7:42: session_timeout 60s would not be granted (2 to 20 ticks of 2s are 4s to 40s)",
        "f.yaml:15:5: unknown backend 'zkk' (did you mean 'zk'?)",
        "--set observers=none: 'none' is not a whole number (such as 10 or 10_000)",
        "--set services.cuont=5: unknown key 'cuont' (did you mean 'count'?)",
        "--set nothing: not an override (such as services.count=500)",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("services.count=few", "'few' is not a whole number (such as 10 or 10_000)"),
        ("backends.zkk.tick=1s", "no 'zkk' in backends (did you mean 'zk'?)"),
        ("phases.7.hold=1s", "no '7' in phases (0 to 2)"),
        ("observers.count=1", "observers has no fields (it is 2)"),
        (".count=1", "not an override (such as services.count=500)"),
        ("services.library=101", "101 of 100 services cannot be library ones (at most 100)"),
        ("phases.1.fault.select={count: 101}", "selects 101 of 100 services (at most 100)"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_named_as_it_was_written(override: str, expected: str) -> None:
    assert problems(GOOD, override) == [f"--set {override}: {expected}"]


def test_a_wrong_piece_of_yaml_in_an_override_is_told() -> None:
    (problem,) = problems(GOOD, "seed={")
    assert problem.startswith("--set seed={:1:2: not valid YAML: while parsing a flow node, ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ":1:1: the file is empty (a scenario is a mapping)"),
        (b"# only a comment\n", ":1:1: the file is empty (a scenario is a mapping)"),
        (b"- a\n- b\n", ":1:1: not a mapping (a scenario is key: value lines)"),
        (b"\n  word", ":2:3: not a mapping (a scenario is key: value lines)"),
        (b"name: x\nseed: \xff", ":2:7: not a text in UTF-8 (save as UTF-8)"),
        (b"a" * 1_000_001, ": too large for a scenario (1,000,000 bytes at most)"),
    ],
)
def test_a_file_that_is_no_scenario_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(content)
    with pytest.raises(ScenarioError) as caught:
        load(file)
    assert list(caught.value.problems) == [f"{file}{expected}"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"cannot be read: Is a directory \(a scenario file\)"):
        load(tmp_path)
    with pytest.raises(ScenarioError, match=r"no\.yaml: cannot be read: No such file"):
        load(tmp_path / "no.yaml")
    for argument in ("x" * 5000, "nul\0", str(tmp_path)):
        with pytest.raises(ScenarioError, match="there is no such scenario"):
            find(argument)
    with pytest.raises(ScenarioError, match=r"there is no such scenario \(did you mean 'quicksta"):
        find("quickstrat")


def test_an_empty_mapping_misses_every_required_field() -> None:
    fields = ("backends", "name", "observers", "phases", "question", "seed", "services")
    assert problems("{}") == [f"f.yaml:1:1: {field!r} is missing (add it)" for field in fields]
