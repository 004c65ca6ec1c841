"""A shard whose services live on one event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from bench.engines.live.swarm.service import Service, Station
from bench.engines.live.swarm.shard import Action, Log, Order, ShardPlan, Status, monotonic
from bench.engines.live.swarm.stalls import Stalls
from bench.kind import Kind

T = TypeVar("T")

GOODBYE_SECONDS = 5.0


class ServiceShard(ABC):
    """A `shard.Shard` that looks after its services."""

    def __init__(self, plan: ShardPlan) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=plan.name, daemon=True)
        self._thread.start()
        self.plan = plan
        self._counted = 0
        """How many events the counts below take in: ten thousand services take a while to count."""
        self._counts = (0, 0, 0)
        self.services: dict[str, Service] = {}
        self.station = self._call(self._open())

    async def _open(self) -> Station:
        station = Station(self.plan, asyncio.get_running_loop())
        await self.open(station)
        self._stalls = Stalls(station.measure, lambda: station.renewals)
        station.spawn(self._stalls.watch())
        self.services.update((name, self.service(station, name)) for name in self.plan.services)
        return station

    @abstractmethod
    async def open(self, station: Station) -> None:
        """Make ready what the services share."""

    @abstractmethod
    def service(self, station: Station, name: str) -> Service:
        """A service, not yet joined."""

    @abstractmethod
    async def shut(self) -> None:
        """Let go of what the services shared."""

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def begin(self, epoch: float) -> None:
        self._call(self._begin(epoch))

    async def _begin(self, epoch: float) -> None:
        for service, at in zip(self.services.values(), self.plan.join_at, strict=True):
            self._at(epoch + at, service.start)

    def carry_out(self, order: Order) -> None:
        self._call(self._carry_out(order))

    async def _carry_out(self, order: Order) -> None:
        for name, at in zip(order.services, order.at, strict=True):
            if name in self.services:
                self._at(at, self._obey, name, order.action, at, order.value)

    def _obey(self, name: str, action: Action, due: float, value: float) -> None:
        service = self.services[name]
        try:
            if action is Action.START:
                service.once_ended(lambda: self._replace(service, due))
            else:
                service.obey(action, due, value)
        except OSError as error:  # such as a process that doesn't stop
            self.station.failures.append(f"{name}: {action}: {error}")

    def _replace(self, service: Service, due: float) -> None:
        """Another process under the name of one that has ended."""
        successor = self.services[service.name] = self.service(self.station, service.name)
        successor.restarted = True
        now = monotonic()
        successor.tell(Kind.RESTARTED, now, now - due)
        successor.start()

    def _at(self, t: float, call: Callable[..., None], *args: object) -> None:
        self._loop.call_later(max(0.0, t - monotonic()), call, *args)

    def status(self) -> Status:
        if (told := self.station.told) != self._counted:
            joined = live = dead = 0
            for service in list(self.services.values()):
                joined += service.joined_once or service.restarted
                dead += service.over
                live += service.incarnation is not None and not service.over
            self._counted, self._counts = told, (joined, live, dead)
        return Status(*self._counts, self.station.renewals, tuple(self.station.failures))

    def drain(self) -> Log:
        return self._call(self._drain())

    async def _drain(self) -> Log:
        log = self.station.log.drain()
        log.measurements += self.station.lateness.drain()
        return log

    def clock(self) -> float:
        return monotonic()

    def close(self, *, goodbye: bool) -> None:
        self._call(self._close(goodbye))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self, goodbye: bool) -> None:
        alive = [service for service in self.services.values() if not service.over]
        members = [service for service in alive if service.live]
        for service in alive:
            service.over = True
        await self.station.quiesce()
        if goodbye:
            work = [service.depart() for service in members]
            done = asyncio.gather(*work, return_exceptions=True)
            await asyncio.wait([done], timeout=GOODBYE_SECONDS)
        for service in alive:
            service.die()
        await self.station.quiesce()
        await self.shut()
