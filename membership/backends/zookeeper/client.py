"""One ZooKeeper session after another, for one event loop: requests, events, and how it stands.

Replies and events reach the loop in the order in which they came over the wire. The server tells
of a change before it answers any read that has seen it, so whoever handles both as they come
knows, at each reply, the newest state. That order ends at the first ``await``: a plain callback
keeps it (`Client.tell`), a coroutine doesn't (`Client.ask`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import partial
from typing import Any, Protocol, TypeVar

from kazoo.client import KazooClient, KazooState
from kazoo.retry import KazooRetry

from membership.backends.zookeeper.connection import Connection, Handler
from membership.backends.zookeeper.operations import Lost, Operation
from membership.backends.zookeeper.paths import Address, parent, rights
from membership.config import ZooKeeperConfig
from membership.liveness import lease_deadline

T = TypeVar("T")
OnChange = Callable[["Change", str], None]

logger = logging.getLogger("membership.zookeeper")
logger.addHandler(logging.NullHandler())  # a library is silent unless somebody listens
_kazoo_logger = logger.getChild("kazoo")
# below that it spells requests out, with the password of a user and of the session
_kazoo_logger.addFilter(lambda record: record.levelno >= logging.INFO)

RETRY = 1.0
"""Seconds until what the servers refused is tried again, where time may mend it."""
_CUT_EVERY = 0.05


class Link(Enum):
    """How the session stands."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    """The connection is gone; the session may live on."""
    OVERDUE = "overdue"
    """Gone for longer than the servers keep a session."""
    EXPIRED = "expired"
    """The servers say that the session is over; a new one is being made."""


class Change(IntEnum):
    """What a watch tells, as ZooKeeper numbers it."""

    CREATED = 1
    DELETED = 2
    DATA = 3
    CHILDREN = 4


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when the servers can't have given the session up; on the monotonic clock."""

    session: int = 0
    renewed: float = 0.0
    deadline: float = 0.0


class Owner(Protocol):
    """Told on the loop's thread."""

    def link_changed(self, link: Link) -> None: ...

    def confirmed(self) -> None:
        """The server answered: all that it had to tell before has been told."""

    def doubted(self) -> None:
        """The server has left a request without an answer for a third of the session timeout.

        Either it answers after all, and `confirmed` follows, or the link is suspended.
        """

    def pinged(self, seconds: float, late: float) -> None:
        """A ping was answered after ``seconds``; it had been sent ``late`` seconds too late."""


