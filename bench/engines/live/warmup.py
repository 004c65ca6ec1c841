"""Has ZooKeeper's servers compile what a run will ask of them, before anything is measured.

A young JVM interprets, and spends on compiling what it is asked often. Operators' servers are old.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from bench.engines.live.muster import OBSERVER, WORKERS, client_config
from bench.engines.live.provision import Deployment, zookeeper
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import Action, Order, ShardPlan, monotonic
from bench.errors import InvalidRun
from bench.scenario import Backend, ZooKeeperBackend

RATE = 1000.0
"""Joins and leaves a second, at most."""
ROUND = 5_000
"""At most so many sessions at once, one such crowd after another: what the servers learn by are
joins and leaves, not how many there are of them."""
PATIENCE = 120.0
"""The longest that the joins or the leaves of a round may take, in s."""
GROUP = "warm-up"


def warm_up(backend: Backend, deployment: Deployment) -> None:
    """Have ``backend.warm_up`` sessions join a group that is watched at each server, and leave it.

    Each round has a group and watches of its own: a compiler leaves out what it has never seen
    happen, and has to start over when it does.
    Servers that already ran before this run are left as they are. Raises: InvalidRun; ShardDied.
    """
    if (
        not isinstance(backend, ZooKeeperBackend)
        or not backend.warm_up
        or deployment.where == "external"
    ):
        return
    urls = [zookeeper.url([(each.host, each.port)]) for each in deployment.servers]
    for number, done in enumerate(range(0, backend.warm_up, ROUND)):
        group = f"{GROUP}-{number}"
        services = ShardPlan(group, deployment.url, client_config(backend), group)
        with ExitStack() as stack:
            watching = [
                stack.enter_context(hosted(OBSERVER, replace(services, url=url))) for url in urls
            ]
            _come_and_go(services, min(ROUND, backend.warm_up - done))
            for one in watching:
                one.close(goodbye=True)


def _come_and_go(services: ShardPlan, count: int) -> None:
    """So many sessions join the group, and then leave it."""
    names = tuple(f"{services.group}-{number}" for number in range(count))
    instants = tuple(number / RATE for number in range(count))
    plan = replace(services, services=names, join_at=instants)
    with hosted(WORKERS["zookeeper", "wire"], plan) as shard:
        shard.begin(monotonic())
        _await(shard, joined=count)
        now = monotonic()
        shard.carry_out(Order(Action.LEAVE, names, tuple(now + t for t in instants)))
        _await(shard, dead=count)
        shard.close(goodbye=True)


def _await(shard: HostedShard, **wanted: int) -> None:
    deadline = monotonic() + PATIENCE
    while any(getattr(shard.status(), what) < count for what, count in wanted.items()):
        if monotonic() > deadline:
            said = "; ".join(shard.status().failed) or "none of them says why"
            raise InvalidRun(f"the servers' warm-up took over {PATIENCE:.0f} s: {said}")
        time.sleep(0.1)
