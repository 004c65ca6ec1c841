"""The wheel and the sdist, away from the repository: in clean virtual environments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.engines.live.provision import ServerSpec
from tests.lacking import none_lacking
from tests.live.runs import require

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.alone

SQL = "{kind: sql, profile: tuned, interval: 1s, timeout: 4s, poll: 500ms}"
ZOOKEEPER = "{kind: zookeeper, servers: 1, session_timeout: 4s, tick: 1s}"
SHORT = (
    "services={count: 50, library: 5, ramp: 50/s}",
    "observers=1",
    f"backends={{db: {SQL}, zk: {ZOOKEEPER}}}",
    "phases=[settle: 2s, fault: {kind: crash, select: {count: 5}, over: 1s}, hold: 6s]",
    "audit={lateness_p99: 10s, stall: 10s, rate_reached: 50%}",
)
"""The quickstart with fewer services and backends, in less time, on a machine that may be busy."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder to work in."""

    programs: Path
    folder: Path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A program of the environment, in the folder, with nothing of ours in reach."""
        variables = {key: value for key, value in os.environ.items() if key[:6] != "PYTHON"}
        return subprocess.run(
            [self.programs / words[0], *words[1:]],
            cwd=self.folder,
            env={**variables, "PATH": f"{self.programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )


def environment(place: Path, *installed: str) -> Environment:
    """A clean one, with these requirements installed."""
    venv.create(place / "venv", with_pip=False, symlinks=True)
    folder = place / "empty"
    folder.mkdir()
    programs = place / "venv" / "bin"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet",
            "--no-compile", "--constraint", ROOT / "constraints.txt", *installed,
        ],
        check=True,
    )  # fmt: skip
    return Environment(programs, folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    place = tmp_path_factory.mktemp("sdist")
    build(ROOT, "sdist", place)
    with tarfile.open(next(place.glob("*.tar.gz"))) as sdist:
        sdist.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist."""
    place = tmp_path_factory.mktemp("wheel")
    build(sources, "wheel", place)
    return next(place.glob("*.whl"))


def build(sources: Path, target: str, place: Path) -> None:
    hatchling = [sys.executable, "-m", "hatchling", "build", "--target", target]
    subprocess.run([*hatchling, "--directory", place], cwd=sources, check=True, capture_output=True)


@pytest.fixture(scope="module")
def library(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel without any extra."""
    return environment(tmp_path_factory.mktemp("library"), str(wheel))


@pytest.fixture(scope="module")
def harness(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with the harness."""
    return environment(tmp_path_factory.mktemp("harness"), f"heartbench[bench] @ {wheel.as_uri()}")


def test_the_sdist_has_all_that_is_tracked(sources: Path) -> None:
    """Tests and documents too; but no link to a folder, which no result needs."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    tracked = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
    files = {name for name in tracked if name and (ROOT / name).is_file()}
    assert len(files) > 300
    assert {name for name in files if not (sources / name).is_file()} == set()


def test_the_wheel_has_what_the_source_tree_has(wheel: Path) -> None:
    """Modules, scenarios, and what makes containers, with the scripts to be executed."""
    with zipfile.ZipFile(wheel) as archive:
        modes = {each.filename: each.external_attr >> 16 for each in archive.infolist()}
    ours = [
        path
        for folder in ("bench", "membership", "scenarios", "containers")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    for path in ours:
        name = str(path.relative_to(ROOT))
        where = name if name.startswith(("bench/", "membership/")) else f"bench/share/{name}"
        assert where in modes
        assert bool(modes[where] & 0o100) == os.access(path, os.X_OK), where


def test_the_library_alone_needs_nothing(library: Environment) -> None:
    done = library.run(
        "python", "-c",
        "from membership import connect\n"
        "with connect('memory://alone') as membership:\n"
        "    membership.join('compute', 'host-17')\n"
        "    print(*membership.members('compute').members)\n",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "host-17\n"), done.stderr
    listed = library.run(
        "python", "-c", "import importlib.metadata as m; print(*m.distributions())"
    )
    assert len(listed.stdout.split(">")) == 2, "the wheel requires something"


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("sqlite:///members.db", "sql"),
        ("postgresql+psycopg://nobody@127.0.0.1/none", "postgres"),
        ("zookeeper://127.0.0.1:1/none", "zookeeper"),
    ],
)
def test_a_missing_driver_names_its_extra(library: Environment, url: str, extra: str) -> None:
    done = library.run("python", "-c", f"import membership; membership.connect({url!r})")
    assert f"pip install 'heartbench[{extra}]'" in done.stderr


def test_a_missing_harness_names_its_extra(library: Environment) -> None:
    """Of the command, which ends as on any machine that lacks something, and of `bench.load`."""
    done = library.run("heartbench", "run", "quickstart")
    assert (done.returncode, done.stdout) == (4, "")
    assert "pip install 'heartbench[bench]'" in done.stderr
    done = library.run("python", "-c", "import bench; bench.load('results')")
    assert "pip install 'heartbench[bench]'" in done.stderr


@pytest.mark.timeout(600)  # to install it takes its time
def test_from_an_empty_folder_to_a_report_in_a_browser(harness: Environment) -> None:
    """The scenarios are there by name; results and report are in the folder, and nothing else."""
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    listed = harness.run("heartbench", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    shipped = sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))
    assert [each["name"] for each in json.loads(listed.stdout)["scenarios"]] == shipped
    said = harness.run("heartbench", "validate", "quickstart")
    assert said.stdout == "quickstart: right, 3 runs\n", said.stderr

    called = "from bench.shipped import command; print(command('install-packages'))"
    script = harness.run("python", "-c", called).stdout.strip()
    assert os.access(script, os.X_OK), "what doctor names can't be executed"

    changed = [word for field in SHORT for word in ("--set", field)]
    done = harness.run("heartbench", "run", "quickstart", "--servers", "local", "--json", *changed)
    assert done.returncode == 0, done.stdout + done.stderr
    result = harness.folder / json.loads(done.stdout)["path"]
    assert result.parent == harness.folder / "results" / "quickstart"
    done = harness.run("heartbench", "report", "results/quickstart")
    assert (done.returncode, done.stdout) == (0, "report: report.html\n"), done.stderr
    assert sorted(path.name for path in harness.folder.iterdir()) == ["report.html", "results"]
    assert console(harness.folder / "report.html", harness.folder.parent) == ""


def console(page: Path, place: Path) -> str:
    """What a browser says of a page that it opens without a network."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        none_lacking(["no chromium on PATH; install it: containers/install-packages browser"])
    assert chromium is not None
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={place / 'profile'}", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "How late is a crash noticed" in done.stdout
    return "".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
