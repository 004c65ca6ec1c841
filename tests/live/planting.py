"""A repository of these sources with something planted into them, for the gate to find."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GOOD = "good"
"""The tag of the sources as they are."""


def planted(folder: Path, changes: Mapping[str, tuple[str, str]]) -> Path:
    """These sources under the tag `GOOD`, and a commit on top of it. `changes`: by file, some code
    and what takes its place."""
    for package in ("bench", "membership"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=left_out)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "good"], ["tag", GOOD]):
        subprocess.run([*git, *words], check=True)
    for name, (good, worse) in changes.items():
        code = (folder / name).read_text()
        assert code.count(good) == 1, f"{name} has changed: plant it elsewhere"
        (folder / name).write_text(code.replace(good, worse))
    subprocess.run([*git, "commit", "-qam", "tidy up"], check=True)
    return folder


def gated(repository: Path, scenario: str, *words: str) -> tuple[int, dict[str, Any]]:
    """The gate's exit code and outcome, of a repository's sources against those under `GOOD`."""
    done = subprocess.run(
        [
            sys.executable, "-m", "bench", "gate", ROOT / "scenarios" / f"{scenario}.yaml",
            "--against", GOOD, "--servers", "local", "--json", *words,
        ],
        cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
