"""Wire services on ZooKeeper: each a session of its own, speaking the protocol itself.

A session does what kazoo does, at kazoo's times: it pings a third of the timeout after the last
request, less 10 to 400 ms; it drops a connection whose ping is unanswered at the next deadline;
it reconnects with its session, and when that has expired it joins again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

from bench.engines.live.swarm import jute
from bench.engines.live.swarm.service import Service, ServiceShard, Station
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from bench.engines.live.swarm.slots import SLOT, Slots
from membership import ZooKeeperConfig
from membership.backends.zookeeper import paths
from membership.encoding import encode_metadata

RETRY_SECONDS = (0.1, 0.7)
"""The shortest and the longest pause between two rounds over the servers, as the library has it."""

LONGEST_JITTER = 0.4


class Gone(ConnectionError):
    """The connection ended under a request."""


class ProtocolError(Exception):
    """The server refused a request for a reason that a member can't mend."""


class _Connection(asyncio.Protocol):
    """One TCP connection of a session: frames in, frames out."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._pending: deque[tuple[float, asyncio.Future[jute.Reply]]] = deque()
        self._xid = 0
        self.accepted: asyncio.Future[jute.Connected] = asyncio.get_running_loop().create_future()
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4 and not self.closed:
            end = 4 + int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[4:end])
            del self._buffer[:end]
            self._frame(frame)

    def _frame(self, frame: bytes) -> None:
        if not self.accepted.done():
            self.accepted.set_result(jute.connected(frame))
            return
        reply = jute.reply(frame)
        if reply.xid == jute.PING_XID:
            self._session.pinged()
        elif reply.xid == jute.WATCH_XID:
            self._session.watched()
        else:
            sent, answer = self._pending.popleft()
            self._session.answered_request(sent, reply)
            if not answer.done():
                answer.set_result(reply)

    def write(self, frame: bytes) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(frame)

    def ask(self, kind: int, body: bytes = b"") -> asyncio.Future[jute.Reply]:
        """Send a request; the future fails with `Gone` if the connection ends first."""
        answer: asyncio.Future[jute.Reply] = asyncio.get_running_loop().create_future()
        if self.closed:
            answer.set_exception(Gone())
            return answer
        self._xid += 1
        self.write(jute.request(self._xid, kind, body))
        self._pending.append((monotonic(), answer))
        self._session.sent()
        return answer

    def pause(self, paused: bool) -> None:
        if self._transport is not None and not self.closed:
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.abort()
        self._session.dropped(self)

    def abort(self) -> None:
        """Close at once; what was asked fails."""
        if self.closed:
            return
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        for _, answer in self._pending:
            if not answer.done():
                answer.set_exception(Gone())
                answer.exception()  # nobody has to wait for it
        if not self.accepted.done():
            self.accepted.set_exception(Gone())
            self.accepted.exception()


class _Session(Service):
    """A service: one session, one ephemeral node."""

    def __init__(
        self,
        station: Station,
        name: str,
        path: str,
        hosts: Sequence[tuple[str, int]],
        timeout: float,
        slots: Slots,
    ) -> None:
        super().__init__(station, name)
        self._slots = slots
        self._path = path
        self._hosts = list(hosts)
        self._asked_timeout = timeout
        self._timeout = timeout
        self._session = 0
        self._password = bytes(16)
        self._last_zxid = 0
        self._connection: _Connection | None = None
        self._due: float | None = None
        """When it has to ping, or to give the connection up."""
        self._last_sent = 0.0
        self._ping_sent: float | None = None
        self._reviving = False
        self._noticed = asyncio.Event()
        """Set by a watch event."""

    # --- joining

    async def join(self) -> None:
        async with self.station.joining:
            await self._live_again()

    async def _live_again(self) -> None:
        """Connect, and be a member; until it is so."""
        if self._reviving:
            return
        self._reviving = True
        try:
            while not self.over:
                try:
                    if self._connection is None:
                        await self._connect()
                    if not await self._stands():
                        await self._create()
                except Gone:
                    continue
                return
        finally:
            self._reviving = False

    async def _stands(self) -> bool:
        """Whether the node is ours still, watched from now on."""
        connection = self._connection
        if self.over:
            return True
        if self.incarnation is None or connection is None:
            return False
        reply = await connection.ask(jute.EXISTS, jute.exists(self._path, watch=True))
        if reply.error == 0 and jute.stat(reply.body).czxid == self.incarnation:
            return True
        self.lost()
        return False

    async def _connect(self) -> None:
        pause, longest = RETRY_SECONDS
        while not self.over:
            self.station.random.shuffle(self._hosts)
            for host, port in self._hosts:
                if await self._attempt(host, port):
                    return
            await asyncio.sleep(pause * self.station.random.uniform(0.5, 1.0))
            pause = min(2 * pause, longest)

    async def _attempt(self, host: str, port: int) -> bool:
        limit = self._timeout / len(self._hosts)
        connection = _Connection(self)
        try:
            async with asyncio.timeout(limit):
                await self.station.loop.create_connection(lambda: connection, host, port)
                asked = monotonic()
                connection.write(
                    jute.connect(
                        self._last_zxid, self._asked_timeout, self._session, self._password
                    )
                )
                granted = await connection.accepted
        except (OSError, TimeoutError):
            connection.abort()
            return False
        if granted.timeout <= 0:  # the session has expired meanwhile
            connection.abort()
            self._session, self._password, self._last_zxid = 0, bytes(16), 0
            self.lost()
            return await self._attempt(host, port)
        if self.over:
            connection.abort()
            return True
        self._connection = connection
        self._session, self._password = granted.session, granted.password
        self._timeout = granted.timeout
        self.server = self.station.plan.servers.get(f"{host}:{port}")
        self._ping_sent = None
        self._last_sent = asked
        if self.incarnation is not None:
            self.answered(asked)
        self._schedule()
        return True

    async def _create(self) -> None:
        body = jute.create(
            self._path,
            encode_metadata(None),
            (jute.Acl(*paths.ACL),),
            jute.EPHEMERAL,
        )
        while True:
            connection = self._connection
            if connection is None:
                raise Gone
            sent = monotonic()
            reply = await connection.ask(jute.CREATE, body)
            if reply.error == 0:
                self.joined(reply.zxid, sent)
                await self._stands()
                return
            if reply.error == jute.NO_NODE:
                await self._create_parents(connection)
            elif reply.error == jute.NODE_EXISTS:
                if (token := await self._wait_out(connection)) is not None:
                    self.joined(token, sent)
                    await self._stands()
                    return
            elif reply.error == jute.SESSION_EXPIRED:
                connection.abort()
                raise Gone
            else:
                raise ProtocolError(f"create {self._path}: error {reply.error}")

    async def _create_parents(self, connection: _Connection) -> None:
        for path in paths.ancestors(self._path):
            reply = await connection.ask(
                jute.CREATE, jute.create(path, b"", (jute.Acl(*paths.ACL),), jute.PERSISTENT)
            )
            if reply.error not in (0, jute.NODE_EXISTS):
                raise ProtocolError(f"create {path}: error {reply.error}")

    async def _wait_out(self, connection: _Connection) -> int | None:
        """The name stands already: its token if it is our own (made in a connection that broke
        before the answer), else wait until the dead session that owns it has expired."""
        self._noticed.clear()
        reply = await connection.ask(jute.EXISTS, jute.exists(self._path, watch=True))
        if reply.error == jute.NO_NODE:
            return None
        if (stat := jute.stat(reply.body)).owner == self._session:
            return stat.czxid
        try:
            async with asyncio.timeout(2 * self._timeout):
                await self._noticed.wait()
        except TimeoutError:
            raise ProtocolError(f"{self._path} is held by a live other") from None
        return None

    # --- staying

    def sent(self) -> None:
        """A request went out: it counts as a ping."""
        self._last_sent = monotonic()

    def answered_request(self, sent: float, reply: jute.Reply) -> None:
        self._last_zxid = max(self._last_zxid, reply.zxid)
        if self.incarnation is not None:
            self.answered(sent)
        self._schedule()

    def pinged(self) -> None:
        """A ping was answered."""
        if self._ping_sent is not None:
            if self.incarnation is not None:
                self.answered(self._ping_sent)
            self._ping_sent = None
        if self._due is None or self._due - monotonic() < LONGEST_JITTER:
            self._schedule()  # else another draw would only replace one by its like

    def watched(self) -> None:
        """The node that we watch has changed: ours, or the one that we wait for."""
        self._noticed.set()
        if self.incarnation is not None and not self.over:
            self.station.spawn(self._live_again())
        self._schedule()

    def _schedule(self) -> None:
        """As kazoo's loop: after whatever it read or sent, with the jitter drawn anew."""
        if self.over or self.frozen:
            self._due = None
            return
        now = monotonic()
        jitter = (1 + int(40 * self.station.random.random())) / 100
        deadline = self._last_sent + self._timeout / 3 - jitter
        self._due = self._slots.add(max(deadline, now + jitter), self._deadline)

    def _deadline(self, due: float) -> None:
        if due != self._due:
            return
        connection = self._connection
        if connection is None:
            return
        if self._ping_sent is not None:
            connection.abort()
            self.dropped(connection)
            return
        connection.write(jute.PING_FRAME)
        self._ping_sent = self._last_sent = monotonic()
        self.late(due, self._ping_sent)
        self._schedule()

    def dropped(self, connection: _Connection) -> None:
        """A connection ended: find another, with the same session if it still lives."""
        if connection is not self._connection:
            return
        self._connection = None
        self._due = None
        if not self.over:
            self.station.spawn(self._live_again())

    # --- orders

    def die(self) -> None:
        connection, self._connection = self._connection, None
        self._due = None
        if connection is not None:
            connection.abort()

    async def depart(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.ask(jute.DELETE, jute.delete(self._path, version=0))
            await connection.ask(jute.CLOSE)
        except Gone:
            pass
        self.die()

    def stop(self) -> None:
        self._due = None
        if self._connection is not None:
            self._connection.pause(True)

    def go_on(self) -> None:
        if self._connection is not None:
            self._connection.pause(False)
            # What the server said meanwhile is read first, as a woken process reads it.
            self._due = monotonic()
            self.station.loop.call_later(0.002, self._deadline, self._due)


class ZooKeeperShard(ServiceShard):
    """Sessions of wire services."""

    def __init__(self, plan: ShardPlan) -> None:
        assert isinstance(plan.config, ZooKeeperConfig)
        self._config = plan.config
        self._address = paths.parse(plan.url)
        super().__init__(plan)

    async def open(self, station: Station) -> None:
        self._slots = Slots(station.loop, SLOT * station.random.random())

    def service(self, station: Station, name: str) -> Service:
        path = paths.member_path(self._address.namespace, station.plan.group, name)
        timeout = self._config.session_timeout
        return _Session(station, name, path, self._address.hosts, timeout, self._slots)

    async def shut(self) -> None:
        pass
