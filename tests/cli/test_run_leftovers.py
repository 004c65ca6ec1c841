"""`doctor --clean`: what dead harnesses left is removed, what belongs to a living one is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engines.live.provision.local import OWNER
from bench.engines.live.provision.owner import stamp


def clean(temporary: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "--clean", *options],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("dead_harnesses")
def test_only_what_dead_harnesses_left_is_removed_and_each_is_named(tmp_path: Path) -> None:
    for name in ("heartbench-dead", "heartbench-alive", "somebodys-own"):
        (tmp_path / name / "data").mkdir(parents=True)
    program = "from bench.engines.live.provision.owner import stamp; print(stamp())"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as dead:
        said, _ = dead.communicate(timeout=60)
    (tmp_path / "heartbench-dead" / OWNER).write_text(said)
    (tmp_path / "heartbench-alive" / OWNER).write_text(stamp())

    removed = json.loads(clean(tmp_path, "--json"))["removed"]
    assert {"what": f"folder {tmp_path / 'heartbench-dead'}", "owner": dead.pid} in removed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heartbench-alive", "somebodys-own"]
    assert str(tmp_path) not in clean(tmp_path)
