"""Library services: the `membership` library itself, each in an OS process of its own.

A crash is a SIGKILL, a freeze a SIGSTOP, and a loss of power a SIGSTOP for good, which leaves the
connections open. A restart is another process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from typing import ClassVar

import membership.backends.sql.postgres
import membership.backends.zookeeper
from bench.engines.live.swarm.loop import ServiceShard
from bench.engines.live.swarm.member import Report, live
from bench.engines.live.swarm.nursery import Nursery
from bench.engines.live.swarm.service import Service, Station
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from bench.engines.live.swarm.skew import Clock
from bench.kind import Kind

DRIVERS = (membership.backends.sql.postgres, membership.backends.zookeeper)
"""Imported before the first fork, so that no child has to."""


class _Process(Service):
    """A service in a process: told by its pipe, heard by the shard's."""

    client: ClassVar[str] = "library"

    def __init__(self, station: Station, name: str, shard: LibraryShard, number: int):
        super().__init__(station, name)
        self._shard = shard
        self._clock = Clock() if station.plan.skewable else None
        theirs, self._orders = os.pipe()
        files = [theirs] if self._clock is None else [theirs, self._clock.fd]
        self._child = shard.nursery.bear(number, files)
        os.close(theirs)
        self._left = self._gone = False

    def start(self) -> None:  # the process says so itself
        self.station.spawn(self.join())

    async def join(self) -> None:
        self._tell_process(b"join\n")

    def _tell_process(self, order: bytes) -> None:
        try:
            os.write(self._orders, order)
        except BrokenPipeError:
            self.station.failures.append(f"{self.name}: its process has ended by itself")

    def heard(self, report: Report) -> None:
        """One line of the process."""
        match report.kind:
            case "joining":
                self.tell(Kind.JOINING, report.t)
            case "joined":
                self.incarnation = report.token
                self.server = self.station.plan.servers.get(report.text or "")
                self.joined_once = True
                self.renewed = report.value
                self.tell(Kind.JOINED, report.t)
            case "renewed":
                assert report.value is not None
                self.answered(report.value)
            case "late":
                assert report.value is not None
                self.sent_renewal(report.t - report.value, report.t)
            case "lost":
                self.lost(report.t)
            case "left":
                self._left = True
            case "clock":
                assert report.value is not None
                self.skewed(report.t, report.value - (time.time() - monotonic()))
            case "failed":
                self.station.failures.append(f"{self.name}: {report.text}")

    def die(self) -> None:
        if not self._gone:
            self._child.kill()
            self._shard.listen()
            self._let_go()

    def fall_silent(self) -> None:
        self.stop()

    def stop(self) -> None:
        self._child.stop()
        self._shard.listen()

    def go_on(self) -> None:
        self._child.go_on()

    def set_clock(self, offset: float) -> None:
        if self._clock is None:
            self.station.failures.append(f"{self.name}: its clock can't be set off")
            return
        self.skew = offset
        self._clock.set(offset)
        self._tell_process(b"clock\n")  # it answers with what it sees

    async def depart(self) -> None:
        self._tell_process(b"leave\n")
        over = asyncio.Event()
        self.station.loop.add_reader(self._child.fd, over.set)
        await over.wait()
        self.station.loop.remove_reader(self._child.fd)
        self._shard.listen()
        self._let_go()
        if not self._left:
            raise ChildProcessError(f"{self.name}: its process ended before it had left")

    def _let_go(self) -> None:
        self._gone = True
        self._child.close()
        os.close(self._orders)
        if self._clock is not None:
            self._clock.close()


class LibraryShard(ServiceShard):
    """Processes that import the library."""

    def __init__(self, plan: ShardPlan) -> None:
        self._reports, theirs = os.pipe()
        os.set_blocking(self._reports, False)
        self._rest = b""
        self._numbers = {name: number for number, name in enumerate(plan.services)}
        gc.freeze()  # what the members share stays shared
        self.nursery = Nursery(lambda *given: live(plan, theirs, *given), [theirs])
        os.close(theirs)
        super().__init__(plan)

    async def open(self, station: Station) -> None:
        station.loop.add_reader(self._reports, self.listen)

    def service(self, station: Station, name: str) -> Service:
        return _Process(station, name, self, self._numbers[name])

    def listen(self) -> None:
        """Take in what the processes have reported until now."""
        while True:
            try:
                data = os.read(self._reports, 65536)
            except BlockingIOError:
                return
            if not data:
                self.station.loop.remove_reader(self._reports)
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                report = Report(*json.loads(line))
                service = self.services[self.plan.services[report.service]]
                assert isinstance(service, _Process)
                service.heard(report)

    async def shut(self) -> None:
        self.station.loop.remove_reader(self._reports)
        self.nursery.close()