class Client:
    """The session. But for `lease`, `close` and `abandon`, it belongs to the loop's thread."""

    def __init__(
        self,
        address: Address,
        config: ZooKeeperConfig,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        *,
        recent: bool,
    ) -> None:
        """``recent``: whether to take the servers for 3.6 or later until they say otherwise."""
        self.recent = recent
        """Whether persistent watches and reads of many nodes are tried; turned off by who is told
        that the server doesn't know them."""
        self.lease = Lease()
        """Replaced whole, so that any thread may read it."""
        self.timeout = config.session_timeout
        """The session's, in s: what we ask for, then what the server granted."""
        self.rights = rights(config.digest, world_readable=config.world_readable)
        """What each node of ours is created with."""
        self._drift = config.drift
        self._loop = loop
        self._owner = owner
        self._connected = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._confirmed = 0.0
        self._listeners: dict[str, list[OnChange]] = {}
        self._stirrings: set[asyncio.Event] = set()
        hosts = [f"[{host}]" if ":" in host else host for host, _ in address.hosts]
        self._kazoo = KazooClient(
            ",".join(
                f"{host}:{port}" for host, (_, port) in zip(hosts, address.hosts, strict=True)
            ),
            timeout=config.session_timeout,
            handler=Handler(len(hosts), config.tls),
            connection_retry=KazooRetry(max_tries=-1, delay=0.1, max_delay=0.7),
            auth_data=config.digest and [("digest", config.digest)],
            use_ssl=config.tls is not None,
            logger=_kazoo_logger,
        )
        self._connection = self._kazoo._connection = Connection(
            self._kazoo, self._kazoo._conn_retry.copy(), logger=_kazoo_logger, reports=self
        )
        self._kazoo.add_listener(self._kazoo_changed)

    def start(self) -> None:
        """Begin to connect, and to tell the owner: not before it knows its client."""
        self._kazoo.start_async()

    # --- requests

    @property
    def session(self) -> int:
        """The present session's id; 0 while there is none."""
        return self.lease.session

    @property
    def server(self) -> str | None:
        """``host:port`` of the server at the other end; None without a connection."""
        connection = self._connection._socket
        try:
            host, port = connection.getpeername()[:2] if connection else (None, None)
        except OSError:
            return None
        return f"{host}:{port}" if host else None

    @property
    def refusal(self) -> Exception | None:
        """Why the last attempt to connect failed, if it did."""
        return self._connection.refusal

    async def connected(self) -> None:
        """Wait for a session with a connection."""
        await self._connected.wait()

    def tell(self, operation: Operation[T], then: Callable[[T | Exception], None]) -> None:
        """Send at once; ``then`` gets the answer or the error, in the order of the wire.

        Without a connection nothing is sent, and the error is `Lost`.
        """
        if self._connected.is_set():
            self._kazoo._call(operation.request, _Answer(self._loop, operation, then))
        else:
            self._loop.call_soon(then, Lost())

    def ask(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Send at once; the answer can be awaited. Raises: what the operation says, and `Lost`."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.tell(operation, partial(_resolve, future))
        return future

    # --- events

    def listen(self, path: str, on_change: OnChange) -> None:
        """Be told of each event on this path and right below it, until `unlisten`."""
        self._listeners.setdefault(path, []).append(on_change)

    def unlisten(self, path: str, on_change: OnChange) -> None:
        self._listeners[path].remove(on_change)
        if not self._listeners[path]:
            del self._listeners[path]

    @contextmanager
    def stirring(self, path: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be news of the path.

        That is at each change that a watch tells of, and after each reconnection, by which
        one-shot watches are lost.
        """
        stirred = asyncio.Event()

        def stir(_change: Change, _path: str) -> None:
            stirred.set()

        self.listen(path, stir)
        self._stirrings.add(stirred)
        try:
            yield stirred
        finally:
            self._stirrings.discard(stirred)
            self.unlisten(path, stir)

    # --- the end

    def close(self) -> None:
        """End the session, and wait until the server has; cut the connection if it doesn't answer.

        No later than two thirds of the session timeout after the call where there was a
        connection, and as soon as an attempt to connect can be broken off where not.
        """
        patience = self.timeout * 2 / 3 if self._connected.is_set() else 0.0
        self._stop(self._kazoo.stop, patience)

    def abandon(self) -> None:
        """End as a crash would: the server isn't told, the session runs into its timeout."""
        self._kazoo._stopped.set()
        self._stop(self._kazoo._safe_close, 0.0)

    def _stop(self, stop: Callable[[], None], patience: float) -> None:
        # kazoo's own stop only ends once the server answers or the connection breaks
        stopping = threading.Thread(target=stop, name="membership-zookeeper-stop")
        stopping.start()
        stopping.join(patience)
        while stopping.is_alive():
            self._connection.cut()
            stopping.join(_CUT_EVERY)
        self._kazoo.close()

    # --- told by kazoo's thread, passed on to the loop in the same order

    def _kazoo_changed(self, state: str) -> None:
        if state == KazooState.SUSPENDED:
            self._post(self._suspend)
        elif state == KazooState.LOST:
            self.lease = Lease()
            self._post(self._expire)

    def connected_as(self, session: int, timeout: float, sent: float) -> None:
        """See `connection.Reports`."""
        self.timeout = timeout
        self.lease = Lease(session, sent, lease_deadline(sent, timeout, self._drift))
        self._confirmed = sent
        self._post(self._connect)

    def answered(self, sent: float) -> None:
        """See `connection.Reports`."""
        lease = self.lease
        deadline = lease_deadline(sent, self.timeout, self._drift)
        self.lease = Lease(lease.session, sent, deadline)
        if sent - self._confirmed >= self.timeout / 6:  # a busy connection needn't say it each time
            self._confirmed = sent
            self._post(self._owner.confirmed)

    def pinged(self, sent: float, late: float) -> None:
        """See `connection.Reports`."""
        self._post(self._owner.pinged, time.monotonic() - sent, late)

    def event(self, kind: int, path: str) -> None:
        """See `connection.Reports`."""
        self._post(self._changed, Change(kind), path)

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(call, *arguments)

    # --- on the loop

    def _connect(self) -> None:
        self._connected.set()
        self._patrol()
        self._owner.link_changed(Link.CONNECTED)
        for stirred in self._stirrings:
            stirred.set()

    def _suspend(self) -> None:
        self._connected.clear()
        self._set_timer(self.lease.renewed + self.timeout, self._fall_overdue)
        self._owner.link_changed(Link.SUSPENDED)

    def _fall_overdue(self) -> None:
        self._owner.link_changed(Link.OVERDUE)

    def _expire(self) -> None:
        self._connected.clear()
        self._cancel_timer()
        self._owner.link_changed(Link.EXPIRED)

    def _patrol(self) -> None:
        """Doubt a server that is late with an answer, and give it up when it is too late.

        kazoo only looks at pings, which each request puts off: it would take up to a whole
        session timeout.
        """
        third = self.timeout / 3
        now = self._loop.time()
        since = self._connection.waiting_since() or now
        again = since + third
        if now >= since + 2 * third:
            self._connection.cut()
            again = now + third
        elif now >= since + third:
            self._confirmed = 0.0  # so that the next answer is told
            self._owner.doubted()
            again = since + 2 * third
        self._set_timer(again, self._patrol)

    def _set_timer(self, when: float, call: Callable[[], None]) -> None:
        """The only one: for `_patrol` with a connection, for `_fall_overdue` without."""
        self._cancel_timer()
        self._timer = self._loop.call_at(when, call)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self, change: Change, path: str) -> None:
        for listening in (path, parent(path)):
            for on_change in tuple(self._listeners.get(listening, ())):
                on_change(change, path)


class _Answer:
    """What kazoo fills in; ours, so that replies stay in one order with events."""

    __slots__ = ("_loop", "_operation", "_then")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        operation: Operation[T],
        then: Callable[[T | Exception], None],
    ) -> None:
        self._loop = loop
        self._operation: Operation[Any] = operation
        self._then: Callable[[Any], None] = then

    def set(self, answer: Any = None) -> None:
        self._loop.call_soon_threadsafe(self._deliver, answer, None)

    def set_exception(self, error: Exception) -> None:
        self._loop.call_soon_threadsafe(self._deliver, None, error)

    def _deliver(self, answer: Any, error: Exception | None) -> None:
        self._then(self._operation.outcome(answer, error))


def _resolve(future: asyncio.Future[T], outcome: T | Exception) -> None:
    if future.done():  # nobody waits any more
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
