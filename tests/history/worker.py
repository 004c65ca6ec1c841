"""One member: it does as it is told and says what it did, believed and led.

In a process of its own (``python -m tests.history.worker``), so that it can be killed and
stopped, it reads commands and writes reports, a line of JSON each. The same class runs in a
thread where the backend lives in the process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from membership import (
    Config,
    Conflict,
    MembershipError,
    MemoryConfig,
    Registration,
    SqlConfig,
    ZooKeeperConfig,
    connect,
)
from membership.recipes.election import Candidacy, Election, Leadership

GROUP = "compute"
RESOURCE = "resource"
SEATS: Mapping[str, int] = {"one": 1, "two": 2}
"""The elections that every member stands in, and how many leaders each may have."""

Report = dict[str, Any]
Emit = Callable[[Report], None]

_LOOK = 0.01
"""Between two samples, in s."""
_BELIEF_EVERY = 0.05
_PROMPT = 0.02
"""A sample that took longer says nothing exact about its instant."""


class Worker:
    """A connection, its member, its candidacies and a writer that never gives up a fence."""

    def __init__(self, url: str, config: Config, name: str, lease: float, emit: Emit) -> None:
        self._emit = emit
        self._name = name
        self._lease = lease
        self._url = url
        self._clock_offset = 0.0
        if isinstance(config, SqlConfig):
            config = replace(config, wall_clock=lambda: time.time() + self._clock_offset)
        self._config = config
        self._stalled_after = _timeout(config) / 4
        self._value = 0
        self._lost = 0.0
        self._registration: Registration | None = None
        self._candidacies: dict[str, Candidacy] = {}
        self._last: dict[str, Leadership] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Connect and join, however long that takes."""
        self.membership = self._patiently(
            lambda: connect(self._url, self._config, meter=self._measured)
        )
        self._join()
        for name, work in (("samples", self._sample), ("writes", self._write)):
            thread = threading.Thread(target=work, name=f"history-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _patiently(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except MembershipError as error:
                if self._ended.is_set():
                    raise
                self._emit({"what": "refused", "t": time.monotonic(), "why": repr(error)})
                time.sleep(0.05)

    def _join(self) -> None:
        begun = time.monotonic()
        self._registration = registration = self._patiently(
            lambda: self.membership.join(
                GROUP,
                self._name,
                metadata={"n": self._value},
                on_lost=self._noted_loss,
                on_rejoined=lambda each: self._joined(each, self._lost),
            )
        )
        self._joined(registration, begun)
        for election, seats in SEATS.items():
            self._candidacies[election] = Election(
                self.membership, election, seats=seats, lease=self._lease
            ).run(registration, on_deposed=partial(self._deposed, election))

    def _noted_loss(self, registration: Registration) -> None:
        self._lost = time.monotonic()
        self._emit({"what": "lost", "t": self._lost, "token": registration.token})

    def _joined(self, registration: Registration, begun: float) -> None:
        self._emit(
            {
                "what": "joined",
                "t": begun,
                "until": time.monotonic(),
                "token": registration.token,
                "value": self._value,
            }
        )

    # --- commands

    def obey(self, command: Mapping[str, Any]) -> None:
        """Do it; a server that doesn't answer is no reason to stop."""
        match command["do"]:
            case "leave":
                self._leave()
            case "join" if self._registration is None:
                self._join()
            case "update" if (registration := self._registration) is not None:
                self._value += 1
                # Disconnected: it is only promised for the next life, so it is asked for again
                self._patiently(lambda: registration.update({"n": self._value}))
            case "stand down":
                self._stand_down()
            case "clock":
                self._clock_offset = command["offset"]
            case "state":
                self._emit({"what": "state", "t": time.monotonic()} | self._state())
            case _:
                pass

    def _leave(self) -> None:
        registration, self._registration = self._registration, None
        if registration is None:
            return
        for candidacy in self._candidacies.values():
            candidacy.close()
        self._candidacies.clear()
        self._emit({"what": "left", "t": time.monotonic(), "token": registration.token})
        with suppress(MembershipError):
            registration.leave()

    def _stand_down(self) -> None:
        for candidacy in self._candidacies.values():
            candidacy.stand_down()

    def _deposed(self, election: str, leadership: Leadership) -> None:
        """Told before the seat is given up: nobody else can have followed yet."""
        self._emit(
            {
                "what": "led",
                "t": time.monotonic(),
                "election": election,
                "seat": leadership.seat.number,
                "token": leadership.token,
            }
        )

    def _state(self) -> Report:
        registration = self._registration
        member = None
        if registration is not None and registration.is_member:
            member = [registration.token, registration.metadata["n"]]
        return {"member": member, "out": registration is None}

    # --- samples

    def _sample(self) -> None:
        previous = told = time.monotonic()
        extended: dict[str, float] = {}
        while not self._ended.wait(_LOOK):
            now = time.monotonic()
            if now - previous > self._stalled_after:
                self._emit({"what": "stalled", "t": previous, "until": now})
            previous = now
            registration = self._registration
            if registration is not None and now - told >= _BELIEF_EVERY:
                told = now
                token = registration.token
                believes = registration.is_member and registration.token == token
                until = time.monotonic()
                if believes and until - now < _PROMPT:
                    self._emit({"what": "believes", "t": now, "until": until, "token": token})
            for election, candidacy in self._candidacies.copy().items():
                self._look(election, candidacy, extended)

    def _look(self, election: str, candidacy: Candidacy, extended: dict[str, float]) -> None:
        t = time.monotonic()
        leadership = candidacy.leadership
        if leadership is None or time.monotonic() - t >= _PROMPT:
            return
        self._last[election] = leadership
        deadline = leadership._deadline
        if deadline != extended.get(election) and deadline > t:
            extended[election] = deadline
            self._emit(
                {
                    "what": "leads",
                    "t": t,
                    "election": election,
                    "seat": leadership.seat.number,
                    "token": leadership.token,
                    "until": deadline,
                }
            )

    # --- the fenced writer

    def _write(self) -> None:
        """Under the newest leadership it had, be it over or not: refusing is not its business."""
        leadership: Leadership | None = None
        cell = self.membership.cell(RESOURCE)
        while not self._ended.wait(0.05):
            leadership = self._last.get("one") or leadership
            if leadership is None:
                continue
            value = json.dumps([self._name, leadership.token]).encode()
            with suppress(Conflict, MembershipError):
                found = cell.get()
                written = cell.compare_and_set(value, found.version, leadership.fence)
                self._emit(
                    {
                        "what": "wrote",
                        "t": time.monotonic(),
                        "version": written.version,
                        "token": leadership.token,
                    }
                )

    def _measured(self, name: str, value: float) -> None:
        if name == "renewal_seconds":
            now = time.monotonic()
            self._emit({"what": "renewed", "t": now - value, "until": now})
            if value > self._stalled_after:
                self._emit({"what": "stalled", "t": now - value, "until": now})

    # --- the end

    def close(self) -> None:
        """End in order."""
        self._finish()
        self.membership.close()

    def crash(self) -> None:
        """End as a killed process would, as far as the servers can tell."""
        abandon: Callable[[], None] = self.membership.abandon
        abandon()
        self._finish()

    def _finish(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for candidacy in self._candidacies.values():
            candidacy.close()


def _timeout(config: Config) -> float:
    return config.session_timeout if isinstance(config, ZooKeeperConfig) else config.timeout


def config_of(kind: str, settings: Mapping[str, Any]) -> Config:
    """A backend's settings, from what a command line can carry."""
    classes = {"memory": MemoryConfig, "sql": SqlConfig, "zookeeper": ZooKeeperConfig}
    config: Config = classes[kind](**settings)
    return config


def main() -> None:
    """Be one member until standard input ends."""
    given = json.loads(sys.argv[1])
    lock = threading.Lock()

    def emit(report: Report) -> None:
        line = json.dumps(report).encode() + b"\n"
        with lock:
            os.write(1, line)

    worker = Worker(
        given["url"],
        config_of(given["kind"], given["settings"]),
        given["name"],
        given["lease"],
        emit,
    )
    worker.start()
    for line in sys.stdin:
        worker.obey(json.loads(line))
    worker.close()


if __name__ == "__main__":
    main()
