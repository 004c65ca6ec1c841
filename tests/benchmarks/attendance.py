"""What an engine does with a shard in a run, for those who measure one shard alone."""

from __future__ import annotations

import time

import psutil

from bench.engines.live.conductor import TICK
from bench.engines.live.swarm.process import HostedShard
from bench.engines.live.swarm.shard import Status, monotonic


def attend(shard: HostedShard, seconds: float) -> Status:
    """For that long, ask of the shard what an engine asks in a run."""
    end = monotonic() + seconds
    while True:
        shard.drain()
        status = shard.status()
        assert not status.failed, status.failed
        if (left := end - monotonic()) <= 0:
            return status
        time.sleep(min(TICK, left))


def cpu_seconds(shard: HostedShard) -> float:
    """Of the shard's process until now, user and system."""
    times = psutil.Process(shard.pid).cpu_times()
    return float(times.user + times.system)
