"""Wire sessions that hardly share a wake-up: what the slots spare the harness, and the server."""

from __future__ import annotations

from bench.engines.live.swarm import slots
from bench.engines.live.swarm.zookeeper import ZooKeeperShard

slots.SLOT = 0.001  # in this process, which is the shard's own


class PunctualShard(ZooKeeperShard):
    """Each pings within half a millisecond of its time."""
