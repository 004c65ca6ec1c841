"""One client of a group, three times over: ours, tooz's and kazoo's own recipes.

A scenario is written once, against `Client`. What a peer offers no call for, its adapter lacks.
"""

from __future__ import annotations

import socket
import struct
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState
from kazoo.recipe.lock import Lock
from kazoo.recipe.party import Party
from kazoo.recipe.watchers import ChildrenWatch
from tooz import ToozError, coordination

from membership import ZooKeeperConfig, connect
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import group_path, parse
from membership.recipes.election import Candidacy, Election

SESSION = 2.0
GROUP = "compute"

_BYTES_RECEIVED = 128
"""Where Linux keeps ``tcpi_bytes_received`` in its ``struct tcp_info``."""


def servers(url: str) -> str:
    """The URL's servers, as kazoo wants them."""
    return ",".join(f"{host}:{port}" for host, port in parse(url).hosts)


class Client(ABC):
    """A connection with at most one member, of one group."""

    kazoo: KazooClient
    """The session that it stands on."""
    path: str
    """The znode whose children the group's members are."""

    @abstractmethod
    def join(self) -> None: ...

    @abstractmethod
    def leave(self) -> None: ...

    @abstractmethod
    def says_member(self) -> bool:
        """Whether it takes itself for a member, asking nobody."""

    def says_lost(self) -> bool:
        """Whether it has told, by now, that its session may be over."""
        return not self.says_member()

    @abstractmethod
    def members(self) -> set[str]: ...

    @abstractmethod
    def close(self) -> None: ...

    def tend(self) -> None:
        """What the application has to call every now and then, if anything."""
        return

    def expire(self) -> None:
        """Have the servers end its session, as they would have after its timeout."""
        thief = KazooClient(_hosts(self.kazoo), client_id=self.kazoo.client_id)
        thief.start()
        thief.stop()
        thief.close()

    def crash(self) -> None:
        """End unheard: the server keeps the session for its timeout."""
        self.kazoo._stopped.set()
        self.kazoo._connection._socket.shutdown(socket.SHUT_RDWR)
        self.kazoo._safe_close()
        self.kazoo.close()

    def received(self) -> int:
        """Bytes that came in on the connection, as the kernel counts them."""
        connection = self.kazoo._connection._socket
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        (count,) = struct.unpack_from("Q", info, _BYTES_RECEIVED)
        return int(count)


class Elector(Client):
    """A client that can stand for election."""

    @abstractmethod
    def campaign(self) -> None: ...

    @abstractmethod
    def leads(self) -> bool:
        """Whether it takes itself for the leader, asking nobody."""


class Watcher(Client):
    """A client that can follow the group."""

    @abstractmethod
    def watch(self) -> None: ...

    @abstractmethod
    def news(self) -> list[tuple[str, str]]:
        """The changes told since the watch began: ``joined`` or ``left``, and the member."""

    @abstractmethod
    def seen(self) -> set[str]:
        """The group as the watch knows it."""


class Ours(Elector, Watcher):
    """`membership` itself."""

    def __init__(self, url: str, name: str) -> None:
        self._membership = connect(url, ZooKeeperConfig(session_timeout=SESSION))
        assert isinstance(self._membership, ZooKeeperMembership)
        self.kazoo = self._membership.client._kazoo
        self.path = group_path(self._membership.namespace, GROUP)
        self._name = name
        self._candidacies: list[Candidacy] = []
        self._news: list[tuple[str, str]] = []

    def join(self) -> None:
        self._registration = self._membership.join(GROUP, self._name)

    def leave(self) -> None:
        self._registration.leave()

    def says_member(self) -> bool:
        return self._registration.is_member

    def members(self) -> set[str]:
        return set(self._membership.members(GROUP).members)

    def campaign(self) -> None:
        election = Election(self._membership, "leader", lease=SESSION)
        self._candidacies.append(election.run(self._registration))

    def leads(self) -> bool:
        return any(candidacy.leadership for candidacy in self._candidacies)

    def watch(self) -> None:
        self._watch = self._membership.watch(GROUP)

    def news(self) -> list[tuple[str, str]]:
        while (event := self._watch.next(0)) is not None:
            if event.member is not None:
                self._news.append((event.kind.value, event.member.name))
        return self._news

    def seen(self) -> set[str]:
        return set(self._watch.view.members)

    def crash(self) -> None:
        assert isinstance(self._membership, ZooKeeperMembership)
        self._membership.abandon()

    def close(self) -> None:
        for candidacy in self._candidacies:
            candidacy.close()
        self._membership.close()


