"""Has ZooKeeper's servers compile what a run will ask of them, before anything is measured.

A young JVM interprets, and spends on compiling what it is asked often. Operators' servers are old.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.engines.live.muster import OBSERVER, WORKERS, client_config
from bench.engines.live.provision import Deployment
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import Action, Order, ShardPlan, monotonic
from bench.errors import InvalidRun
from bench.scenario import Backend, ZooKeeperBackend

RATE = 500.0
"""Joins and leaves a second, at most."""
PATIENCE = 120.0
"""The longest that either may take, in s."""
GROUP = "warm-up"


def warm_up(backend: Backend, deployment: Deployment) -> None:
    """Have ``backend.warm_up`` sessions join a group that is watched, and leave it.

    Servers that already ran before this run are left as they are. Raises: InvalidRun; ShardDied.
    """
    if (
        not isinstance(backend, ZooKeeperBackend)
        or not backend.warm_up
        or deployment.where == "external"
    ):
        return
    names = tuple(f"{GROUP}-{number}" for number in range(backend.warm_up))
    instants = tuple(number / RATE for number in range(backend.warm_up))
    config = client_config(backend)
    with ExitStack() as stack:
        observer = ShardPlan(f"{GROUP}-observer", deployment.url, config, GROUP)
        watching = stack.enter_context(hosted(OBSERVER, observer))
        services = ShardPlan(GROUP, deployment.url, config, GROUP, names, instants)
        shard = stack.enter_context(hosted(WORKERS["zookeeper", "wire"], services))
        shard.begin(monotonic())
        _await(shard, joined=len(names))
        now = monotonic()
        shard.carry_out(Order(Action.LEAVE, names, tuple(now + t for t in instants)))
        _await(shard, dead=len(names))
        for one in (shard, watching):
            one.close(goodbye=True)


def _await(shard: HostedShard, **wanted: int) -> None:
    deadline = monotonic() + PATIENCE
    while any(getattr(shard.status(), what) < count for what, count in wanted.items()):
        if monotonic() > deadline:
            said = "; ".join(shard.status().failed) or "none of them says why"
            raise InvalidRun(f"the servers' warm-up took over {PATIENCE:.0f} s: {said}")
        time.sleep(0.1)
