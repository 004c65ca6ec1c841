"""What a machine lacks for racks is told beforehand, with the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.engines.live.racks import missing, racks
from bench.errors import MachineError


def test_whoever_is_not_root_is_told_that_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    [lack] = missing()
    assert lack.what == "the rights of root"
    assert "sudo" in lack.command


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing is installed, and root."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)


@pytest.mark.usefixtures("bare")
def test_programs_that_are_not_installed_are_named() -> None:
    lacks = missing()
    assert [lack.what for lack in lacks] == ["iproute2", "iptables"]
    assert {lack.command for lack in lacks} == {"run containers/install-packages servers"}


@pytest.mark.usefixtures("bare")
def test_without_them_there_are_no_racks_but_none_are_needed_for_none() -> None:
    with pytest.raises(MachineError, match="PATH has no ip; run containers/install-packages"):
        racks([0]).__enter__()
    with racks([]) as fabric:
        assert fabric.inside(0) == ()
