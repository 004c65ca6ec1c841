"""Whatever ends a run: nothing that it started is left, and what it had recorded can be read."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engines.live.provision import ServerSpec, leftovers, remove
from bench.store import load
from tests.live.runs import harness, require, scenario

FOR_EVER = [{"settle": "1s"}, {"hold": "10m"}]
A_MOMENT = [{"settle": "500ms"}, {"hold": "3s"}]
SLOW_RAMP = {"count": 100, "library": 10, "ramp": "1/s"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may enter: PostgreSQL runs as a user of its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(autouse=True)
def _servers() -> None:
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))


@pytest.mark.parametrize(
    ("number", "backend", "moment"),
    [
        pytest.param(signal.SIGINT, "tuned", "servers", id="while-postgresql-starts"),
        pytest.param(signal.SIGTERM, "zk", "servers", id="while-zookeeper-starts"),
        pytest.param(signal.SIGTERM, "nova", "ramp", id="in-the-ramp"),
        pytest.param(signal.SIGINT, "zk", "hold", id="in-a-phase"),
    ],
)
def test_a_signal_ends_a_run_and_all_that_it_started(
    number: signal.Signals, backend: str, moment: str, folder: Path
) -> None:
    services = SLOW_RAMP if moment == "ramp" else {**SLOW_RAMP, "ramp": "100/s"}
    text = scenario(backend, phases=FOR_EVER, services=services)
    with harness(folder, text, "--servers", "local") as run:
        run.until(f"{backend}: {moment}")
        if moment == "servers":
            run.until_it_starts("java" if backend == "zk" else "initdb")
        run.send(number)
        code, output = run.end()
    assert code == 130, run.said
    assert json.loads(output)["exit_code"] == 130
    run.assert_nothing_left()
    found = load(run.out)
    assert found.summary["verdict"] == "unknown"
    assert found.summary["reasons"][0] == "broke off: KeyboardInterrupt"
    assert [each["complete"] for each in found.manifest["runs"]] == (
        [] if moment == "servers" else [False]
    )
    joined = found.events[(found.events["kind"] == "joined") & found.events["observer"].isna()]
    assert len(joined) == {"servers": 0, "hold": 100}.get(moment, len(joined))


def test_an_impatient_user_breaks_off_the_run_but_not_the_cleaning_up(folder: Path) -> None:
    """Ctrl-C, again and again, until it is over."""
    text = scenario("tuned", phases=FOR_EVER)
    with harness(folder, text, "--servers", "local") as run:
        run.until("tuned: hold")
        while run.process.poll() is None:
            run.process.send_signal(signal.SIGINT)
            run.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        code, _ = run.end()
    assert code == 130, run.said
    run.assert_nothing_left()
    assert load(run.out).summary["verdict"] == "unknown"


def test_the_death_of_a_shard_ends_the_run_with_3_and_keeps_the_runs_before(folder: Path) -> None:
    text = scenario("tuned", "zk", phases=A_MOMENT)
    with harness(folder, text, "--servers", "local") as run:
        run.until("zk: hold")
        *_, wire, _ = run.shards()
        wire.kill()
        code, output = run.end()
    assert code == 3, run.said
    told = json.loads(output)
    assert (told["error"], told["exit_code"]) == ("ShardDied", 3)
    assert "wire-0's process ended" in told["problems"][0]
    run.assert_nothing_left()
    found = load(run.out)
    assert [each["complete"] for each in found.manifest["runs"]] == [True, False]
    assert found.summary["verdict"] == "unknown"
    assert found.summary["reasons"][0].startswith("broke off: ShardDied")
    assert found.summary["backends"]["tuned"]["audit"]["services_joined"] == 100


@pytest.mark.usefixtures("dead_harnesses")
def test_a_killed_harness_takes_its_processes_along_and_leaves_a_readable_result(
    folder: Path,
) -> None:
    """SIGKILL in the second of two runs: the first one's record is there, whole."""
    text = scenario("tuned", "zk", phases=A_MOMENT)
    with harness(folder, text, "--servers", "local") as run:
        run.until("zk: hold")
        run.send(signal.SIGKILL)
        code, _ = run.end()
    assert code == -signal.SIGKILL
    run.assert_no_process_left()
    [left] = run.temporary.iterdir()  # nobody is there to remove it; it tells whose it was
    assert (left / "owner.pid").read_text().startswith(f"{run.process.pid}-")
    for leftover in leftovers():  # packet rules and control groups
        if leftover.owner == run.process.pid:
            remove(leftover)
    found = load(run.out)
    assert found.summary["verdict"] == "unknown"
    assert [each["backend"] for each in found.manifest["runs"]] == ["tuned"]
    assert found.manifest["runs"][0]["complete"]
    joined = found.events[(found.events["kind"] == "joined") & found.events["observer"].isna()]
    assert joined["subject"].nunique() == 100
