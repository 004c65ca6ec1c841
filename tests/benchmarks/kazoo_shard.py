"""The yardstick: a shard whose services are kazoo clients, as an application would start them."""

from __future__ import annotations

import sys
import threading
import time

from kazoo.client import KazooClient

from bench.engines.live.swarm.shard import Log, Order, ShardPlan, Status, monotonic
from membership import ZooKeeperConfig
from membership.backends.zookeeper import paths
from membership.encoding import encode_metadata

START_SECONDS = 30.0

SWITCH_SECONDS = 1.0
"""How often a thread that waits for the interpreter asks for it. At Python's 5 ms, one stall of a
busy machine leaves thousands of threads doing nothing else, and the sessions expire meanwhile;
where nothing stalls, it makes no difference."""


class KazooShard:
    """A `shard.Shard`: each service a `KazooClient` with its threads, its session and its node."""

    def __init__(self, plan: ShardPlan) -> None:
        assert isinstance(plan.config, ZooKeeperConfig)
        self._plan = plan
        self._timeout = plan.config.session_timeout
        address = paths.parse(plan.url)
        self._namespace = address.namespace
        self._hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
        self._clients: list[KazooClient] = []
        self._failed: tuple[str, ...] = ()
        sys.setswitchinterval(SWITCH_SECONDS)

    def begin(self, epoch: float) -> None:
        threading.Thread(target=self._ramp, args=(epoch,), daemon=True).start()

    def _ramp(self, epoch: float) -> None:
        try:
            for service, at in zip(self._plan.services, self._plan.join_at, strict=True):
                time.sleep(max(0.0, epoch + at - monotonic()))
                self._clients.append(self._join(service))
        except Exception as error:  # noqa: BLE001  told by `status`
            self._failed = (f"{type(error).__name__}: {error}",)

    def _join(self, service: str) -> KazooClient:
        client = KazooClient(self._hosts, timeout=self._timeout)
        client.start(START_SECONDS)
        path = paths.member_path(self._namespace, self._plan.group, service)
        client.create(path, encode_metadata(None), ephemeral=True, makepath=True)
        return client

    def carry_out(self, order: Order) -> None:
        raise ValueError(f"these services only stay: {order.action}")

    def status(self) -> Status:
        live = sum(client.connected for client in list(self._clients))
        return Status(joined=len(self._clients), live=live, failed=self._failed)

    def drain(self) -> Log:
        return Log()

    def clock(self) -> float:
        return monotonic()

    def close(self, *, goodbye: bool) -> None:
        """Nothing: the host ends the process, which six thousand threads would take long to."""
