"""An executor in a process of its own, which ends or stops itself at a step of the protocol.

``python -m tests.recipes.executor_process URL MODE STEP LEDGER``; it runs until its stdin ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from membership import connect
from membership.recipes import Election, Failure, Rate, Reactions
from tests.recipes.obstruction import Obstructed
from tests.recipes.servers import SQL, ZOOKEEPER

LEASE = 1.5


class Ledger:
    """What the actions act upon, shared by processes: it refuses a token older than its newest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def act(self, token: int) -> None:
        with self._path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            newest = max([0, *(entry[0] for entry in map(json.loads, file))])
            file.write(json.dumps([token, token >= newest]) + "\n")

    def entries(self, *, accepted: bool) -> list[int]:
        lines = map(json.loads, self._path.read_text().splitlines())
        return [token for token, good in lines if good is accepted]


def reactions(membership: Obstructed, act: Callable[[Failure], None]) -> Reactions:
    """The same in every process."""
    return Reactions(
        membership, "compute", "evacuate", act, grace=0.2, rate=Rate(1000), brake=None, tick=0.02
    )


def main(url: str, mode: str, where: str, ledger: Ledger) -> None:
    def come_to(step: str) -> None:
        if step == where:
            if mode == "killed":
                os._exit(9)
            # sent to this very thread, so that it comes not a single instruction further
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def step(when: str, cell: str, value: bytes) -> None:
        if cell.startswith("reaction/") and when != "read" and not cell.endswith("/brake"):
            content = json.loads(value)
            known = "claim" if content["claimed"] else "entry" if content["alive"] else "removal"
            come_to(f"{when} the {known}")

    def act(failure: Failure) -> None:
        come_to("before the effect")
        ledger.act(failure.leadership.token)
        come_to("after the effect")

    config = ZOOKEEPER if url.startswith("zookeeper") else SQL
    with connect(url, config) as real:
        membership = Obstructed(real, step)
        election = Election(membership, "executor", lease=LEASE)
        with (
            election.run(membership.join("executors", "first")) as candidacy,
            reactions(membership, act).run(candidacy),
        ):
            sys.stdin.read()


if __name__ == "__main__":
    _, url, mode, where, ledger = sys.argv
    main(url, mode, where, Ledger(Path(ledger)))
