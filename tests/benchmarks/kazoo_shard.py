"""The yardstick: a shard whose services are kazoo clients, as an application would start them."""

from __future__ import annotations

import ctypes
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

from bench.engines.live.swarm.shard import Log, Order, ShardPlan, Status, monotonic
from membership import ZooKeeperConfig
from membership.backends.zookeeper import paths
from membership.encoding import encode_metadata

START_SECONDS = 30.0
JOINERS = 8
"""One alone waits for a busy machine 2,000 times over."""

_PR_FUTEX_HASH = 78
_PR_FUTEX_HASH_SET_SLOTS = 1
_SLOTS = 16_384


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

    def begin(self, epoch: float) -> None:
        _make_room_for_threads()
        threading.Thread(target=self._ramp, args=(epoch,), daemon=True).start()

    def _ramp(self, epoch: float) -> None:
        try:
            with ThreadPoolExecutor(JOINERS) as joiners:
                due = (epoch + at for at in self._plan.join_at)
                for client in joiners.map(self._join, self._plan.services, due):
                    self._clients.append(client)
        except Exception as error:  # noqa: BLE001  told by `status`
            self._failed = (f"{type(error).__name__}: {error}",)

    def _join(self, service: str, due: float) -> KazooClient:
        time.sleep(max(0.0, due - monotonic()))
        return self._joined(service, KazooClient(self._hosts, timeout=self._timeout))

    def _joined(self, service: str, client: KazooClient) -> KazooClient:
        """The client started, with its node, however often its connection is lost meanwhile."""
        client.start(START_SECONDS)
        path = paths.member_path(self._namespace, self._plan.group, service)
        with suppress(NodeExistsError):  # made by a try whose answer was lost
            client.retry(client.create, path, encode_metadata(None), ephemeral=True, makepath=True)
        return client

    def carry_out(self, order: Order) -> None:
        raise ValueError(f"these services only stay: {order.action}")

    def status(self) -> Status:
        live = sum(client.connected for client in tuple(self._clients))
        return Status(joined=len(self._clients), live=live, failed=self._failed)

    def drain(self) -> Log:
        return Log()

    def clock(self) -> float:
        return monotonic()

    def close(self, *, goodbye: bool) -> None:
        """Nothing: the host ends the process, which six thousand threads would take long to."""


def _make_room_for_threads() -> None:
    """Have the kernel look for a waiting thread among few.

    From Linux 6.16 a process has as many lists of waiters as processors, not as threads: with
    thousands of threads each wake-up walks hundreds of them, and near 2,000 clients the process
    does little else. That is the kernel's doing, not kazoo's. Older kernels refuse the call and
    don't need it.
    """
    ctypes.CDLL(None).prctl(_PR_FUTEX_HASH, _PR_FUTEX_HASH_SET_SLOTS, _SLOTS, 0, 0)
