"""A large group on ZooKeeper, and how to connect to it: ours, kazoo's and tooz's ways.

Each of them reads and writes its own layout: ours and kazoo's clients the same nodes, tooz nodes
of the same names and metadata below its own path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from tooz import coordination
from tooz.utils import dumps

from bench.engines.live.provision import Deployment
from membership import Membership, ZooKeeperConfig, connect
from membership.backends.zookeeper import paths
from membership.encoding import encode_metadata
from membership.testing import ROOM

MEMBERS = 10_000
SESSION = 30.0
GROUP = "compute"

Content = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Group:
    """Two copies of one group, whose members one session holds."""

    url: str
    hosts: str
    path: str
    """Where ours and kazoo's members stand."""
    tooz_path: str
    content: Content
    owner: KazooClient

    def join(self, name: str) -> None:
        metadata = {"zone": name}
        self.owner.create(f"{self.path}/{name}", encode_metadata(metadata), ephemeral=True)
        self.owner.create(f"{self.tooz_path}/{name}", dumps(metadata), ephemeral=True)

    def leave(self, name: str) -> None:
        self.owner.delete(f"{self.path}/{name}")
        self.owner.delete(f"{self.tooz_path}/{name}")


@contextmanager
def large_group(servers: Deployment) -> Iterator[Group]:
    """Its members, until the block ends."""
    url = f"{servers.url.rpartition('/')[0]}/library"
    address = paths.parse(url)
    hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
    content: Content = {
        f"service-{n:05}": {"zone": f"az{n % 3}", "address": f"10.0.{n // 256}.{n % 256}:8774"}
        for n in range(MEMBERS)
    }
    with kazoo(hosts) as owner:
        path, tooz_path = paths.group_path(address.namespace, GROUP), f"/tooz/{GROUP}"
        for folder in (path, tooz_path):
            owner.ensure_path(folder)
        joins = [
            (f"{folder}/{name}", encoded(metadata))
            for name, metadata in content.items()
            for folder, encoded in ((path, encode_metadata), (tooz_path, dumps))
        ]
        for start in range(0, len(joins), 500):
            some = joins[start : start + 500]
            for answer in [owner.create_async(*join, ephemeral=True) for join in some]:
                answer.get(ROOM)
        yield Group(url, hosts, path, tooz_path, content, owner)


@contextmanager
def kazoo(hosts: str, session: float = SESSION) -> Iterator[KazooClient]:
    client = KazooClient(hosts, timeout=session)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


@contextmanager
def tooz(hosts: str, name: str, session: float = SESSION) -> Iterator[Any]:
    coordinator = coordination.get_coordinator(
        f"zookeeper://{hosts}", name.encode(), timeout=session
    )
    coordinator.start()
    try:
        yield coordinator
    finally:
        coordinator.stop()
        coordinator._coord.close()  # type: ignore[attr-defined]  # it leaves kazoo's sockets open


def ours(url: str, session: float = SESSION) -> Membership:
    return connect(url, ZooKeeperConfig(session_timeout=session))
