"""The executor as a process: killed, or stopped with every thread that it has, and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from membership.recipes import Election, Failure
from membership.testing import eventually
from tests.recipes.executor_process import LEASE, Ledger, reactions
from tests.recipes.obstruction import Obstructed
from tests.recipes.servers import Servers
from tests.recipes.test_reactions_failover import VICTIM, rostered

pytestmark = pytest.mark.parametrize("servers", ["postgresql", "zookeeper"], indirect=True)


@contextmanager
def executor(url: str, mode: str, where: str, ledger: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.recipes.executor_process", url, mode, where, str(ledger)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            yield process
            process.communicate(timeout=60)
        finally:
            process.kill()


def state(process: subprocess.Popen[bytes]) -> str:
    """As the kernel has it: T for stopped, Z for dead."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("where", ["before the claim", "before the effect", "before the removal"])
@pytest.mark.parametrize("mode", ["killed", "stopped"])
def test_another_process_takes_up_what_it_left(
    servers: Servers, tmp_path: Path, mode: str, where: str
) -> None:
    """And what it still tries when it goes on is refused, by the servers or by the resource."""
    ledger = Ledger(tmp_path / "ledger")
    hosts, theirs = servers.connect(), servers.connect()
    with executor(servers.url, mode, where, tmp_path / "ledger") as first:
        victim = hosts.join("compute", VICTIM)
        eventually(lambda: rostered(hosts), 10)
        victim.leave()
        eventually(lambda: state(first) == ("Z" if mode == "killed" else "T"), 10)
        before = ledger.entries(accepted=True)
        assert len(before) == (where == "before the removal")

        def act(failure: Failure) -> None:
            ledger.act(failure.leadership.token)

        membership = Obstructed(theirs, lambda _when, _cell, _value: None)
        election = Election(membership, "executor", lease=LEASE)
        with (
            election.run(theirs.join("executors", "second")) as candidacy,
            reactions(membership, act).run(candidacy),
        ):
            eventually(lambda: len(ledger.entries(accepted=True)) == len(before) + 1, 3 * LEASE)
            eventually(lambda: not rostered(hosts))
            if mode == "stopped":
                os.kill(first.pid, signal.SIGCONT)
                late = where == "before the effect"
                eventually(lambda: len(ledger.entries(accepted=False)) == late)
                time.sleep(1.0)
                assert len(ledger.entries(accepted=False)) == late
            accepted = ledger.entries(accepted=True)
            assert len(accepted) == len(before) + 1
            assert accepted == sorted(set(accepted))
