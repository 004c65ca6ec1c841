"""The other yardstick: a shard whose services are kazoo clients on gevent, in one thread."""

from __future__ import annotations

import threading
import time

import gevent
from gevent.pool import Pool
from kazoo.client import KazooClient
from kazoo.handlers.gevent import SequentialGeventHandler

from bench.engines.live.swarm.shard import Log, Order, ShardPlan, Status, monotonic
from membership import ZooKeeperConfig
from membership.backends.zookeeper import paths
from membership.encoding import encode_metadata

START_SECONDS = 30.0
JOINERS = 8


class GeventShard:
    """A `shard.Shard`: each service a `KazooClient` with its session and its node."""

    def __init__(self, plan: ShardPlan) -> None:
        assert isinstance(plan.config, ZooKeeperConfig)
        self._plan = plan
        self._timeout = plan.config.session_timeout
        address = paths.parse(plan.url)
        self._namespace = address.namespace
        self._hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
        self._clients: list[KazooClient] = []
        self._failed: tuple[str, ...] = ()

    def begin(self, epoch: float) -> None:
        threading.Thread(target=self._live, args=(epoch,), daemon=True).start()

    def _live(self, epoch: float) -> None:
        """All of gevent happens on this thread, which ends with the process."""
        try:
            pool = Pool(JOINERS)
            due = (epoch + at for at in self._plan.join_at)
            for service, at in zip(self._plan.services, due, strict=True):
                gevent.sleep(max(0.0, at - monotonic()))
                pool.spawn(self._join, service)
            pool.join(raise_error=True)
        except Exception as error:  # noqa: BLE001  told by `status`
            self._failed = (f"{type(error).__name__}: {error}",)
        while True:
            gevent.sleep(60)

    def _join(self, service: str) -> None:
        client = KazooClient(self._hosts, timeout=self._timeout, handler=SequentialGeventHandler())
        client.start(START_SECONDS)
        path = paths.member_path(self._namespace, self._plan.group, service)
        client.create(path, encode_metadata(None), ephemeral=True, makepath=True)
        self._clients.append(client)

    def carry_out(self, order: Order) -> None:
        raise ValueError(f"these services only stay: {order.action}")

    def status(self) -> Status:
        live = sum(client.connected for client in tuple(self._clients))
        return Status(joined=len(self._clients), live=live, failed=self._failed)

    def drain(self) -> Log:
        return Log()

    def clock(self) -> float:
        return time.monotonic()

    def close(self, *, goodbye: bool) -> None:
        """Nothing: the host ends the process."""
