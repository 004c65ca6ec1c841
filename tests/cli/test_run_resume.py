"""A sweep that was interrupted is completed; what can't be completed is refused, and says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.engines.live.provision import ServerSpec
from bench.manifest import manifest
from bench.measure.summary import summarise
from bench.scenario import dump, loads
from bench.store import Store, load
from tests.live.runs import harness, require, scenario
from tests.unit.history import History

A_MOMENT = [{"settle": "500ms"}, {"hold": "2s"}]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter: PostgreSQL runs as a user of its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def heartbench(*arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--json"],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.usefixtures("dead_harnesses")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_ended_in_its_second_run_is_completed(
    number: signal.Signals, folder: Path
) -> None:
    """The first run's record is kept as it is; the other is done once more, on the same kind of
    servers. Then there is nothing left to do."""
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    with harness(folder, scenario("tuned", "zk", phases=A_MOMENT), "--servers", "local") as run:
        run.until("zk: ramp")
        run.send(number)
        run.end()
    run.assert_no_process_left()
    before = load(run.out)
    assert not before.finished

    done = heartbench("run", "--resume", str(run.out), temporary=run.temporary)
    told = json.loads(done.stdout)
    assert "error" not in told, (told, done.stderr)
    after = load(run.out)
    assert told["path"] == str(after.path) == str(before.path)
    assert after.finished
    assert [each["backend"] for each in after.manifest["runs"]] == ["tuned", "zk"]
    assert all(each["complete"] for each in after.manifest["runs"])
    assert all(each["environment"]["where"] == "local" for each in after.manifest["runs"])
    assert "broke off" not in str(after.summary["reasons"])
    first, again = (next(iter(found.records())) for found in (before, after))
    pd.testing.assert_frame_equal(first.events, again.events)

    idle = heartbench("run", "--resume", str(run.out), temporary=run.temporary)
    assert idle.returncode == 0, idle.stderr
    assert json.loads(idle.stdout)["finished"] is True

    cleaned = heartbench("doctor", "--clean", temporary=run.temporary)
    assert cleaned.returncode == 0, cleaned.stderr
    assert list(run.temporary.iterdir()) == []


def result(root: Path, *, runs: int = 2, **changes: object) -> Path:
    """A finished result of a scenario of one backend and two repeats, with so many of its runs."""
    text = dump(loads(scenario("zk", phases=A_MOMENT, repeat=2), "small.yaml"))
    described = manifest(
        scenario="small", seed=3, engine="live", argv=[], told={"servers": ["local"]}
    )
    recording = Store(root).begin("small", text, {**described, **changes})
    records = [
        History(backend="zk", repeat=index, index=index).alive("a").audited().record()
        for index in range(runs)
    ]
    for record in records:
        recording.add(record)
    return recording.finish(summarise(records), broken_off=None if runs == 2 else "SIGINT")


def resumed(path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["run", "--resume", str(path), *options])


def test_a_finished_result_is_left_alone(tmp_path: Path) -> None:
    path = result(tmp_path)
    kept = {file: file.read_bytes() for file in path.iterdir()}
    done = resumed(path)
    assert (done.exit_code, done.stdout) == (0, f"{path}: finished already, no run is missing\n")
    assert {file: file.read_bytes() for file in path.iterdir()} == kept


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 4}, "its manifest says seed 4, but 3 is to be resumed"),
        ({"scenario": "other"}, "its manifest says scenario other, but small is to be resumed"),
        ({"versions": {"heartbench": "0.0.1"}}, "begun by heartbench 0.0.1, this is"),
        (
            {"servers": ["postgresql+psycopg://me:secret@127.0.0.1:1/x"]},
            "was begun on servers with a password, which is not kept; name them again",
        ),
    ],
)
def test_a_result_that_does_not_belong_to_these_runs_is_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    done = resumed(result(tmp_path, runs=1, **changes))
    assert done.exit_code == 2
    assert says in done.stderr


def test_runs_of_another_scenario_are_refused(tmp_path: Path) -> None:
    path = result(tmp_path, runs=1)
    file = path / "scenario.yaml"
    file.write_text(file.read_text().replace("  zk:", "  zookeeper:"))
    done = resumed(path)
    assert done.exit_code == 2
    assert "run 0 is not one of its scenario.yaml" in done.stderr


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        done = resumed(place)
        assert done.exit_code == 2
        assert "name a run's directory" in done.stderr


@pytest.mark.parametrize("option", [["--set", "seed=4"], ["--repeat", "3"], ["--out", "x"], ["ci"]])
def test_what_comes_from_the_result_cannot_be_given_anew(tmp_path: Path, option: list[str]) -> None:
    done = resumed(tmp_path, *option)
    assert done.exit_code == 2
    assert "--resume takes all of that from DIR" in done.stderr


def test_a_run_wants_a_scenario_or_a_result() -> None:
    done = CliRunner().invoke(main, ["run"])
    assert done.exit_code == 2
    assert "name a SCENARIO, or a result to --resume" in done.stderr
