"""The other yardstick: a shard whose services are kazoo clients on gevent, in one thread."""

from __future__ import annotations

import threading

import gevent
from gevent.pool import Pool
from kazoo.client import KazooClient
from kazoo.handlers.gevent import SequentialGeventHandler

from bench.engines.live.swarm.shard import monotonic
from tests.benchmarks.kazoo_shard import JOINERS, KazooShard


class GeventShard(KazooShard):
    """A `shard.Shard`: each service a `KazooClient` with its session and its node."""

    def begin(self, epoch: float) -> None:
        threading.Thread(target=self._live, args=(epoch,), daemon=True).start()

    def _live(self, epoch: float) -> None:
        """All of gevent happens on this thread, which ends with the process."""
        self._ramp(epoch)
        while True:
            gevent.sleep(60)

    def _ramp(self, epoch: float) -> None:
        try:
            pool = Pool(JOINERS)
            for service, at in zip(self._plan.services, self._plan.join_at, strict=True):
                gevent.sleep(max(0.0, epoch + at - monotonic()))
                pool.spawn(self._start, service)
            pool.join(raise_error=True)
        except Exception as error:  # noqa: BLE001  told by `status`
            self._failed = (f"{type(error).__name__}: {error}",)

    def _start(self, service: str) -> None:
        handler = SequentialGeventHandler()
        client = KazooClient(self._hosts, timeout=self._timeout, handler=handler)
        self._clients.append(self._joined(service, client))
