"""A stranger's path: the tutorial's own words, followed to the letter, on simulated servers."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(
    r"^```(sh|yaml)( fails)?\n(.*?)^```$|change `(.+?)` to `(.+?)`(.*?)\.", re.MULTILINE | re.DOTALL
)
pytestmark = pytest.mark.timeout(900)  # minutes, where others keep the machine busy

FEWER = ["--set", "services.count=100"]


def test_the_tutorial_leads_where_it_says(tmp_path: Path) -> None:
    """But for `make demo`, of which this is the run, and the servers, which are simulated."""
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    ran = []
    for kind, fails, text, *change in STEP.findall((ROOT / "docs/tutorial.md").read_text()):
        if kind == "yaml":
            (tmp_path / "pauses.yaml").write_text(text)
        elif kind == "sh":
            for line in text.splitlines():
                ran += _follow(line, tmp_path, fails=bool(fails))
        else:
            _edit(tmp_path / "mine.yaml", change)
    assert ran == ["run", "report", "plan", "run", "compare", "run", "run", "run", "compare"]
    assert (tmp_path / "report.html").stat().st_size > 10_000


def _follow(line: str, place: Path, *, fails: bool) -> list[str]:
    """Carry out a line; returns what heartbench was told to do."""
    words = shlex.split(line.replace("make demo", "heartbench run scenarios/quickstart.yaml"))
    if words[0] == ".":
        return []
    if words[:2] == ["heartbench", "run"]:
        words += FEWER + ([] if "--engine" in words else ["--engine", "sim"])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    if fails:
        assert done.returncode == 2
        assert "2 to 20 ticks" in done.stderr
    else:
        # Between two runs of one scenario, nothing can be said of times: that is inconclusive.
        allowed = (0, 3) if "compare" in words else (0,)
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"
    if "results/mine" in words:
        assert _changed(done.stdout, "detection.mean") < 0.9
        assert _changed(done.stdout, "counts.packets_per_service_second") > 1.2
    return words[1:2] if words[0] == "heartbench" else []


def _changed(table: str, figure: str) -> float:
    """The ratio that `compare` shows for ZooKeeper."""
    [row] = [
        line.split() for line in table.splitlines() if line.startswith("zk") and figure in line
    ]
    return float(row[4])


def _edit(file: Path, change: list[str]) -> None:
    """As in: change `a` to `b`, and ZooKeeper's `c` to `d`."""
    before, after, rest = change
    for old, new in [(before, after), *re.findall(r"`(.+?)` to `(.+?)`", rest)]:
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
