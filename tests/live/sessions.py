"""What the tests do to ZooKeeper sessions and servers from outside."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from kazoo.client import KazooClient

from bench.engines.live.provision import Deployment
from membership import Registration, ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse

SESSION = 3.0
CONFIG = ZooKeeperConfig(session_timeout=SESSION, connect_timeout=10.0)


def join_url(url: str, *, recent: bool = True) -> ZooKeeperMembership:
    return ZooKeeperMembership(parse(url), CONFIG, lambda _name, _value: None, recent=recent)


class Diary:
    """The callbacks of a registration, in order."""

    def __init__(self) -> None:
        self.entries: queue.Queue[tuple[str, int]] = queue.Queue()

    def lost(self, registration: Registration) -> None:
        self.entries.put(("lost", registration.token))

    def rejoined(self, registration: Registration) -> None:
        self.entries.put(("rejoined", registration.token))

    def next(self) -> tuple[str, int]:
        return self.entries.get(timeout=30)


@contextmanager
def outsider(url: str, client_id: object = None) -> Iterator[KazooClient]:
    """Somebody with kazoo, or with the id of a session of ours, who closes it at the end."""
    hosts = ",".join(f"{host}:{port}" for host, port in parse(url).hosts)
    client = KazooClient(hosts, client_id=client_id)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def expire(url: str, membership: ZooKeeperMembership) -> None:
    """Have the servers end its session."""
    with outsider(url, membership.client._kazoo.client_id):
        pass


def cut(membership: ZooKeeperMembership) -> None:
    """Break the TCP connection that it has now."""
    membership.client._connection.cut()


@contextmanager
def frozen(deployment: Deployment) -> Iterator[None]:
    """The servers stand still, each process of theirs; their kernel goes on taking connections."""
    with ExitStack() as stack:
        for server in deployment.servers:
            control = deployment.control(server.name)
            stack.callback(control.go_on)
            control.pause()
        yield


def silence(
    still: AbstractContextManager[None], memberships: Iterable[ZooKeeperMembership]
) -> AbstractContextManager[None]:
    """The servers that stand still, and these connections' calls, which don't wait for long."""
    for membership in memberships:
        membership._limit = 1.0  # until the connection is made anew
    return still
