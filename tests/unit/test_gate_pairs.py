"""Two versions run by turns: which sources, in which order, with which seeds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.gate import Judgement
from bench.gate.noise import read
from bench.gate.pairs import PairsError, RefError, against, calibrate, checked_out
from tests.report.results import run, write

SCENARIO = """\
version: 1
name: by-hand
services: {count: 4}
"""

PROGRAM = """\
import json, os, shutil, sys
sets = dict(word.removeprefix("--set=").split("=", 1) for word in sys.argv if word[:6] == "--set=")
out = sys.argv[sys.argv.index("--out") + 1]
with open({journal!r}, "a") as journal:
    journal.write(json.dumps([{name!r}, int(sets["seed"]), sets["repeat"], os.getcwd()]) + "\\n")
shutil.copytree(os.path.join({results!r}, sets["seed"]), out, symlinks=True)
"""
"""Stands in for a version: it takes the place of `python -m bench run`, which takes minutes, and
leaves a result of known figures behind."""

Results = Callable[..., Path]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What a version leaves that issues so many statements, by its seed, made once."""

    @cache
    def made(statements: float, late: int = 0) -> Path:
        """`late`: the seed with which the run is invalid."""
        folder = tmp_path_factory.mktemp("results")
        for seed in range(1, 7):
            record = run(statements=statements, cpu=0.1 + 0.01 * seed)
            if seed == late:
                record.metrics.loc[record.metrics["metric"] == "lateness", "value"] = 3.0
            write(folder / str(seed), record, scenario={"seed": seed})
        return folder

    return made


def version(folder: Path, journal: Path, name: str, results: Path) -> None:
    (folder / "bench").mkdir(parents=True, exist_ok=True)
    (folder / "bench" / "__init__.py").write_text("")
    program = PROGRAM.format(journal=str(journal), name=name, results=str(results))
    (folder / "bench" / "__main__.py").write_text(program)


