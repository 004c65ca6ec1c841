"""An observer: the library itself, watching a group; it writes down what it is told, and when."""

from __future__ import annotations

import threading

from bench.engines.live.swarm.shard import Event, Log, Order, ShardPlan, Status, monotonic
from bench.kind import Kind
from membership import Freshness, Watch, connect

METERED = {"read_seconds": Kind.READ, "look_seconds": Kind.LOOKED}
GLANCE = 0.25
"""How often it looks whether its view still calls itself fresh, in s."""


class ObserverShard:
    """A `shard.Shard` with one observer, which watches from the start. It takes no orders."""

    def __init__(self, plan: ShardPlan) -> None:
        self._name = plan.name
        self._log = Log()
        self._lock = threading.Lock()
        self._failed: tuple[str, ...] = ()
        self._closed = False
        self._server: str | None = None
        self._membership = connect(plan.url, plan.config, meter=self._measured)
        self._watch = self._membership.watch(plan.group)
        self._server = plan.servers.get(getattr(self._membership, "server", None) or "")
        self._reader = threading.Thread(target=self._read, name=plan.name, daemon=True)
        self._reader.start()

    def _measured(self, name: str, value: float) -> None:
        if (kind := METERED.get(name)) is not None:
            self._tell(monotonic(), kind, self._name, value=value)

    def _read(self) -> None:
        try:
            self._follow(self._watch)
        except Exception as error:  # noqa: BLE001  a silent observer would make every fault missed
            self._failed = (f"{self._name}: {type(error).__name__}: {error}",)

    def _follow(self, watch: Watch) -> None:
        fresh, glanced = True, monotonic()
        while not self._closed:
            event = watch.next(GLANCE)
            now = monotonic()
            if event is not None:
                member = event.member
                self._tell(
                    now,
                    Kind(event.kind.value),
                    member.name if member else self._name,
                    incarnation=member.token if member else None,
                )
            if now - glanced >= GLANCE:
                view, glanced = watch.view, now
                if (view.freshness is Freshness.FRESH) is not fresh:
                    fresh = not fresh
                    self._tell(now, Kind.FRESH if fresh else Kind.STALE, self._name, value=view.age)

    def _tell(
        self,
        t: float,
        kind: Kind,
        subject: str,
        *,
        incarnation: int | None = None,
        value: float | None = None,
    ) -> None:
        event = Event(
            t,
            kind,
            subject,
            client="library",
            observer=self._name,
            incarnation=incarnation,
            server=self._server,
            value=value,
        )
        with self._lock:
            self._log.events.append(event)

    def begin(self, epoch: float) -> None:
        """It watches already."""

    def carry_out(self, order: Order) -> None:
        """Nothing is done to observers."""

    def status(self) -> Status:
        return Status(live=len(self._watch.view), failed=self._failed)

    def drain(self) -> Log:
        with self._lock:
            return self._log.drain()

    def clock(self) -> float:
        return monotonic()

    def close(self, *, goodbye: bool) -> None:  # noqa: ARG002  it isn't a member
        self._closed = True
        self._membership.close()
