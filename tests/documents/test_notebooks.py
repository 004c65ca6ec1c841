"""Notebooks as they are in git. That they run is `test_site`'s."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _code(path: Path) -> list[dict[str, Any]]:
    """The cells of code."""
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    """It would be as old as its last run; the site has what the code gives today."""
    run = [cell for cell in _code(path) if cell["outputs"] or cell["execution_count"]]
    assert run == [], "clear the outputs (in Jupyter: Edit, Clear Outputs of All Cells) and save"


def test_their_types_are_right(tmp_path: Path) -> None:
    for path in NOTEBOOKS:
        code = "\n\n".join("".join(cell["source"]) for cell in _code(path))
        (tmp_path / f"{path.stem.replace('-', '_')}.py").write_text(code)
    command = [sys.executable, "-m", "mypy", *map(str, tmp_path.glob("*.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
