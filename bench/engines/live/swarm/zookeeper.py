"""Wire services on ZooKeeper: each a session of its own, speaking the protocol itself.

A session does what kazoo does, at kazoo's times: it pings a third of the timeout after the last
request, less 10 to 400 ms; it drops a connection whose ping is unanswered at the next deadline;
it reconnects with its session, and when that has expired it joins again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bench.engines.live.swarm import jute
from bench.engines.live.swarm.connection import Connection, Gone, connected
from bench.engines.live.swarm.files import make_room
from bench.engines.live.swarm.loop import ServiceShard
from bench.engines.live.swarm.pond import Pond
from bench.engines.live.swarm.service import Service, Station
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from bench.engines.live.swarm.slots import SLOT, Slots
from membership import ZooKeeperConfig
from membership.backends.zookeeper import paths
from membership.encoding import encode_metadata

RETRY_SECONDS = (0.1, 0.7)
"""The shortest and the longest pause between two rounds over the servers, as the library has it."""

PUT_OFF = 1.0
"""Seconds until a member that was refused tries again, as the library has it."""


class ProtocolError(Exception):
    """The server refused a request for a reason that a member can't mend."""


@dataclass(frozen=True, slots=True)
class _Ensemble:
    """What the sessions of a shard share."""

    hosts: tuple[tuple[str, int], ...]
    timeout: float
    """That they ask for (s)."""
    pond: Pond
    slots: Slots


