"""validate, schema, plan and doctor: one call each, and the exit codes that scripts rely on."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from bench.cli import Commands, main
from bench.doctor import Lack, Machine, resources
from bench.errors import InvalidRun, MachineError
from bench.plan import plan
from bench.scenario import find, load, schema

SHIPPED = sorted(file.stem for file in (Path(__file__).parents[2] / "scenarios").glob("*.yaml"))


def heartbench(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="heartbench")


def test_validate_says_that_each_shipped_scenario_is_right() -> None:
    result = heartbench("validate", *SHIPPED)
    assert (result.exit_code, result.stderr) == (0, "")
    said = result.stdout.splitlines()
    assert [line.split(":")[0] for line in said] == SHIPPED
    assert "quickstart: right, 3 runs" in said
    assert "zk-quorum-loss: right, 1 run" in said
    as_json = heartbench("validate", "quickstart", "--json")
    assert json.loads(as_json.stdout) == [{"scenario": "quickstart", "runs": 3}]


def test_validate_names_the_problems_of_all_files_on_stderr(tmp_path: Path) -> None:
    empty, cut = tmp_path / "empty.yaml", tmp_path / "cut.yaml"
    empty.write_text("")
    cut.write_text("name: [")
    result = heartbench("validate", str(empty), "quickstart", str(cut), "nothing")
    assert (result.exit_code, result.stdout) == (2, "")
    problems = result.stderr.splitlines()
    assert problems[0] == f"{empty}:1:1: the file is empty (a scenario is a mapping)"
    assert problems[1].startswith(f"{cut}:1:8: not valid YAML")
    assert problems[2].startswith("nothing: there is no such scenario (")
    assert len(problems) == 3


def test_problems_are_in_the_json_too() -> None:
    result = heartbench("plan", "quickstart", "--set", "seed=x", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "error": "ScenarioError",
        "exit_code": 2,
        "problems": ["--set seed=x: 'x' is not a whole number (such as 10 or 10_000)"],
    }


@pytest.mark.parametrize("call", [["plam"], ["plan"], ["plan", "quickstart", "--sett", "a=1"]])
def test_a_wrong_call_ends_with_2(call: list[str]) -> None:
    assert heartbench(*call).exit_code == 2


def test_schema_prints_the_schema() -> None:
    assert json.loads(heartbench("schema").stdout) == schema()
    assert json.loads(heartbench("schema", "--json").stdout) == schema()


def test_plan_shows_runs_time_sockets_memory_and_ports() -> None:
    result = heartbench("plan", "quickstart", "--set", "repeat=2")
    assert result.exit_code == 0
    assert "quickstart: 6 runs, about 3:" in result.stdout
    for word in ("time", "connections", "ports", "files", "processes", "memory", "1,004"):
        assert word in result.stdout
    order = [name for name in ("db-nova", "zk") if f" {name} " in result.stdout]
    assert order == ["db-nova", "zk"]
    assert "slowest detection" not in result.stdout


def test_plan_warns_where_the_run_ends_before_the_slowest_detection() -> None:
    result = heartbench("plan", "quickstart", "--set", "phases.2.hold=6s")
    assert result.exit_code == 0
    assert "db-nova: the run ends 6.0 s before its slowest detection is due" in result.stdout


def test_the_plan_as_json_names_every_victim_and_instant() -> None:
    found = json.loads(heartbench("plan", "quickstart", "--json").stdout)
    assert found["scenario"] == "quickstart"
    assert found["seconds"] == sum(run["cost"]["seconds"] for run in found["runs"])
    faults = [run["faults"] for run in found["runs"]]
    assert faults[0] == faults[1] == faults[2]
    (fault,) = faults[0]
    assert len(fault["victims"]) == len(fault["at"]) == 50
    assert all(name.startswith("compute-") for name in fault["victims"])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_scenario_can_be_planned(name: str) -> None:
    """As a table, and as JSON that any reader takes: infinite durations are null."""
    assert heartbench("plan", name).exit_code == 0
    found = json.loads(heartbench("plan", name, "--json").stdout, parse_constant=pytest.fail)
    for run in found["runs"]:
        for fault in run["faults"]:
            assert fault["on"] in ("services", "links", "servers")
            assert fault["at"]


ENOUGH = Machine(
    open_files=20_000, open_files_limit=20_000, ports=28_000, memory=16 * 10**9, cores=2
)


def lacks(machine: Machine, *overrides: str) -> list[Lack]:
    return list(resources(plan(load(find("quickstart"), overrides)), machine))


def test_a_machine_with_enough_of_everything_lacks_nothing() -> None:
    assert lacks(ENOUGH) == []


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "million"])
def test_two_cores_are_enough_for_every_scenario_that_is_to_be_run_live(name: str) -> None:
    """Also for the one that asks more beats of its database than go out."""
    assert list(resources(plan(load(find(name))), ENOUGH)) == []


def test_too_few_open_files_are_told_with_the_command_that_raises_them() -> None:
    few = Machine(256, 4096, ENOUGH.ports, ENOUGH.memory, ENOUGH.cores)
    (lack,) = lacks(few)
    assert lack.what == "open files: 256 a process, 1,108 needed"
    assert lack.command == "ulimit -n 1108"
    assert "sudo prlimit" in lacks(few, "services.count=8000")[0].command


@pytest.mark.parametrize(
    ("machine", "what", "command"),
    [
        (Machine(20_000, 20_000, 100, 16 * 10**9, 2), "local ports: 100, 335 needed", "sysctl"),
        (Machine(20_000, 20_000, 28_000, 10**9, 2), "memory: 1.0 GB available", "services.count="),
        (Machine(20_000, 20_000, 28_000, 16 * 10**9, 0), "processor cores: 0", "services.count="),
    ],
)
def test_each_resource_that_is_too_small_is_told(machine: Machine, what: str, command: str) -> None:
    (lack,) = lacks(machine)
    assert lack.what.startswith(what)
    assert command in lack.command


def test_doctor_ends_with_4_and_names_the_mend_where_something_lacks() -> None:
    """A real process with a real limit of 256 open files."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "--json"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert found["lacks"][0]["what"].startswith("open files: 256 a process")
    assert "--nofile=" in found["lacks"][0]["command"]


def test_doctor_with_urls_wants_one_for_each_kind_of_server() -> None:
    result = heartbench("doctor", "freeze", "--servers", "zookeeper://127.0.0.1:1/x", "--json")
    found = [lack["what"] for lack in json.loads(result.stdout)["lacks"]]
    assert "a server for db-tuned" in found
    assert "a server for zk" not in found


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "validate", "no-such-scenario"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("no-such-scenario: there is no such scenario")


def ending(problem: BaseException) -> Result:
    @click.group(cls=Commands)
    def group() -> None: ...

    @group.command()
    def end() -> None:
        raise problem

    return CliRunner().invoke(group, ["end"])


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (InvalidRun("late by 80 ms"), 3),
        (MachineError("no Java (apt-get install default-jre-headless)"), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("unforeseen"), 3),
        (click.UsageError("unknown"), 2),
    ],
)
def test_what_ends_a_command_decides_its_exit_code(problem: BaseException, code: int) -> None:
    result = ending(problem)
    assert result.exit_code == code
    assert (str(problem) or "interrupted") in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_130_after_its_cleanup(number: signal.Signals) -> None:
    program = """if True:
        import sys, time, click
        from bench.cli import Commands
        @click.group(cls=Commands)
        def main(): ...
        @main.command()
        def wait():
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("clean", flush=True)
        main(["wait"])
    """
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "clean\n")
