"""How an arm goes through the runs of a plan."""

from __future__ import annotations

from typing import Any

import pytest

from bench import arms
from bench.errors import InvalidRun, MachineError
from bench.plan import Run, plan
from bench.progress import silent
from bench.scenario.load import loads

SWEEP = """
version: 1
name: sweep
question: Which of these can be had?
seed: 1
backends: {zk: {kind: zookeeper, session_timeout: 10s}}
services: {count: 10}
observers: 1
phases: [{hold: 10s}]
matrix: {services.count: [10, 20, 30]}
"""


@pytest.mark.parametrize(
    ("error", "done"), [(InvalidRun("not all joined"), [10, 20, 30]), (MachineError("down"), [10])]
)
def test_a_run_that_failed_in_itself_ends_no_other(
    error: Exception, done: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stops the first of three runs is told in any case; only what ails the machine would
    ail the others too."""
    started = []

    def execute(run: Run, **_: Any) -> None:
        started.append(run.scenario.services.count)
        if len(started) == 1:
            raise error

    monkeypatch.setattr(arms, "execute", execute)
    with pytest.raises(type(error), match=str(error)):
        arms.Live(["local"]).execute(plan(loads(SWEEP, "sweep.yaml")), lambda _: None, silent)
    assert started == done