class _Session(Service):
    """A service: one session, one ephemeral node.

    There are ten thousand of them: beyond 30 attributes the interpreter (3.11) gives each object a
    dictionary of its own, of 2 kB.
    """

    def __init__(self, station: Station, name: str, path: str, ensemble: _Ensemble) -> None:
        super().__init__(station, name)
        self._path = path
        self._ensemble = ensemble
        self._timeout = ensemble.timeout
        self._session = 0
        self._password = bytes(16)
        self._last_zxid = 0
        self._connection: Connection | None = None
        self._due: float | None = None
        """When it has to ping, or to give the connection up."""
        self._last_sent = 0.0
        self._ping_sent: float | None = None
        self._reviver: asyncio.Task[None] | None = None
        """What makes it a member, while it isn't known to be one."""
        self._queued = False
        self._patience: float | None = None
        """Until when another may hold the name; from the first time that it was found held."""
        self._noticed = False
        """By a watch event, or by the loss of the watch."""
        self._awaited: asyncio.Event | None = None
        """Set when there is something to notice; while somebody waits for it."""

    # --- joining

    async def join(self) -> None:
        self._reviver = asyncio.current_task()
        await self.station.joining.acquire()
        self._queued = True
        await self._live_again()

    def _revive(self) -> None:
        if self._reviver is None and not self.over:
            self._reviver = self.station.spawn(self._live_again())

    async def _live_again(self) -> None:
        """Connect, and be a member; until it is so."""
        try:
            await self._become_member()
        finally:
            self._leave_queue()
            self._reviver = None

    async def _become_member(self) -> None:
        while not self.over:
            await self.thawed()
            try:
                connection = self._connection or await self._connect()
                if not await self._stands(connection):
                    await self._create(connection)
            except Gone:
                continue
            except ProtocolError as error:
                if not self.joined_once:
                    raise
                self.station.failures.append(f"{self.name}: {error}")
                await asyncio.sleep(PUT_OFF)
                continue
            if not self._noticed:
                return

    def _leave_queue(self) -> None:
        """Let another one join."""
        if self._queued:
            self._queued = False
            self.station.joining.release()

    async def _ask(self, connection: Connection, kind: int, body: bytes) -> jute.Reply:
        """Raises: Gone, with the session over or elsewhere too: the next connection will tell."""
        reply = await connection.ask(kind, body)
        if reply.error in (jute.SESSION_EXPIRED, jute.SESSION_MOVED, jute.CONNECTION_LOSS):
            connection.abort()
            self._let_go(connection)
            raise Gone
        return reply

    async def _stands(self, connection: Connection) -> bool:
        """Whether the node is ours still, watched from now on."""
        if self.incarnation is None:
            return False
        self._noticed = False
        reply = await self._ask(connection, jute.EXISTS, jute.look(self._path, watch=True))
        if reply.error == 0 and jute.stat(reply.body).czxid == self.incarnation:
            return True
        if reply.error not in (0, jute.NO_NODE):
            raise ProtocolError(f"exists {self._path}: error {reply.error}")
        self.lost()
        return False

    async def _connect(self) -> Connection:
        pause, longest = RETRY_SECONDS
        while True:
            hosts = self._ensemble.hosts
            for host, port in self.station.random.sample(hosts, len(hosts)):
                await self.thawed()
                if (connection := await self._attempt(host, port)) is not None:
                    return connection
            pause *= self.station.random.uniform(0.6, 1.4)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _attempt(self, host: str, port: int) -> Connection | None:
        """A connection that has the session, a new one where there was none; None where the server
        doesn't give it in the time that the library allows, or says that the session has expired.
        """
        servers = len(self._ensemble.hosts)
        request = jute.connect(
            self._last_zxid, self._ensemble.timeout, self._session, self._password
        )
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._timeout / (servers + 1)):
                sock = await connected(host, port, self.station.plan.source)
            connection = Connection(self, sock, self._ensemble.pond)
            asked = monotonic()
            async with asyncio.timeout(self._timeout / servers):
                granted = await connection.open(request)
        except (OSError, asyncio.CancelledError) as error:
            if connection is not None:
                connection.abort()
            if isinstance(error, OSError):
                return None
            raise
        if granted.timeout <= 0:
            connection.abort()
            self._session, self._password, self._last_zxid = 0, bytes(16), 0
            self.lost()
            return None
        if connection.closed:  # by the server, which has thought better of it
            return None
        self._connection = connection
        self._session, self._password = granted.session, granted.password
        self._timeout = granted.timeout
        self.server = self.station.plan.servers.get(f"{host}:{port}")
        self._ping_sent = None
        self._last_sent = asked
        if self.incarnation is not None:
            self.answered(asked)
        self._schedule(monotonic())
        return connection

    async def _create(self, connection: Connection) -> None:
        body = jute.create(
            self._path, encode_metadata(None), (jute.Acl(*paths.ACL),), jute.EPHEMERAL
        )
        while True:
            sent = monotonic()
            reply = await self._ask(connection, jute.CREATE, body)
            token: int | None = None
            if reply.error == 0:
                token = reply.zxid
            elif reply.error == jute.NO_NODE:
                await self._create_parents(connection)
            elif reply.error == jute.NODE_EXISTS:
                token = await self._find(connection)
            else:
                raise ProtocolError(f"create {self._path}: error {reply.error}")
            if token is not None:
                self.joined(token, sent)
                await self._stands(connection)
                return

    async def _create_parents(self, connection: Connection) -> None:
        for path in paths.ancestors(self._path):
            body = jute.create(path, b"", (jute.Acl(*paths.ACL),), jute.PERSISTENT)
            reply = await self._ask(connection, jute.CREATE, body)
            if reply.error not in (0, jute.NODE_EXISTS):
                raise ProtocolError(f"create {path}: error {reply.error}")

    async def _find(self, connection: Connection) -> int | None:
        """The name stands already: the token if it is our own (made in a connection that broke
        before the answer). Else wait until there is news of it, and return None.

        The first life of a process waits no longer than a dead session may last.
        """
        self._leave_queue()
        self._noticed, self._awaited = False, asyncio.Event()
        reply = await self._ask(connection, jute.GET, jute.look(self._path, watch=True))
        if reply.error == jute.NO_NODE:
            return None
        if (stat := jute.stat_of_got(reply.body)).owner == self._session:
            return stat.czxid
        if self._patience is None and not self.joined_once:
            self._patience = monotonic() + 2 * self._timeout
        left = None if self._patience is None else self._patience - monotonic()
        try:
            async with asyncio.timeout(left):
                await self._awaited.wait()
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
        self._schedule(monotonic())

    def pinged(self) -> None:
        """A ping was answered. kazoo draws its next time anew then; that would only replace one
        draw by its like."""
        if self._ping_sent is not None:
            if self.incarnation is not None:
                self.answered(self._ping_sent)
            self._ping_sent = None

    def watched(self) -> None:
        """The node that we watch has changed: ours, or the one that we wait for."""
        self._notice()
        if self.incarnation is not None:
            self._revive()
        self._schedule(monotonic())

    def _notice(self) -> None:
        self._noticed = True
        if self._awaited is not None:
            self._awaited.set()

    def _schedule(self, now: float) -> None:
        """As kazoo's loop: after whatever it read or sent, with the jitter drawn anew."""
        if self.over or self.frozen:
            self._due = None
            return
        jitter = (1 + int(40 * self.station.random.random())) / 100
        deadline = self._last_sent + self._timeout / 3 - jitter
        self._due = self._ensemble.slots.add(max(deadline, now + jitter), self)

    def ready(self, due: float) -> bool:
        """Time to ping, or to give up a connection whose ping wasn't answered."""
        connection = self._connection
        if due != self._due or connection is None:
            return False
        if self._ping_sent is not None:
            connection.read()
            if due != self._due:  # there was something else to read
                return False
        if self._ping_sent is not None:
            connection.abort()
            self.dropped(connection)
            return False
        return True

    def send(self) -> None:
        assert self._connection is not None
        self._connection.idle = self._reviver is None
        self._connection.write(jute.PING_FRAME)
        self._ping_sent = self._last_sent = monotonic()

    def note(self, due: float) -> None:
        self.sent_renewal(due, self._last_sent)
        self._schedule(self._last_sent)

    def dropped(self, connection: Connection) -> None:
        """A connection ended: find another, with the same session if it still lives."""
        if self._let_go(connection):
            self._revive()

    def _let_go(self, connection: Connection) -> bool:
        """Be without a connection; whether that is news."""
        if connection is not self._connection:
            return False
        self._connection = None
        self._due = None
        self._notice()
        return True

    # --- orders

    def die(self) -> None:
        self._hear()
        self._due = None
        self._desist()
        if (connection := self._connection) is not None:
            connection.abort()
            self._let_go(connection)

    def fall_silent(self) -> None:
        """The socket stays open, unread, to the end of the run. An attempt to connect that was
        just being made is broken off; that ends no session."""
        self._desist()
        self.stop()

    def _hear(self) -> None:
        """Take in what has come since the last look: a process has that by now."""
        if self._connection is not None:
            self._connection.read()

    def _desist(self) -> None:
        if self._reviver is not None:
            self._reviver.cancel()

    async def depart(self) -> None:
        self._desist()
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
        self._hear()
        self._due = None
        if self._connection is not None:
            self._connection.pause(True)

    def go_on(self) -> None:
        if self._connection is not None:
            self._connection.pause(False)
            # What the server said meanwhile is read first, as a woken process reads it.
            self._due = due = monotonic()
            self._connection.read()
            if self.ready(due):
                self.send()
                self.note(due)
        if self._connection is not None:
            self._connection.idle = False  # that it is back is heard at once


class ZooKeeperShard(ServiceShard):
    """Sessions of wire services."""

    def __init__(self, plan: ShardPlan) -> None:
        assert isinstance(plan.config, ZooKeeperConfig)
        self._config = plan.config
        self._address = paths.parse(plan.url)
        make_room(len(plan.services))
        super().__init__(plan)

    async def open(self, station: Station) -> None:
        self._pond = Pond(station.loop)
        self._slots = Slots(station.loop, SLOT * station.random.random())
        hosts, timeout = tuple(self._address.hosts), self._config.session_timeout
        self._ensemble = _Ensemble(hosts, timeout, self._pond, self._slots)

    def service(self, station: Station, name: str) -> Service:
        path = paths.member_path(self._address.namespace, station.plan.group, name)
        return _Session(station, name, path, self._ensemble)

    async def shut(self) -> None:
        self._slots.close()
        self._pond.close()
