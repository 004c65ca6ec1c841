"""`heartbench run --engine sim`: the same scenarios, the same results, no server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.arms import Simulated
from bench.calibration import STATED
from bench.cli import main
from bench.progress import Moment
from bench.run import run
from bench.scenario import Scenario, find
from bench.scenario import load as load_scenario
from bench.store import load

SMALL = ("--set", "services.count=100", "--set", "services.library=5")


def simulate(out: Path, *more: str) -> Result:
    command = ("run", "quickstart", "--engine", "sim", *SMALL, "--out", str(out), *more)
    return CliRunner().invoke(main, command, prog_name="heartbench")


def test_it_writes_a_result_like_any_other_that_says_where_it_comes_from(tmp_path: Path) -> None:
    ran = simulate(tmp_path, "--json")
    assert ran.exit_code == 0, ran.output
    summary = json.loads(ran.stdout)["summary"]
    assert (summary["engine"], summary["verdict"]) == ("sim", "valid")
    for figures in summary["backends"].values():
        assert figures["detection"]["count"] == 5
        assert figures["model"]["calibration"] == STATED.made
    assert load(tmp_path).manifest["engine"] == "sim"


def test_the_table_says_what_the_figures_rest_on(tmp_path: Path) -> None:
    said = simulate(tmp_path).stdout
    assert f"simulated; calibration: {STATED.made}" in " ".join(said.split())


def test_one_seed_gives_one_history(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        assert simulate(out).exit_code == 0
    pd.testing.assert_frame_equal(load(first).events, load(second).events)


def test_a_calibration_of_ones_own_is_used_and_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(STATED.dump().replace(STATED.made, "on the day of the test"))
    ran = simulate(tmp_path / "out", "--calibration", str(file), "--json")
    assert ran.exit_code == 0, ran.output
    backends = json.loads(ran.stdout)["summary"]["backends"].values()
    assert {each["model"]["calibration"] for each in backends} == {"on the day of the test"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--calibration", "nowhere.json"), "nowhere.json"),
        (("--servers", "local"), "--servers"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    ran = simulate(tmp_path, *options)
    assert ran.exit_code == 2
    assert word in ran.stderr
    assert not list(tmp_path.iterdir())


def test_real_servers_take_no_calibration(tmp_path: Path) -> None:
    command = ("run", "quickstart", "--calibration", "x.json", "--out", str(tmp_path))
    ran = CliRunner().invoke(main, command, prog_name="heartbench")
    assert ran.exit_code == 2
    assert "--engine sim" in ran.stderr


def test_what_was_interrupted_is_completed_to_what_it_would_have_been(tmp_path: Path) -> None:
    calibration = tmp_path / "mine.json"
    calibration.write_text(STATED.dump())
    arm = Simulated.calibrated(calibration)
    scenario = find_and_load("quickstart", ("services.count=40", "services.library=2", "repeat=2"))
    whole = run(scenario, arm=arm, out=tmp_path / "whole")
    left = interrupted(scenario, arm, tmp_path / "half")
    resumed = CliRunner().invoke(main, ["run", "--resume", str(left), "--json"])
    assert resumed.exit_code == 0, resumed.output
    one, other = load(whole.path), load(left)
    assert other.finished
    assert other.summary["backends"] == one.summary["backends"]
    pd.testing.assert_frame_equal(other.events, one.events)
    pd.testing.assert_frame_equal(other.metrics, one.metrics)


def test_runs_of_two_calibrations_are_not_judged_together(tmp_path: Path) -> None:
    calibration = tmp_path / "mine.json"
    calibration.write_text(STATED.dump())
    scenario = find_and_load("quickstart", ("services.count=20", "services.library=1", "repeat=2"))
    left = interrupted(scenario, Simulated.calibrated(calibration), tmp_path / "half")
    quicker = replace(STATED.sql, commit=STATED.sql.commit / 2)
    calibration.write_text(replace(STATED, sql=quicker).dump())
    resumed = CliRunner().invoke(main, ["run", "--resume", str(left)])
    assert resumed.exit_code == 2
    assert "has changed since" in resumed.stderr
    assert not load(left).finished


def interrupted(scenario: Scenario, arm: Simulated, out: Path) -> Path:
    """A simulated result that was broken off after its first run."""

    def listen(moment: Moment) -> None:
        if moment.repeat == 0 and moment.phase == "simulated" and load(out).manifest["runs"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scenario, arm=arm, out=out, listen=listen)
    left = load(out)
    assert (len(left.manifest["runs"]), left.finished) == (1, False)
    return left.path


def find_and_load(name: str, overrides: tuple[str, ...]) -> Scenario:
    return load_scenario(find(name), overrides)
