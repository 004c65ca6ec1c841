"""`heartbench list` and `completion`, and what shells are told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.scenario import load, shipped
from tests.report.results import run, write


def heartbench(*words: str | Path, **variables: str) -> Result:
    arguments = [str(word) for word in words]
    return CliRunner().invoke(main, arguments, prog_name="heartbench", env=variables)


def test_each_scenario_is_listed_with_its_question(tmp_path: Path) -> None:
    told = heartbench("list", "--out", tmp_path)
    assert told.exit_code == 0
    lines = {line.split()[0]: line for line in told.stdout.splitlines()}
    for path in shipped():
        assert load(path).question in lines[path.stem]
    assert "verdict" not in told.stdout


def test_results_are_listed_with_their_verdicts(tmp_path: Path) -> None:
    """A damaged one too, with what is wrong; `latest` is none of its own."""
    good = write(tmp_path, run())
    broken = shutil.copytree(good, good.with_name("29990101T000000.000Z-0000"))
    (broken / "summary.json").write_text("{")
    unjudged = shutil.copytree(good, good.with_name("30000101T000000.000Z-0000"))
    (unjudged / "parts").mkdir()
    told = heartbench("list", "--out", tmp_path, "--json")
    results = json.loads(told.stdout)["results"]
    assert [(each["path"], each["verdict"], each["good"]) for each in results] == [
        (str(good), "valid", True),
        (str(broken), "unknown", False),
        (str(unjudged), "unknown", False),
    ]
    assert "damaged or cut off" in results[1]["problem"]
    table = heartbench("list", "--out", tmp_path)
    assert good.name in table.stdout
    assert f"{broken}/summary.json: damaged or cut off" in table.stderr


def test_a_result_that_missed_its_objectives_is_not_listed_as_good(tmp_path: Path) -> None:
    result = write(tmp_path, run())
    summary = json.loads((result / "summary.json").read_text())
    summary["slo"] = [{"rule": "zk: detection.p99 <= 1s", "ok": False}]
    (result / "summary.json").write_text(json.dumps(summary))
    told = heartbench("list", "--out", tmp_path)
    assert "valid, objectives missed" in told.stdout


@pytest.mark.parametrize("command", ["run", "plan", "validate", "doctor"])
def test_a_shell_is_told_scenarios_and_to_offer_files(command: str) -> None:
    words = {"COMP_WORDS": f"heartbench {command} zk-", "COMP_CWORD": "2"}
    told = heartbench(_HEARTBENCH_COMPLETE="bash_complete", **words)
    assert told.stdout.splitlines() == ["file,zk-", "plain,zk-leader-kill", "plain,zk-quorum-loss"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_of_that_shell(shell: str) -> None:
    told = heartbench("completion", shell)
    assert told.exit_code == 0
    assert f"_HEARTBENCH_COMPLETE={shell}_complete" in told.stdout


def test_bash_completes_a_scenario(tmp_path: Path) -> None:
    """By the script that is printed, in a real one."""
    script = tmp_path / "completion"
    script.write_text(heartbench("completion", "bash").stdout)
    asked = f"""
        source {script}
        COMP_WORDS=(heartbench run quick) COMP_CWORD=2
        _heartbench_completion heartbench
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "quickstart\n", done.stderr


def test_the_version_is_told() -> None:
    assert heartbench("--version").stdout.startswith("heartbench, version ")
