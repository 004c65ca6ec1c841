"""The executor dies, or is stopped past its deadline and goes on, at every step of the protocol."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

import pytest

from membership import Membership
from membership.errors import Closed
from membership.recipes import Election, Failure, Rate, Reactions
from membership.recipes.roster import BUCKETS, Bucket
from membership.testing import eventually
from tests.recipes.obstruction import Obstructed
from tests.recipes.servers import Servers

LEASE = 1.0
VICTIM = "host-1"

Mode = Literal["killed", "stopped"]

EFFECTS = {
    "before the roster's entry": 1,
    "after the roster's entry": 1,
    "before the claim": 1,
    "after the claim": 1,
    "before the effect": 1,
    "after the effect": 2,
    "before the claim's removal": 2,
    "after the claim's removal": 1,
}
"""The steps, and how many effects its successor makes of it: at least one, two where nobody but
the executor knew that the first one was done."""


@dataclass
class Resource:
    """What the actions act upon: it refuses a token older than one it has seen."""

    newest: int = 0
    accepted: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, token: int) -> None:
        with self.lock:
            (self.accepted if token >= self.newest else self.refused).append(token)
            self.newest = max(self.newest, token)


class Fate:
    """What befalls an executor when it comes to that step."""

    def __init__(self, servers: Servers, real: Membership, mode: Mode, where: str) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        self._servers = servers
        self._real = real
        self._mode = mode
        self._where = where

    def step(self, when: str, cell: str, value: bytes) -> None:
        if cell.startswith("reaction/") and when != "read" and not cell.endswith("/brake"):
            content = json.loads(value)
            known = next((part for part in ("claimed", "alive") if VICTIM in content[part]), None)
            what = {"claimed": "claim", "alive": "roster's entry", None: "claim's removal"}[known]
            self.come_to(f"{when} the {what}")
        self._stand()

    def come_to(self, where: str) -> None:
        if where != self._where or self.released.is_set():
            return
        self.reached.set()
        if self._mode == "killed":
            self._servers.crash(self._real)
            raise Closed("killed")
        self._stand()

    def _stand(self) -> None:
        """A process that is stopped gets nowhere, on no thread."""
        if self._mode == "stopped" and self.reached.is_set():
            assert self.released.wait(60)


@dataclass
class Executors:
    """Two of them, one after the other, and everything that they did."""

    stack: ExitStack
    runs: list[tuple[int, int]] = field(default_factory=list)
    tenures: Counter[str] = field(default_factory=Counter)
    """How often each was elected: again, where a busy machine didn't let it renew its lease."""
    resource: Resource = field(default_factory=Resource)

    def start(self, membership: Membership, name: str, fate: Fate | None = None) -> None:
        def act(failure: Failure) -> None:
            self.runs.append((failure.token, failure.leadership.token))
            if fate:
                fate.come_to("before the effect")
            self.resource.act(failure.leadership.token)
            if fate:
                fate.come_to("after the effect")

        registration = membership.join("executors", name)
        candidacy = self.stack.enter_context(
            Election(membership, "executor", lease=LEASE).run(
                registration, on_elected=lambda _: self.tenures.update([name])
            )
        )
        reacting = Reactions(
            membership,
            "compute",
            "evacuate",
            act,
            grace=0.2,
            rate=Rate(1000),
            brake=None,
            tick=0.02,
        )
        self.stack.enter_context(reacting.run(candidacy))


def rostered(membership: Membership) -> bool:
    """Whether the roster has the victim, alive or claimed."""
    buckets = [Bucket(membership.cell(f"reaction/compute/evacuate/{n}")) for n in range(BUCKETS)]
    for bucket in buckets:
        bucket.read()
    return any(VICTIM in bucket.alive or VICTIM in bucket.claimed for bucket in buckets)


@pytest.mark.parametrize("where", EFFECTS)
@pytest.mark.parametrize("mode", ["killed", "stopped"])
def test_every_failure_is_acted_upon_whatever_befalls_the_executor(
    servers: Servers, mode: Mode, where: str
) -> None:
    """At least one effect, one run for each leadership, none of a fenced-off executor."""
    real, theirs, hosts = servers.connect(), servers.connect(), servers.connect()
    fate = Fate(servers, real, mode, where)
    with ExitStack() as stack:
        stack.callback(fate.released.set)
        executors = Executors(stack)
        executors.start(Obstructed(real, fate.step), "first", fate)
        victim = hosts.join("compute", VICTIM)
        if "entry" not in where:
            eventually(lambda: rostered(hosts))
            victim.leave()
        assert fate.reached.wait(30), "the executor never came to that step"
        if where == "after the roster's entry":
            victim.leave()  # while nobody leads
        executors.start(theirs, "second")
        if where == "before the roster's entry":
            eventually(lambda: rostered(hosts), LEASE)
            victim.leave()
        resource = executors.resource
        eventually(lambda: resource.accepted and not rostered(hosts), 3 * LEASE)
        seen = list(resource.accepted)
        fate.released.set()
        late = mode == "stopped" and where in ("after the claim", "before the effect")
        eventually(lambda: len(resource.refused) >= late)
        time.sleep(0.5)
        assert resource.accepted == seen, "a fenced-off executor had an effect"
        lapses = sum(count - 1 for count in executors.tenures.values())
        assert 0 <= len(seen) - EFFECTS[where] <= lapses
        assert seen == sorted(set(seen)), "one effect for each leadership, in their order"
        assert len(set(executors.runs)) == len(executors.runs), "one run for each claim"
        assert {token for token, _ in executors.runs} == {victim.token}
        assert 0 <= len(resource.refused) - late <= lapses
