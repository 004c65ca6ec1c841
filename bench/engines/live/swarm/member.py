"""The process of one library service: it joins, reports, and leaves when it is told to."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from bench.engines.live.swarm import skew
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from membership import Disconnected, Membership, MembershipError, Registration, connect

ATTEMPTS = 5
"""How often it tries to get in, each try bounded by the library's own timeouts."""


@dataclass(frozen=True, slots=True)
class Report:
    """One line to the shard; at most PIPE_BUF bytes, so that lines never mix."""

    service: int
    kind: str
    t: float
    value: float | None = None
    token: int | None = None
    text: str | None = None


def live(plan: ShardPlan, reports: int, index: int, files: Sequence[int]) -> None:
    """Be the plan's service of that index, from its first order on until the last.

    ``files``: the pipe that orders come from, and the clock to go by where there is one.
    """
    orders, *clock = files
    for each in clock:
        skew.follow(each)
    _Member(plan, index, orders, reports).live()


class _Member:
    def __init__(self, plan: ShardPlan, index: int, orders: int, reports: int) -> None:
        self._plan = plan
        self._index = index
        self._orders = os.fdopen(orders, "rb", buffering=0)
        self._reports = reports

    def report(
        self,
        kind: str,
        value: float | None = None,
        token: int | None = None,
        text: str | None = None,
    ) -> None:
        line = astuple(Report(self._index, kind, monotonic(), value, token, text))
        os.write(self._reports, json.dumps(line).encode() + b"\n")

    def meter(self, name: str, value: float) -> None:
        if name == "renewal_seconds":
            self.report("renewed", monotonic() - value)
        elif name == "renewal_late_seconds":
            self.report("late", value)

    def live(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._orders.readline() != b"join\n":
            return
        try:
            self.report("joining")
            with self._connect() as membership:
                self._stay(membership)
        except MembershipError as error:
            self.report("failed", text=f"{type(error).__name__}: {error}"[:1000])

    def _connect(self) -> Membership:
        for _ in range(ATTEMPTS - 1):
            try:
                return connect(self._plan.url, self._plan.config, meter=self.meter)
            except Disconnected:
                continue
        return connect(self._plan.url, self._plan.config, meter=self.meter)

    def _stay(self, membership: Membership) -> None:
        def joined(registration: Registration, sent: float | None = None) -> None:
            server = getattr(membership, "server", None)
            self.report("joined", sent, registration.token, server)

        def lost(registration: Registration) -> None:
            self.report("lost", token=registration.token)

        sent = monotonic()
        name = self._plan.services[self._index]
        registration = membership.join(self._plan.group, name, on_lost=lost, on_rejoined=joined)
        joined(registration, sent)
        while (order := self._orders.readline()) == b"clock\n":
            self.report("clock", time.time() - monotonic())
        if order == b"leave\n":
            registration.leave()
            self.report("left")
