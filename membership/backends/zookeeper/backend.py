"""The contract on ZooKeeper: one session for each connection, whatever it does with it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from membership.api import Callback, Cell, Membership, Meter, Registration, Traits
from membership.backends.zookeeper import groups
from membership.backends.zookeeper.cells import CELL_BYTES, ZooKeeperCell, follow_cell
from membership.backends.zookeeper.client import Client, Link, logger
from membership.backends.zookeeper.loop import LoopThread
from membership.backends.zookeeper.operations import Lost
from membership.backends.zookeeper.paths import Address, group_path, member_path
from membership.backends.zookeeper.registration import (
    METADATA_BYTES,
    Life,
    ZooKeeperRegistration,
    give_up,
)
from membership.backends.zookeeper.watching import Follower
from membership.config import ZooKeeperConfig
from membership.encoding import check_name
from membership.errors import Closed, Disconnected, InvalidValue, NameTaken
from membership.feed import CellFeed, Feed
from membership.model import Member, Metadata, View

T = TypeVar("T")


class ZooKeeperMembership(Membership):
    """A connection to a ZooKeeper ensemble.

    Everything it knows is kept on one thread of its own, the loop's; the methods here hand work
    over to that and wait. kazoo's threads only carry messages. Users are called back on a
    further thread, made at the first such call, so that they may call any method from there.
    """

    def __init__(
        self, address: Address, config: ZooKeeperConfig, meter: Meter, *, recent: bool = True
    ) -> None:
        """Connect. ``recent`` false: use nothing that servers before 3.6 lack.

        Raises: Disconnected.
        """
        self.namespace = address.namespace
        self._meter = meter
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._closed = False
        self._registrations: dict[str, ZooKeeperRegistration] = {}  # by path, as the next
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._followers: dict[str, Follower] = {}  # by group
        self._cell_feeds: dict[CellFeed, asyncio.Task[None]] = {}
        self._callbacks = ThreadPoolExecutor(1, thread_name_prefix="membership-callbacks")
        self._callback_thread: threading.Thread | None = None
        self._mass_loss = config.mass_loss
        self._connect_timeout = config.connect_timeout
        self._granted(config.session_timeout)
        self._limit = config.connect_timeout
        self._thread = LoopThread("membership-zookeeper")
        try:
            self.client = Client(address, config, self._thread.loop, self, recent=recent)
        except BaseException:
            self._thread.stop()
            raise
        try:
            self.client.start()
            self.run(self.client.connected)
        except Disconnected as error:
            self.close()
            servers = ", ".join(f"{host}:{port}" for host, port in address.hosts)
            raise Disconnected(
                f"no ZooKeeper server answers at {servers}: {self.client.refusal or error}"
            ) from error
        except BaseException:
            self.close()
            raise

    def _granted(self, timeout: float) -> None:
        """The servers keep the session for that long; another server may say otherwise."""
        self._limit = self._connect_timeout + timeout
        self._patience = 2 * timeout  # the timeout and two ticks, of which a session has at least 2
        self.traits = Traits(
            delivery="push",
            clock="server",
            detection=2 * timeout,
            lease=timeout,
            staleness=timeout * 2 / 3,
            metadata_bytes=METADATA_BYTES,
            cell_bytes=CELL_BYTES,
        )

    @property
    def server(self) -> str | None:
        """``host:port`` of the server that this connection speaks to now; None while cut off."""
        return self.client.server

    # --- members

    def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,
        on_rejoined: Callback | None = None,
    ) -> Registration:
        """See `membership.Membership`.

        A name that another session holds is refused only after twice our own session timeout:
        whether its holder is alive, nobody but that time can tell.
        """
        check_name("group", group)
        check_name("member", name)
        path = member_path(self.namespace, group, name)
        registration = ZooKeeperRegistration(
            self, group, name, path, metadata, on_lost, on_rejoined
        )
        self.run(lambda: self._join(registration), self._patience)
        return registration

    async def _join(self, registration: ZooKeeperRegistration) -> None:
        path = registration.path
        if path in self._registrations:
            raise NameTaken(
                f"{registration.name!r} is a live member of {registration.group!r} already"
            )
        self._registrations[path] = registration
        try:
            if (releasing := self._releasing.get(path)) is not None:
                await asyncio.shield(releasing)
            await registration.establish(self._patience)
        except BaseException:
            registration.end()
            self._release(path, None)  # a create may have been done without our hearing of it
            raise
        registration.start_keeping()

    def _release(self, path: str, life: Life | None) -> asyncio.Task[None]:
        del self._registrations[path]
        task = asyncio.create_task(give_up(self.client, path, life))
        self._releasing[path] = task
        task.add_done_callback(lambda _: self._releasing.pop(path, None))
        return task

    async def release(self, registration: ZooKeeperRegistration, life: Life | None) -> None:
        """See `registration.Host`. It goes on where the caller's time is over."""
        await asyncio.shield(self._release(registration.path, life))

    def members(self, group: str) -> View:
        check_name("group", group)
        return self._persist(lambda: groups.read_members(self.client, self.namespace, group))

    def member(self, group: str, name: str) -> Member | None:
        check_name("group", group)
        check_name("member", name)
        return self._persist(lambda: groups.read_member(self.client, self.namespace, group, name))

    def groups(self) -> tuple[str, ...]:
        return self._persist(lambda: groups.read_groups(self.client, self.namespace))

    # --- maintenance

    def force_down(self, group: str, name: str, reason: str = "") -> None:
        check_name("group", group)
        check_name("member", name)
        data = reason.encode()
        if len(data) > METADATA_BYTES:
            raise InvalidValue(f"the reason takes {len(data)} bytes: at most {METADATA_BYTES} fit")
        self._persist(lambda: groups.force_down(self.client, self.namespace, group, name, data))

    def lift(self, group: str, name: str) -> None:
        check_name("group", group)
        check_name("member", name)
        self._persist(lambda: groups.lift(self.client, self.namespace, group, name))

    def forced_down(self, group: str) -> Mapping[str, str]:
        check_name("group", group)
        return self._persist(lambda: groups.read_forced_down(self.client, self.namespace, group))

    # --- watches and cells

    def watch(self, group: str, *, limit: int = 100_000) -> Feed:
        check_name("group", group)
        feed = Feed(group, self._forget_feed, limit=limit, mass_loss=self._mass_loss)

        async def follow() -> None:
            follower = self._followers.get(group)
            if follower is None:
                path = group_path(self.namespace, group)
                follower = self._followers[group] = Follower(self.client, group, path)
            await follower.add(feed)

        try:
            self.run(follow)
        except BaseException:
            feed.close()
            raise
        return feed

    def _forget_feed(self, feed: Feed) -> None:
        def forget() -> None:
            follower = self._followers.get(feed.group)
            if follower is not None and follower.remove(feed):
                del self._followers[feed.group]

        self._thread.post(forget)

    def cell(self, name: str) -> Cell:
        self._check_open()
        return ZooKeeperCell(self, name)

    def follow(self, path: str) -> CellFeed:
        """See `cells.Host`."""
        feed = CellFeed(self._forget_cell_feed)

        async def follow() -> None:
            self._cell_feeds[feed] = asyncio.create_task(follow_cell(self.client, path, feed))

        self.run(follow)
        return feed

    def _forget_cell_feed(self, feed: CellFeed) -> None:
        self._thread.post(lambda: self._cell_feeds.pop(feed).cancel())

    # --- running work

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], extra: float = 0.0) -> T:
        """Run it on the loop, within the time that a call may take and some ``extra`` seconds.

        Raises: Closed, Disconnected, and what the work raises.
        """
        limit = self._limit + extra

        async def bounded() -> T:
            try:
                async with asyncio.timeout(limit):
                    return await work()
            except TimeoutError as error:
                raise Disconnected(f"ZooKeeper didn't answer within {limit:g} s") from error
            except Lost as error:
                raise Disconnected(
                    "the connection broke before ZooKeeper answered; what was asked may be done"
                ) from (error.__cause__ or error)

        self._check_open()
        return self._thread.run(bounded)

    def _persist(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.run(lambda: self.persist(work))

    async def persist(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Repeat it after each loss of the connection: for what may be done twice."""
        while True:
            await self.client.connected()
            try:
                return await work()
            except Lost:
                continue

    def is_ours(self) -> bool:
        """Whether this is the process that connected, not one that it forked."""
        return os.getpid() == self._pid

    def _check_open(self) -> None:
        if not self.is_ours():
            raise Closed("this connection belongs to the process that forked this one: connect")
        if self._closed:
            raise Closed("this connection has been closed")

    # --- told by the client, on the loop

    def link_changed(self, link: Link) -> None:
        """See `client.Owner`."""
        if link is Link.CONNECTED:
            self._granted(self.client.timeout)
        for follower in self._followers.values():
            follower.link_changed(link)
        if link is Link.EXPIRED:
            for registration in self._registrations.values():
                registration.lose()

    def confirmed(self) -> None:
        """See `client.Owner`."""
        for follower in self._followers.values():
            follower.confirmed()

    def doubted(self) -> None:
        """See `client.Owner`."""
        for follower in self._followers.values():
            follower.doubted()

    def pinged(self, seconds: float, late: float) -> None:
        """See `client.Owner`."""
        self._meter("renewal_seconds", seconds)
        self._meter("renewal_late_seconds", late)

    def notify(self, callback: Callback | None, registration: Registration) -> None:
        """See `registration.Host`."""
        if callback is not None:
            self._callbacks.submit(self._call_back, callback, registration)

    def _call_back(self, callback: Callback, registration: Registration) -> None:
        self._callback_thread = threading.current_thread()
        try:
            callback(registration)
        except Exception:  # noqa: BLE001  the user's: the next callback is due all the same
            logger.exception("a callback of %r failed", registration.name)

    # --- the end

    def close(self) -> None:
        self._end(self.client.close)

    def abandon(self) -> None:
        """End as a crash would: say nothing, and let the servers' timeout find out."""
        self._end(self.client.abandon)

    def _end(self, end_session: Callable[[], None]) -> None:
        with self._closing:
            if self._closed or not self.is_ours():
                return
            self._closed = True
        self._thread.shut()
        for registration in self._registrations.values():
            registration.end()
        for follower in self._followers.values():
            follower.close()
        for feed in list(self._cell_feeds):
            feed.close()
        end_session()
        self._thread.stop()
        in_callback = threading.current_thread() is self._callback_thread
        self._callbacks.shutdown(wait=not in_callback, cancel_futures=True)
