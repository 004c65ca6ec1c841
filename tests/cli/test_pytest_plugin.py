"""The fixture `heartbench`: what users' tests see of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engines.live.provision import ServerSpec
from bench.errors import ScenarioError
from bench.pytest_plugin import Heartbench
from bench.pytest_plugin import Result as UserResult
from tests.live.runs import require

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "ci.md"
SMALL = {"services": {"count": 20, "library": 2}, "phases": [{"settle": "1s"}, {"hold": "2s"}]}


def passed(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What pytest says of a file of tests, away from ours."""
    (folder / "test_user.py").write_text(code)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_guides_tests_pass(tmp_path: Path) -> None:
    """As they stand there, in the model; the results are where they were wanted."""
    code = "\n\n".join(
        re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    )
    options = ("--heartbench-engine", "sim", "--heartbench-out", "kept", "-W", "error")
    done = passed(tmp_path, code, *options)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert len(list(tmp_path.glob("kept/ci/*/summary.json"))) == 2 + 1  # and `latest`


@pytest.fixture(scope="module")
def result(heartbench: Heartbench) -> UserResult:
    """One whose objectives are not all met."""
    rules = ["zk: detection.p99 <= 1s", "mistakes.count == 0"]
    return heartbench.run("ci", engine="sim", set={"slo": rules})


def test_a_missed_objective_fails_the_test_and_says_by_how_much(result: UserResult) -> None:
    with pytest.raises(AssertionError) as failed:
        result.assert_good()
    p99 = result.backends["zk"]["detection"]["p99"]
    assert str(failed.value).splitlines() == [
        f"zk: detection.p99 <= 1s is not met, it is {p99:.4g}",
        f"result: {result.path}",
    ]


def test_an_invalid_run_is_not_good(result: UserResult) -> None:
    """However well its objectives were met."""
    spoilt = {**result.summary, "verdict": "invalid", "reasons": ["beats went out late"], "slo": []}
    with pytest.raises(AssertionError, match=r"^invalid: beats went out late\nresult: "):
        UserResult(result.path, spoilt).assert_good()


def test_a_result_is_held_against_a_baseline(heartbench: Heartbench, result: UserResult) -> None:
    """By its counts; more services are another experiment, about which nothing is said."""
    result.assert_no_worse(result.path)
    other = heartbench.run("ci", engine="sim", set=SMALL)
    with pytest.raises(AssertionError, match=r"the scenarios differ.*services.count: 100, 20"):
        other.assert_no_worse(result.path)


def test_a_wrong_scenario_is_named(heartbench: Heartbench) -> None:
    with pytest.raises(ScenarioError, match="did you mean 'quickstart'"):
        heartbench.run("quikstart")


def test_on_real_servers(heartbench: Heartbench) -> None:
    require("local", ServerSpec("zookeeper"))
    backends = {"zk": {"kind": "zookeeper", "servers": 1, "session_timeout": "4s", "tick": "1s"}}
    audit = {"lateness_p99": "10s", "stall": "10s", "rate_reached": "50%"}  # it may be busy
    changes = {**SMALL, "backends": backends, "audit": audit}
    result = heartbench.run("ci", servers="local", set=changes)
    assert (result.verdict, list(result.backends)) == ("valid", ["zk"])
    assert set(result.frames.events.kind) >= {"joined"}
