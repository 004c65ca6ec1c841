"""What a machine isn't up to ends a run with 4 before anything is lost, and says what to do."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.engines.live.provision import ServerSpec
from tests.live.runs import BACKENDS, require, scenario

PHASES = [{"hold": "1s"}]


@pytest.fixture
def zk(tmp_path: Path) -> Path:
    """A scenario that wants one ZooKeeper server."""
    file = tmp_path / "zk.yaml"
    backend = {**BACKENDS["zk"], "servers": 1}
    file.write_text(scenario(phases=PHASES, backends={"zk": backend}))
    return file


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A scenario that wants PostgreSQL."""
    file = tmp_path / "tuned.yaml"
    file.write_text(scenario("tuned", phases=PHASES))
    return file


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with all of its programs but Java."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in os.environ["PATH"].split(":"):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            if program.name != "java" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return folder


def refused(
    command: str,
    file: Path,
    where: str,
    *options: str,
    environment: Mapping[str, str] | None = None,
    open_files: int | None = None,
) -> Any:
    """Call ``heartbench run`` or ``doctor``; what it says as JSON. It ends with 4."""

    def limit() -> None:
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    if command == "run":
        options = (*options, "--out", str(file.parent / "results"))
    call = [command, str(file), "--servers", where, "--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *call],
        env={**os.environ, **(environment or {}), "TMPDIR": str(file.parent)},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert list(file.parent.glob("heartbench-*")) == []
    return json.loads(done.stdout)


def assert_both_say(words: list[str], file: Path, where: str, *options: str, **given: Any) -> None:
    """``run`` refuses in these words, in one message; ``doctor`` says the same beforehand."""
    told = refused("run", file, where, *options, **given)
    assert (told["error"], told["exit_code"]) == ("MachineError", 4)
    [problem] = told["problems"]
    assert not (file.parent / "results").exists()
    lacks = refused("doctor", file, where, *options, **given)["lacks"]
    assert lacks
    for word in words:
        assert word in problem
        assert any(word in part for lack in lacks for part in lack.values())
    for lack in lacks:
        assert lack["what"] in problem
        assert lack["command"] in problem


def test_no_java(zk: Path, programs: Path) -> None:
    words = ["Java", "PATH has no java", "run containers/install-packages servers"]
    assert_both_say(words, zk, "local", environment={"PATH": str(programs)})


@pytest.mark.parametrize("number", [1, 127])
def test_a_java_that_does_not_run(zk: Path, programs: Path, number: int) -> None:
    """What it says itself is what has to be mended."""
    require("local", ServerSpec("zookeeper"))
    java = programs / "java"
    java.write_text(f"#!/bin/sh\necho 'cannot allocate the heap' >&2\nexit {number}\n")
    java.chmod(0o755)
    words = ["Java", "doesn't run: cannot allocate the heap", "containers/install-packages"]
    assert_both_say(words, zk, "local", environment={"PATH": str(programs)})


def test_faults_of_servers_that_are_somebody_elses(tmp_path: Path) -> None:
    fault = {"kind": "kill", "servers": "any"}
    file = tmp_path / "zk.yaml"
    file.write_text(scenario("zk", phases=[{"fault": fault}, {"hold": "1s"}]))
    words = ["servers of our own", "those at a URL are somebody else's", "use --servers auto"]
    assert_both_say(words, file, "zookeeper://127.0.0.1:1/x")


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://192.0.2.1:2375"])
def test_no_docker_engine(tuned: Path, host: str) -> None:
    words = ["a Docker engine", host]
    words += ["none answers", "run containers/start-engine"] if "unix" in host else ["elsewhere"]
    assert_both_say(words, tuned, "docker", environment={"DOCKER_HOST": host})


def test_too_few_file_descriptors(zk: Path) -> None:
    require("local", ServerSpec("zookeeper"))
    words = ["open files: 256 a process, 518 needed", "--nofile=518:518"]
    options = ["--set", "services.count=400"]
    assert_both_say(words, zk, "local", *options, open_files=256)


def test_a_server_that_does_not_answer(zk: Path, tuned: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    for file, url, said in (
        (zk, f"zookeeper://127.0.0.1:{port}/x", f"no ZooKeeper answers at 127.0.0.1:{port}"),
        (tuned, f"postgresql+psycopg://me:secret@127.0.0.1:{port}/x", "cannot use postgresql"),
    ):
        told = refused("run", file, url)
        assert (told["error"], told["exit_code"]) == ("ProvisionError", 4)
        [problem] = told["problems"]
        assert said in problem
        assert "start it or correct the URL" in problem
        assert "secret" not in problem


def test_a_url_for_the_wrong_kind_of_server(tuned: Path) -> None:
    words = ["a server for tuned", "give its URL with another --servers"]
    assert_both_say(words, tuned, "zookeeper://127.0.0.1:1/x")
