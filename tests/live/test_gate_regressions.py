"""The gate on real servers: what a commit has the library ask of them in addition is caught."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.engines.live.provision import ServerSpec
from tests.live.runs import require

ROOT = Path(__file__).parents[2]

REGRESSIONS = {
    "membership/backends/sql/tuned.py": (
        "database.beat() as connection:\n",
        'database.beat() as connection:\n            connection.execute(sa.text("SELECT 1"))\n',
    ),
    "membership/backends/zookeeper/backend.py": (
        "meter: Meter, *, recent: bool = True",
        "meter: Meter, *, recent: bool = False",
    ),
}
"""By file, some code and what takes its place: each beat asks first whether the database is there;
and each watch of a group is one of its children and one of each member, as on old servers."""


LENIENT = "{lateness_p99: 10s, stall: 10s, rate_reached: 50%}"
"""What is counted stays what it is on a machine that is busy."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """These sources under the tag `good`, and a commit of both regressions on top of it."""
    folder = tmp_path / "repository"
    for package in ("bench", "membership"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=left_out)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "good"], ["tag", "good"]):
        subprocess.run([*git, *words], check=True)
    for name, (good, worse) in REGRESSIONS.items():
        code = (folder / name).read_text()
        assert code.count(good) == 1, f"{name} has changed: plant the regression elsewhere"
        (folder / name).write_text(code.replace(good, worse))
    subprocess.run([*git, "commit", "-qam", "tidy up"], check=True)
    return folder


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_statement_more_and_a_watch_more_fail_the_count_gate(repository: Path) -> None:
    """Both versions run on servers of their own; each message names the metric, both values and
    what is tolerated."""
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    done = subprocess.run(
        [
            sys.executable, "-m", "bench", "gate", ROOT / "scenarios" / "ci.yaml",
            "--against", "good", "--pairs", "1", "--counts", "--servers", "local", "--json",
            "--set", f"audit={LENIENT}",
        ],
        cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["verdict"], outcome["reasons"]) == ("fail", [])
    failed = {(row["backend"], row["figure"]): row for row in outcome["rows"] if _failed(row)}
    statements = failed["db-tuned", "counts.statements_per_service_second"]
    watches = failed["zk", "counts.watches_per_service"]
    for row in (statements, watches):
        for told in (f"{row['value']:.4g}", f"{row['baseline']:.4g}", "5% more is tolerated"):
            assert told in row["reason"]
    # A beat a second of each service, and one more of each of the 20 that run the library.
    assert statements["value"] / statements["baseline"] == pytest.approx(1.2, abs=0.08)
    assert {backend for backend, _ in failed} == {"db-tuned", "zk"}


def _failed(row: dict[str, Any]) -> bool:
    return bool(row["verdict"] == "fail")
