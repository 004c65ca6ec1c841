"""What every simulated service has in common: its life, as the log tells it, and its shard's loop.

The kinds differ in how they join, die and stop: `zookeeper.py` and `sql.py` hold thousands of
``wire`` services on the loop, `library.py` looks after processes.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

import uvloop

from bench.engines.live.swarm.shard import (
    Action,
    Event,
    Log,
    Measurement,
    Order,
    ShardPlan,
    Status,
    monotonic,
)
from bench.kind import Kind

T = TypeVar("T")

JOINS_AT_A_TIME = 256
"""More joins in flight don't make a cold server faster; they make the pings of the ramp late."""

GOODBYE_SECONDS = 5.0


class Station:
    """What the services of a shard share: the plan, the loop, the log, the counts."""

    def __init__(self, plan: ShardPlan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.log = Log()
        self.random = random.Random(plan.seed)  # noqa: S311  jitter, not a secret
        self.joining = asyncio.Semaphore(JOINS_AT_A_TIME)
        self.failures: deque[str] = deque(maxlen=5)
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this on the loop; what it raises is kept as a failure, never lost."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(f"{type(error).__name__}: {error}")

    async def quiesce(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def late(self, due: float, sent: float) -> None:
        """A renewal that was due then was sent then."""
        self.log.measurements.append(Measurement(due, "lateness", sent - due, "s"))


class Service(ABC):
    """One simulated service. Its methods run on the shard's loop."""

    client: ClassVar[str] = "wire"

    def __init__(self, station: Station, name: str) -> None:
        self.station = station
        self.name = name
        self.incarnation: int | None = None
        self.server: str | None = None
        self.renewed: float | None = None
        """When the last answered renewal of this life was sent."""
        self.frozen = False
        self.over = False
        self.joined_once = False
        self._recovering = False
        self._resumed = -math.inf

    def start(self) -> None:
        """It is time to join."""
        self.tell(Kind.JOINING)
        self.station.spawn(self.join())

    @abstractmethod
    async def join(self) -> None:
        """Become a member, and remain one until an order says otherwise."""

    @abstractmethod
    def die(self) -> None:
        """Let go of everything, saying nothing."""

    @abstractmethod
    async def depart(self) -> None:
        """Leave as the library leaves; return once it is answered."""

    @abstractmethod
    def stop(self) -> None:
        """Do nothing any more, as a stopped process does."""

    @abstractmethod
    def go_on(self) -> None:
        """Go on where `stop` came in between."""

    @property
    def live(self) -> bool:
        """Whether it is a member, as far as it knows."""
        return self.incarnation is not None and not self.over

    def tell(self, kind: Kind, t: float | None = None, value: float | None = None) -> None:
        """Log one event of this service."""
        self.station.log.events.append(
            Event(
                monotonic() if t is None else t,
                kind,
                self.name,
                client=self.client,
                incarnation=self.incarnation,
                server=self.server,
                value=value,
            )
        )

    def joined(self, incarnation: int, sent: float) -> None:
        """A join sent then was answered with this token."""
        self.incarnation = incarnation
        self.joined_once = True
        self.renewed = sent
        self.tell(Kind.JOINED)

    def lost(self, t: float | None = None) -> None:
        """It has learnt that its life is over."""
        if self.incarnation is not None:
            self.tell(Kind.LOST, t)
            self.incarnation = None

    def answered(self, sent: float) -> None:
        """A renewal sent then was answered."""
        self.renewed = sent
        if self._recovering:
            self._recovering = False
            self.tell(Kind.RENEWED, sent)

    def late(self, due: float, sent: float) -> None:
        """A renewal that was due then was sent then. What fell due in a freeze isn't counted: it
        was late on orders."""
        if due >= self._resumed:
            self.station.late(due, sent)

    def obey(self, action: Action, due: float) -> None:
        """Carry out an order that was due then."""
        if self.over:
            return
        match action:
            case Action.CRASH:
                self.over = True
                self.die()
                self._tell_onset(Kind.CRASHED, due)
            case Action.LEAVE:
                self.over = True
                self.station.spawn(self._leave(due))
            case Action.FREEZE:
                self.frozen = True
                self.stop()
                self._tell_onset(Kind.FROZEN, due)
            case Action.RESUME if self.frozen:
                self.frozen = False
                self._recovering = True
                self._resumed = monotonic()
                self.tell(Kind.RESUMED, self._resumed, self._resumed - due)
                self.go_on()

    def _tell_onset(self, kind: Kind, due: float) -> None:
        now = monotonic()
        if self.renewed is not None:
            self.tell(Kind.RENEWED, self.renewed)
        self.tell(kind, now, now - due)

    async def _leave(self, due: float) -> None:
        sent = monotonic()
        await self.depart()
        self.tell(Kind.LEFT, sent, sent - due)


class ServiceShard(ABC):
    """A `shard.Shard` that looks after its services on one event loop, in a thread of its own."""

    def __init__(self, plan: ShardPlan) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=plan.name, daemon=True)
        self._thread.start()
        self.plan = plan
        self.services: dict[str, Service] = {}
        self.station = self._call(self._open())

    async def _open(self) -> Station:
        station = Station(self.plan, asyncio.get_running_loop())
        await self.open(station)
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
            if (service := self.services.get(name)) is not None:
                self._at(at, service.obey, order.action, at)

    def _at(self, t: float, call: Callable[..., None], *args: object) -> None:
        self._loop.call_later(max(0.0, t - monotonic()), call, *args)

    def status(self) -> Status:
        services = list(self.services.values())
        return Status(
            joined=sum(service.joined_once for service in services),
            live=sum(service.live for service in services),
            dead=sum(service.over for service in services),
            failed=tuple(self.station.failures),
        )

    def drain(self) -> Log:
        return self._call(self._drain())

    async def _drain(self) -> Log:
        return self.station.log.drain()

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
