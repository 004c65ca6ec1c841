"""What a fault is given to act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.engines.live.provision import Deployment
from bench.engines.live.racks import Fabric
from bench.engines.live.swarm.process import HostedShard
from bench.engines.live.swarm.shard import Event
from bench.plan import Run


@dataclass(frozen=True)
class Stage:
    """A run as a fault sees it; all instants on the harness's own monotonic clock."""

    run: Run
    t0: float
    """The end of the ramp: a plan's offsets count from here."""
    shards: Sequence[HostedShard]
    """Those that hold services."""
    fabric: Fabric
    deployment: Deployment
    tell: Callable[[Event], None]
    """Takes ground truth for the record, from any thread."""
