"""Who takes part in a history: members in processes of their own, and observers in this one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from membership import Freshness, SqlConfig, connect
from membership.backends.sql import SqlMembership
from tests.history.record import Deed, Sight
from tests.history.worker import GROUP, Report, Worker, config_of

ROOT = Path(__file__).parents[2]
LEASE = 1.5
PATIENCE = 60.0
"""What a busy machine may take for anything; a wait that succeeds ends at once."""

Fault = Callable[[float], AbstractContextManager[str]]
"""Does something to the servers while the block runs; its number, 0 to 1, chooses what. It gives
the fault's name, and ends when they serve again."""


@dataclass(frozen=True)
class Plan:
    """What is to be run. Times are seconds."""

    seed: int
    seconds: float
    kind: str
    url: str
    settings: Mapping[str, Any]
    timeout: float
    """How long the servers keep a silent member."""
    faults: Mapping[str, Fault] = field(default_factory=dict)
    observer_urls: tuple[str, ...] = ()
    """Where not all observers are to use ``url``."""
    clock_steps: bool = False
    processes: bool = True
    """Whether members are processes of their own; else they can't be stopped."""
    held_up: Callable[[], bool] = lambda: False
    """Whether one who has just been stopped stands in everybody's way, as who stops in the middle
    of a transaction does where the database is a file."""


class Host(Protocol):
    """What a member runs in."""

    def tell(self, command: Mapping[str, Any]) -> None: ...

    def kill(self) -> None: ...

    def freeze(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class _Process:
    def __init__(self, plan: Plan, name: str, hear: Callable[[Report], None]) -> None:
        given = {
            "url": plan.url,
            "kind": plan.kind,
            "settings": plan.settings,
            "name": name,
            "lease": LEASE,
        }
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.history.worker", json.dumps(given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._hearing = threading.Thread(target=self._hear, args=(hear,), daemon=True)
        self._hearing.start()

    def _hear(self, hear: Callable[[Report], None]) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            if line.endswith(b"\n"):  # a killed process may have got no further
                hear(json.loads(line))

    def tell(self, command: Mapping[str, Any]) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(command).encode() + b"\n")
        self._popen.stdin.flush()

    def kill(self) -> None:
        self._popen.kill()
        self._end()

    def freeze(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def close(self) -> None:
        assert self._popen.stdin is not None
        self.resume()  # who stands still can't end
        self._popen.stdin.close()
        self._popen.wait(PATIENCE)
        self._end()

    def _end(self) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.wait(PATIENCE)
        self._hearing.join()
        self._popen.stdout.close()
        if not self._popen.stdin.closed:
            self._popen.stdin.close()


class _Thread:
    def __init__(self, plan: Plan, name: str, hear: Callable[[Report], None]) -> None:
        config = config_of(plan.kind, plan.settings)
        self._worker = Worker(plan.url, config, name, LEASE, hear)
        self._worker.start()

    def tell(self, command: Mapping[str, Any]) -> None:
        self._worker.obey(command)

    def kill(self) -> None:
        self._worker.crash()

    def freeze(self) -> None:
        raise AssertionError("a thread can't be stopped")

    resume = freeze

    def close(self) -> None:
        self._worker.close()


class Observer:
    """A connection of this process that writes down what its watch tells."""

    def __init__(self, plan: Plan, name: str, url: str) -> None:
        self.name = name
        self.offset = 0.0
        self.sights: list[Sight] = []
        config = config_of(plan.kind, plan.settings)
        if isinstance(config, SqlConfig):
            config = replace(config, wall_clock=lambda: time.time() + self.offset)
        self._membership = connect(url, config)
        self._watch = self._membership.watch(GROUP)
        self._reads: list[tuple[int, float]] = []
        """Of SQL's: the view's version before each, and when it was sent."""
        if isinstance(self._membership, SqlMembership):
            engine = self._membership._database._calls
            sa.event.listen(engine, "before_cursor_execute", self._note_read)
        self._thread = threading.Thread(target=self._follow, name=f"history-{name}", daemon=True)
        self._thread.start()

    def _note_read(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "beat" in statement:  # not the one for metadata, which follows it
            self._reads.append((self._watch.view.version, time.monotonic()))

    def _asked(self, version: int) -> float | None:
        """When the read was sent that led to this version."""
        read = bisect_left(self._reads, version, key=lambda noted: noted[0])
        return self._reads[read - 1][1] if read else None

    def _follow(self) -> None:
        for event in self._watch:
            if event.member is not None:
                counter = event.member.metadata["n"]
                assert isinstance(counter, int)
                self.sights.append(
                    Sight(
                        time.monotonic(),
                        self.name,
                        event.kind.value,  # type: ignore[arg-type]  # none but these have a member
                        event.member.name,
                        event.member.token,
                        counter,
                        self._asked(event.version),
                    )
                )

    def seen(self) -> dict[str, tuple[int, int]] | None:
        """The group as its view has it; None while that is no statement about the present."""
        view = self._watch.view
        if view.freshness is not Freshness.FRESH or view.unconfirmed:
            return None
        return {member.name: (member.token, member.metadata["n"]) for member in view}  # type: ignore[misc]

    def close(self) -> None:
        self._watch.close()
        self._thread.join()
        self._membership.close()


class Member:
    """One name, in whatever process it lives now, and what all of them reported."""

    def __init__(self, plan: Plan, name: str) -> None:
        self._plan = plan
        self.name = name
        self.lives: list[list[Report]] = []
        self.deeds: list[Deed] = []
        self.joined_in = True
        self.frozen = False
        self._host: Host | None = None
        self.start()

    def start(self) -> None:
        reports: list[Report] = []
        self.lives.append(reports)
        kind = _Process if self._plan.processes else _Thread
        self._host = kind(self._plan, self.name, reports.append)
        self.joined_in = True

    def do(self, what: str, **more: float) -> None:
        if self._host is not None and not self.frozen:
            self._host.tell({"do": what} | more)
            if what in ("join", "leave"):
                self.joined_in = what == "join"

    def kill(self) -> None:
        if self._host is not None:
            self._note("killed")
            self._host.kill()
            self._host = None
            self.frozen = False

    def revive(self) -> None:
        if self._host is None:
            self.start()

    def freeze(self) -> None:
        if self._host is not None and not self.frozen:
            self._note("frozen")
            self._host.freeze()
            self.frozen = True

    def resume(self) -> None:
        if self._host is not None and self.frozen:
            self._host.resume()
            self.frozen = False
            self._note("resumed")

    def _note(self, verb: Any) -> None:
        self.deeds.append(Deed(time.monotonic(), verb, self.name))

    @property
    def running(self) -> bool:
        return self._host is not None

    @property
    def joined(self) -> bool:
        """Whether its present process has joined."""
        return any(report["what"] == "joined" for report in self.lives[-1])

    def state(self) -> Report | None:
        """What it says of itself now; None if it doesn't answer in a second."""
        reports = self.lives[-1]
        start = len(reports)
        self.do("state")
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for report in reports[start:]:
                if report["what"] == "state":
                    return report
            time.sleep(0.02)
        return None

    def close(self) -> None:
        if self._host is not None:
            self.resume()
            self._host.close()
