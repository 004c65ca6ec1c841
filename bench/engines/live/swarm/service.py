"""What every simulated service has in common: one life of a process, as the log tells it.

The kinds differ in how they join, die and stop: `zookeeper.py` and `sql.py` hold thousands of
``wire`` services on the loop, `library.py` looks after processes.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from bench.engines.live.swarm.lateness import Lateness
from bench.engines.live.swarm.shard import Action, Event, Log, Measurement, ShardPlan, monotonic
from bench.kind import Kind

JOINS_AT_A_TIME = 256
"""More joins in flight don't make a cold server faster; they make the pings of the ramp late."""
CLOCK_ERROR = 0.1
"""How far a clock may be from where it was set, in s; far below any timeout."""


class Station:
    """What the services of a shard share: the plan, the loop, the log, the counts."""

    def __init__(self, plan: ShardPlan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.log = Log()
        self.random = random.Random(plan.seed)  # noqa: S311  jitter, not a secret
        self.joining = asyncio.Semaphore(JOINS_AT_A_TIME)
        self.failures: deque[str] = deque(maxlen=5)
        self.renewals = 0
        """Beats or pings sent so far."""
        self.lateness = Lateness()
        self.told = 0
        """Events so far: a service that has changed says so."""
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

    def measure(self, t: float, metric: str, value: float, unit: str) -> None:
        """Log one measurement."""
        self.log.measurements.append(Measurement(t, metric, value, unit))


class Service(ABC):
    """One process of a simulated service. Its methods run on the shard's loop.

    Once it is `over` it stays so: a restart is another object under the same name.
    """

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
        self.restarted = False
        """Whether it took the place of another process."""
        self.skew = 0.0
        """How far its wall clock is off, in s."""
        self._recovering = False
        self._resumed = -math.inf
        self._thaw: asyncio.Event | None = None
        self._ended = False
        self._then: Callable[[], None] | None = None

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
    def fall_silent(self) -> None:
        """Do nothing any more, and leave connections as they are: no peer is to notice."""

    @abstractmethod
    async def depart(self) -> None:
        """Leave as the library leaves; return once that is answered and nothing is left of it."""

    @abstractmethod
    def stop(self) -> None:
        """Do nothing any more, as a stopped process does."""

    @abstractmethod
    def go_on(self) -> None:
        """Go on where `stop` came in between."""

    def set_clock(self, offset: float) -> None:
        """Set the wall clock off; `skewed` follows, once that is seen to be so."""
        self.skew = offset
        self.skewed(monotonic(), self.wall_clock() - time.time())

    def wall_clock(self) -> float:
        """Seconds since 1970, as this service believes."""
        return time.time() + self.skew

    @property
    def live(self) -> bool:
        """Whether it is a member, as far as it knows."""
        return self.incarnation is not None and not self.over

    def tell(self, kind: Kind, t: float | None = None, value: float | None = None) -> None:
        """Log one event of this service."""
        self.station.told += 1
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

    def sent_renewal(self, due: float, sent: float) -> None:
        """A renewal that was due then was sent then. How late isn't counted of what fell due in a
        freeze: it was late on orders."""
        self.station.renewals += 1
        if due >= self._resumed:
            self.station.lateness.add(due, sent - due)

    def skewed(self, t: float, offset: float) -> None:
        """Its wall clock was seen to be so far off."""
        if abs(offset - self.skew) > CLOCK_ERROR:
            self.station.failures.append(
                f"{self.name}: its clock is off by {offset:.3f} s instead of {self.skew:.3f} s"
            )
        elif self.skew:
            self.tell(Kind.SKEWED, t, offset)
        else:
            self.tell(Kind.UNSKEWED, t)

    def obey(self, action: Action, due: float, value: float = 0.0) -> None:
        """Carry out an order that was due then."""
        if self.over:
            return
        match action:
            case Action.CRASH:
                self.over = True
                self.die()
                self._tell_onset(Kind.CRASHED, due)
                self._end()
            case Action.POWER_LOSS:
                self.over = True
                self.fall_silent()
                self._tell_onset(Kind.POWER_LOST, due)
            case Action.LEAVE:
                self.over = True
                self.station.spawn(self._leave(due))
            case Action.FREEZE if not self.frozen:
                self.frozen = True
                self._thaw = asyncio.Event()
                self.stop()
                self._tell_onset(Kind.FROZEN, due)
            case Action.RESUME if self.frozen:
                self.frozen = False
                self._recovering = True
                self._resumed = monotonic()
                self.tell(Kind.RESUMED, self._resumed, self._resumed - due)
                if self._thaw is not None:
                    self._thaw.set()
                self.go_on()
            case Action.SKEW if self.skew != value:
                self.set_clock(value)

    async def thawed(self) -> None:
        """Wait as long as it is frozen."""
        while self.frozen and self._thaw is not None:
            await self._thaw.wait()

    def once_ended(self, then: Callable[[], None]) -> None:
        """Call it when this process has ended by a crash or a leave, or at once if it has."""
        if self._ended:
            then()
        else:
            self._then = then

    def _end(self) -> None:
        self._ended = True
        if self._then is not None:
            self._then()

    def _tell_onset(self, kind: Kind, due: float) -> None:
        now = monotonic()
        if self.renewed is not None:
            self.tell(Kind.RENEWED, self.renewed)
        self.tell(kind, now, now - due)

    async def _leave(self, due: float) -> None:
        sent = monotonic()
        await self.depart()
        self.tell(Kind.LEFT, sent, sent - due)
        self._end()