@pytest.fixture
def repository(tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version under the tag `v1`, and sources that issue one statement more."""
    folder, journal = tmp_path / "repository", tmp_path / "journal"
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    version(folder, journal, "v1", results(statements=40.0))
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    version(folder, journal, "ours", results(statements=80.0))
    monkeypatch.setattr("bench.gate.pairs.HERE", folder)
    return folder


def journalled(tmp_path: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert {repeat for _, _, repeat, _ in lines} == {"1"}
    assert all(Path(where).exists() == (name == "ours") for name, _, _, where in lines)
    return [(name, seed) for name, seed, _, _ in lines]


def test_the_sources_are_judged_by_the_version_they_are_run_against(
    repository: Path, tmp_path: Path
) -> None:
    """By turns, the other one first in every second pair; a pair shares its seed. The commit's
    files, not those that lie there, and nothing of them is left."""
    said: list[str] = []
    outcome = against(tmp_path / "scenario.yaml", "v1", pairs=2, say=said.append)
    assert journalled(tmp_path) == [("v1", 1), ("ours", 1), ("ours", 2), ("v1", 2)]
    assert said[0] == "pair 1: the baseline"
    assert (outcome.judgement, outcome.baseline) == (Judgement.FAIL, "v1")
    rows = {row.figure: row for row in outcome.rows}
    assert rows["counts.statements_per_service_second"].judgement is Judgement.FAIL
    cpu = rows["load.server_cpu_cores"]
    assert cpu.judgement is Judgement.INCONCLUSIVE  # two pairs are not six
    assert cpu.ratio is not None
    assert (cpu.ratio.pairs, round(cpu.ratio.value, 6)) == (2, 1.0)


def test_the_noise_floor_is_that_of_the_sources_against_themselves(
    repository: Path, tmp_path: Path
) -> None:
    file = tmp_path / "noise.json"
    floor = calibrate(tmp_path / "scenario.yaml", file, pairs=2)
    assert {name for name, _ in journalled(tmp_path)} == {"ours"}
    assert len(floor.pairs) == len(read(file).pairs) == 2
    assert floor.spread["db"]["load.server_cpu_cores"] == pytest.approx(0.0)


def test_the_command_tells_the_noise_floor(repository: Path, tmp_path: Path) -> None:
    """To people, and with --json to machines; the pairs are in the file alone."""
    words = ["gate", str(tmp_path / "scenario.yaml"), "--calibrate", str(tmp_path / "noise.json")]
    told = CliRunner().invoke(main, [*words, "--pairs", "2"])
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[0].split() == ["backend", "figure", "spread", "seen", "from"]
    assert told.stdout.endswith("noise floor of 2 pairs\n")
    as_json = CliRunner().invoke(main, [*words, "--pairs", "4", "--json"])
    floor = json.loads(as_json.stdout)
    assert (floor["pairs"], floor["comparisons"]) == (6, {"pass": 1})
    assert "runs" not in floor
    told = CliRunner().invoke(main, [*words, "--pairs", "0"])
    assert told.stdout.endswith("1 of 1 pass\nnoise floor of 6 pairs\n")
    nothing = CliRunner().invoke(main, [*words[:-1], str(tmp_path / "none.json"), "--pairs", "0"])
    assert nothing.exit_code == 3
    assert "none.json has none" in nothing.stderr


def test_a_noise_floor_that_is_there_grows(repository: Path, tmp_path: Path) -> None:
    """Each pair is kept as soon as it is made, so what breaks off is gone on with."""
    file = tmp_path / "noise.json"
    for pair in (1, 2):
        assert len(calibrate(tmp_path / "scenario.yaml", file, pairs=1).pairs) == pair
    assert [seed for _, seed in journalled(tmp_path)] == [1, 1, 2, 2]


def test_a_noise_floor_leaves_out_what_is_not_valid(
    repository: Path, results: Results, tmp_path: Path
) -> None:
    version(repository, tmp_path / "journal", "ours", results(statements=40.0, late=2))
    said: list[str] = []
    floor = calibrate(tmp_path / "scenario.yaml", tmp_path / "noise.json", pairs=2, say=said.append)
    assert len(floor.pairs) == 1
    assert said[-1].startswith("left out: invalid: db: beats went out 3s late")


def test_without_a_valid_pair_there_is_no_noise_floor(
    repository: Path, results: Results, tmp_path: Path
) -> None:
    version(repository, tmp_path / "journal", "ours", results(statements=40.0, late=1))
    file = tmp_path / "noise.json"
    with pytest.raises(PairsError, match="no pair of runs is valid, so they say nothing"):
        calibrate(tmp_path / "scenario.yaml", file, pairs=1)
    assert not file.exists()


def test_the_noise_is_told_where_versions_are_compared(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "noise.json"
    calibrate(tmp_path / "scenario.yaml", file, pairs=2)
    outcome = against(tmp_path / "scenario.yaml", "v1", pairs=2, noise=file)
    rows = {row.figure: row for row in outcome.rows}
    assert "varies so much between identical runs" in rows["load.server_cpu_cores"].reason


def test_a_pair_with_an_invalid_run_is_left_out_and_named(
    repository: Path, results: Results, tmp_path: Path
) -> None:
    version(repository, tmp_path / "journal", "ours", results(statements=40.0, late=2))
    outcome = against(tmp_path / "scenario.yaml", "v1", pairs=2)
    assert outcome.judgement is Judgement.INCONCLUSIVE
    assert {row.ratio.pairs for row in outcome.rows if row.ratio} == {1}
    (note,) = outcome.notes
    assert note.startswith("pair 2 is left out, invalid: db: beats went out 3s late")


def test_a_version_that_does_not_run_says_why(repository: Path, tmp_path: Path) -> None:
    (repository / "bench" / "__main__.py").write_text("raise SystemExit('out of order')")
    with pytest.raises(PairsError, match=r"exit code 1 and said: out of order") as refused:
        calibrate(tmp_path / "scenario.yaml", tmp_path / "noise.json")
    assert refused.value.exit_code == 3


def test_an_unknown_version_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(RefError, match="name a commit, a branch or a tag") as refused:
        against(tmp_path / "scenario.yaml", "v2")
    assert refused.value.exit_code == 2


def test_a_repository_of_something_else_is_refused(repository: Path, tmp_path: Path) -> None:
    """Such as that of a project whose virtual environment heartbench is installed in: it would
    be compared with itself."""
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["rm", "-rq", "--cached", "bench"], ["commit", "-qm", "two"], ["tag", "v2"]):
        subprocess.run([*git, *words], check=True)
    with pytest.raises(RefError, match=r"v2 of .* has no heartbench in it; .* in a clone"):
        against(tmp_path / "scenario.yaml", "v2")


def test_without_a_repository_it_says_where_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.gate.pairs.HERE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RefError, match=r"not a git repository.*run it from there"):
        against(tmp_path / "scenario.yaml", "HEAD")


def test_a_checkout_has_the_commits_files_and_is_gone_afterwards() -> None:
    """Of this repository; what the sources here look like now plays no part."""
    with checked_out("HEAD") as there:
        assert (there / "bench" / "__main__.py").exists()
        assert not (there / ".git").exists()
    assert not there.exists()