class Tooz(Elector, Watcher):
    """tooz on its ZooKeeper driver."""

    def __init__(self, url: str, name: str) -> None:
        address = parse(url)
        self._name = name.encode()
        self._group = GROUP.encode()
        self._coordinator = coordination.get_coordinator(
            f"zookeeper://{servers(url)}",
            self._name,
            timeout=SESSION,
            namespace=address.namespace,
        )
        self._coordinator.start()
        self.kazoo = self._coordinator._coord  # type: ignore[attr-defined]
        self.path = f"/{address.namespace}/{GROUP}"
        self._elected = False
        self._news: list[tuple[str, str]] = []

    def join(self) -> None:
        self._coordinator.join_group_create(self._group)

    def leave(self) -> None:
        self._coordinator.leave_group(self._group).get()

    def says_member(self) -> bool:
        return self._group in self._coordinator._joined_groups

    def members(self) -> set[str]:
        found = self._coordinator.get_members(self._group).get()
        return {name.decode() for name in found}

    def tend(self) -> None:
        for call in (self._coordinator.heartbeat, self._coordinator.run_watchers):
            with suppress(ToozError):  # as its own `Heart` does: the next one may succeed
                call()

    def campaign(self) -> None:
        self._coordinator.watch_elected_as_leader(self._group, self._note_election)

    def _note_election(self, event: coordination.LeaderElected) -> None:
        self._elected = event.member_id == self._name

    def leads(self) -> bool:
        # It has no call to ask: this is what the driver itself goes by.
        lock = self._coordinator._get_group_leader_lock(self._group)  # type: ignore[attr-defined]
        return self._elected and bool(lock.is_acquired)

    def watch(self) -> None:
        self._news += [("joined", name) for name in sorted(self.members())]
        self._coordinator.watch_join_group(self._group, lambda event: self._note("joined", event))
        self._coordinator.watch_leave_group(self._group, lambda event: self._note("left", event))

    def _note(self, kind: str, event: Any) -> None:
        self._news.append((kind, event.member_id.decode()))

    def news(self) -> list[tuple[str, str]]:
        self.tend()
        return self._news

    def seen(self) -> set[str]:
        return self.members()

    def close(self) -> None:
        self._coordinator.stop()
        self._coordinator._coord.close()  # type: ignore[attr-defined]  # tooz leaves kazoo's sockets open


class Kazoo(Elector, Watcher):
    """kazoo's Party, Lock and ChildrenWatch."""

    def __init__(self, url: str, name: str) -> None:
        address = parse(url)
        self.kazoo = KazooClient(servers(url), timeout=SESSION)
        self.states: list[str] = []
        self.kazoo.add_listener(self.states.append)
        self.kazoo.start()
        self.path = f"/{address.namespace}/{GROUP}"
        self._party = Party(self.kazoo, self.path, name)
        # A process that was started again is the same member, as its name says.
        self._party.node = f"{name}{Party._NODE_NAME}"
        self._party.create_path = f"{self.path}/{self._party.node}"
        self._lock = Lock(self.kazoo, f"/{address.namespace}/leader", name)
        self._seen: set[str] = set()

    def join(self) -> None:
        self._party.join()

    def leave(self) -> None:
        self._party.leave()

    def says_member(self) -> bool:
        return bool(self._party.participating)

    def members(self) -> set[str]:
        return set(self._party)

    def campaign(self) -> None:
        self._lock.acquire(blocking=False)

    def leads(self) -> bool:
        return bool(self._lock.is_acquired)

    def tend(self) -> None:
        if not self._lock.is_acquired:
            self._lock.acquire(blocking=False)

    def watch(self) -> None:
        self.kazoo.ensure_path(self.path)
        ChildrenWatch(self.kazoo, self.path, self._note)

    def _note(self, children: list[str]) -> None:
        self._seen = {child.removesuffix(Party._NODE_NAME) for child in children}

    def news(self) -> list[tuple[str, str]]:
        raise AssertionError("a ChildrenWatch tells lists, not changes")

    def seen(self) -> set[str]:
        return self._seen

    def says_lost(self) -> bool:
        return KazooState.LOST in self.states

    def close(self) -> None:
        self.kazoo.stop()
        self.kazoo.close()


def _hosts(kazoo: KazooClient) -> str:
    return ",".join(f"{host}:{port}" for host, port in kazoo.hosts)
