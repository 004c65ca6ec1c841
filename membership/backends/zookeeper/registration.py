"""One ephemeral node of ours: taken, kept, brought back where it is lost, given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from membership.api import Callback, Registration
from membership.backends.zookeeper.client import RETRY, Client, logger
from membership.backends.zookeeper.operations import (
    BadVersion,
    Lost,
    NodeExists,
    NoNode,
    Stat,
    create,
    delete,
    exists,
    get,
    write,
)
from membership.backends.zookeeper.paths import ancestors
from membership.encoding import decode_metadata, encode_metadata
from membership.errors import MembershipError, NameTaken, NotAMember
from membership.model import Metadata

T = TypeVar("T")

METADATA_BYTES = 64 * 1024
"""Far below the server's own limit (jute.maxbuffer, 1 MiB), and as on the other backends."""


class Host(Protocol):
    """What a registration needs of the connection that it belongs to."""

    client: Client

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on the loop, within the time that a call may take."""

    def is_ours(self) -> bool:
        """Whether this is the process that connected."""

    def notify(self, callback: Callback | None, registration: Registration) -> None:
        """Call the user back, on a thread that may block."""

    async def release(self, registration: ZooKeeperRegistration, life: Life | None) -> None:
        """Give the node up, and forget the registration."""


@dataclass(frozen=True, slots=True)
class Life:
    """One incarnation of the node, and its data as last known."""

    token: int
    session: int
    version: int
    data: bytes


class ZooKeeperRegistration(Registration):
    """A member of ours. `establish` and `keep` run on the loop; the rest is for any thread."""

    def __init__(
        self,
        host: Host,
        group: str,
        name: str,
        path: str,
        metadata: Metadata | None,
        on_lost: Callback | None,
        on_rejoined: Callback | None,
    ) -> None:
        self.group = group
        self.name = name
        self.path = path
        self._host = host
        self._client = host.client
        self._wanted = encode_metadata(metadata, METADATA_BYTES)
        self._on_lost = on_lost
        self._on_rejoined = on_rejoined
        self._token = 0
        self._life: Life | None = None
        self._left = False
        self._keeping: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    @property
    def token(self) -> int:
        return self._token

    @property
    def metadata(self) -> Metadata:
        return decode_metadata(self._wanted)

    @property
    def is_member(self) -> bool:
        life, lease = self._life, self._client.lease
        return (
            life is not None
            and life.session == lease.session
            and time.monotonic() < lease.deadline
            and self._host.is_ours()
        )

    def update(self, metadata: Metadata) -> None:
        data = encode_metadata(metadata, METADATA_BYTES)

        async def update() -> None:
            self._check_not_left()
            self._wanted = data
            await self._write()

        self._check_not_left()
        self._host.run(update)

    def _check_not_left(self) -> None:
        if self._left:
            raise NotAMember(f"{self.name!r} has left {self.group!r}")

    def leave(self) -> None:
        async def leave() -> None:
            if not self._left:
                life = self._life
                self.end()
                await self._host.release(self, life)

        if not self._left:
            self._host.run(leave)

    # --- on the loop

    def end(self) -> None:
        """Stop keeping the node, whatever becomes of it."""
        self._left = True
        self._life = None
        if self._keeping is not None:
            self._keeping.cancel()

    def start_keeping(self) -> None:
        """From here on the node is brought back whenever it is lost."""
        self._keeping = asyncio.create_task(self._keep())

    def lose(self) -> None:
        """This life is over. Once for each."""
        if self._life is not None:
            self._life = None
            self._host.notify(self._on_lost, self)

    async def establish(self, patience: float | None) -> None:
        """Make the node, once whatever another session left there is gone.

        Raises: NameTaken where it still stands after ``patience`` seconds (None: never).
        """
        clock = asyncio.get_running_loop()
        deadline: float | None = None
        with self._client.stirring(self.path) as stirred:
            while True:
                await self._client.connected()
                stirred.clear()
                try:
                    if await self._try_establish():
                        return
                except Lost:
                    continue
                if deadline is None and patience is not None:
                    deadline = clock.time() + patience
                try:
                    async with asyncio.timeout_at(deadline):
                        await stirred.wait()
                except TimeoutError:
                    raise NameTaken(
                        f"{self.name!r} is a live member of {self.group!r} already"
                    ) from None

    async def _try_establish(self) -> bool:
        """Whether the node is ours now; else it is another session's, and watched."""
        data = self._wanted
        while True:
            try:
                stat = await self._client.ask(
                    create(self.path, data, self._client.rights, ephemeral=True)
                )
            except NoNode:
                await make_ancestors(self._client, self.path)
            except NodeExists:
                node = await self._client.ask(get(self.path, watch=True))
                if node is None:
                    continue
                if node.stat.owner != self._client.session:
                    return False
                # This connection has one registration for a name, so this is our own create,
                # whose answer a broken connection kept from us.
                self._begin(node.stat, node.data)
                return True
            else:
                self._begin(stat, data)
                return True

    def _begin(self, stat: Stat, data: bytes) -> None:
        self._token = stat.created
        self._life = Life(stat.created, stat.owner, stat.version, data)

    async def _keep(self) -> None:
        with self._client.stirring(self.path) as stirred:
            while True:
                stirred.clear()
                try:
                    if self._life is None:
                        await self.establish(None)
                        self._host.notify(self._on_rejoined, self)
                    await self._client.connected()
                    if self._life is None:  # the session that came back is another one
                        continue
                    stat = await self._client.ask(exists(self.path, watch=True))
                    if self._life is not None and stat is not None:
                        await self._write()
                except Lost:
                    continue
                except MembershipError as error:
                    await self._put_off(error)
                    continue
                if self._life is None or stat is None or stat.created != self._life.token:
                    self.lose()
                else:
                    await stirred.wait()

    async def _put_off(self, error: MembershipError) -> None:
        """Something that waiting may mend, such as rights that somebody has taken away."""
        logger.warning("%r can't be kept in %r, trying again: %s", self.name, self.group, error)
        await asyncio.sleep(RETRY)

    async def _write(self) -> None:
        """Bring the node's data up to what is wanted, if there is a life to bring it to."""
        async with self._writing:
            while (life := self._life) is not None and life.data != self._wanted:
                await self._client.connected()
                wanted = self._wanted
                try:
                    stat = await self._client.ask(write(self.path, wanted, life.version))
                    self._renew(life, stat, wanted)
                except Lost:
                    continue  # it may have been done: the version will tell
                except BadVersion:
                    node = await self._client.ask(get(self.path))
                    if node is not None:
                        self._renew(life, node.stat, node.data)
                except NoNode:
                    self.lose()

    def _renew(self, life: Life, stat: Stat, data: bytes) -> None:
        if self._life is life:
            if stat.created == life.token:
                self._life = replace(life, version=stat.version, data=data)
            else:
                self.lose()


async def make_ancestors(client: Client, path: str) -> None:
    """Make the nodes above the path, where they are missing. Raises: Lost."""
    steps = [
        client.ask(create(step, b"", client.rights, ephemeral=False)) for step in ancestors(path)
    ]
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    # what stands above needs no right to be made, and refuses first
    failures = [one for one in outcomes if isinstance(one, BaseException)]
    if isinstance(outcomes[-1], BaseException) and not isinstance(outcomes[-1], NodeExists):
        raise next(one for one in failures if not isinstance(one, NodeExists))


async def give_up(client: Client, path: str, life: Life | None) -> None:
    """Delete the node if it is this session's own, however long it takes to tell the servers."""
    while True:
        await client.connected()
        try:
            if life is not None and life.session == client.session:
                await client.ask(delete(path, life.version))
            else:
                stat = await client.ask(exists(path))
                if stat is not None and stat.owner == client.session:
                    await client.ask(delete(path, stat.version))
        except NoNode:
            return
        except (Lost, BadVersion):
            life = None
        else:
            return
