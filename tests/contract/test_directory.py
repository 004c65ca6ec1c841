"""The example of a third party's backend: installed as such, found by its scheme, and right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from membership import InvalidValue, Membership, MemoryConfig, UnknownBackend, connect
from membership.testing import Check, checks, eventually, run

EXAMPLE = Path(__file__).parents[2] / "docs/examples/heartbench-directory"


@pytest.fixture(scope="session")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what pip makes of the package, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *options, str(EXAMPLE)], check=True, timeout=120)
    return target


@pytest.fixture
def installed(_installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as good as installed, for this test."""
    monkeypatch.syspath_prepend(str(_installed))
    return _installed


class DirectorySubject:
    """A directory of its own for each check."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> Membership:
        return connect(f"directory://{self._path}")

    def crash(self, membership: Membership) -> None:
        membership.close()  # which says nothing to anybody: the lock goes, as with the process

    def silence(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sessions(self) -> int:
        sessions = self._path / "sessions"
        return len(list(sessions.iterdir())) if sessions.exists() else 0


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_contract(check: Check, tmp_path: Path, installed: Path) -> None:
    run(check, DirectorySubject(tmp_path / "members"))


def test_a_killed_process_is_no_member_any_more(tmp_path: Path, installed: Path) -> None:
    url = f"directory://{tmp_path}/members"
    program = f"""
import sys, time
sys.path.append({str(installed)!r})
from membership import connect
connect({url!r}).join("compute", "victim")
time.sleep(60)
"""
    with connect(url) as membership, subprocess.Popen([sys.executable, "-c", program]) as victim:
        try:
            eventually(lambda: "victim" in membership.members("compute"))
        finally:
            os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: "victim" not in membership.members("compute"))


def test_it_refuses_another_backends_config(tmp_path: Path, installed: Path) -> None:
    with pytest.raises(InvalidValue, match="MemoryConfig"):
        connect(f"directory://{tmp_path}/members", MemoryConfig())


def test_a_scheme_that_nobody_brings_is_told_with_the_nearest_one(installed: Path) -> None:
    with pytest.raises(UnknownBackend, match="did you mean directory://"):
        connect("direktory:///x")


def test_without_the_package_there_is_no_such_scheme() -> None:
    with pytest.raises(UnknownBackend):
        connect("directory:///x")
