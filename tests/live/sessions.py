"""What the tests do to ZooKeeper sessions and servers from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from kazoo.client import KazooClient

from bench.engines.live.provision import Deployment
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse


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
    """The servers' processes stand still; their kernel goes on taking connections."""
    pids = [pid for server in deployment.servers for pid in server.pids]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
