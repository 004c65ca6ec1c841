"""Library services: the `membership` library itself, each in an OS process of its own.

A crash is a SIGKILL and a freeze a SIGSTOP. The processes are forked from the shard's before it
has any thread, so fifty of them cost a fraction of a second and little memory of their own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from typing import ClassVar

import membership.backends.sql.postgres
import membership.backends.zookeeper
from bench.engines.live.swarm import member
from bench.engines.live.swarm.service import Service, ServiceShard, Station
from bench.engines.live.swarm.shard import ShardPlan
from bench.kind import Kind

DRIVERS = (membership.backends.sql.postgres, membership.backends.zookeeper)
"""Imported before the first fork, so that no child has to."""


class _Process(Service):
    """A service in a process: told by its pipe, heard by the shard's."""

    client: ClassVar[str] = "library"

    def __init__(self, station: Station, name: str, child: member.Child, shard: LibraryShard):
        super().__init__(station, name)
        self._child = child
        self._shard = shard
        self._left = asyncio.Event()

    def start(self) -> None:  # the process says so itself
        self.station.spawn(self.join())

    async def join(self) -> None:
        os.write(self._child.orders, b"join\n")

    def heard(self, report: member.Report) -> None:
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
                self.late(report.t - report.value, report.t)
            case "lost":
                self.lost(report.t)
            case "left":
                self._left.set()
            case "failed":
                self.station.failures.append(f"{self.name}: {report.text}")

    def die(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        os.waitpid(self._child.pid, 0)
        self._shard.listen()

    def stop(self) -> None:
        os.kill(self._child.pid, signal.SIGSTOP)
        os.waitpid(self._child.pid, os.WUNTRACED)
        self._shard.listen()

    def go_on(self) -> None:
        os.kill(self._child.pid, signal.SIGCONT)

    async def depart(self) -> None:
        os.write(self._child.orders, b"leave\n")
        await self._left.wait()


class LibraryShard(ServiceShard):
    """Processes that import the library."""

    def __init__(self, plan: ShardPlan) -> None:
        self._reports, theirs = os.pipe()
        os.set_blocking(self._reports, False)
        self._rest = b""
        gc.freeze()  # what the children share stays shared
        self._children = {
            name: member.fork(plan, index, theirs) for index, name in enumerate(plan.services)
        }
        os.close(theirs)
        super().__init__(plan)

    async def open(self, station: Station) -> None:
        station.loop.add_reader(self._reports, self.listen)

    def service(self, station: Station, name: str) -> Service:
        return _Process(station, name, self._children[name], self)

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
                report = member.Report(*json.loads(line))
                service = self.services[self.plan.services[report.service]]
                assert isinstance(service, _Process)
                service.heard(report)

    async def shut(self) -> None:
        self.station.loop.remove_reader(self._reports)
        os.close(self._reports)
        for child in self._children.values():
            os.close(child.orders)
