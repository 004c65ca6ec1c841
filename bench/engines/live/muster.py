"""Starts the shards of a run, each where it belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.engines.live.allotment import Allotment, allot
from bench.engines.live.provision import Deployment
from bench.engines.live.racks import Fabric
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import ShardPlan
from bench.plan import Run
from bench.randomness import stream
from bench.scenario import Backend, SqlBackend
from membership import SqlConfig, ZooKeeperConfig

WORKERS = {
    ("sql", "wire"): "bench.engines.live.swarm.sql:SqlShard",
    ("zookeeper", "wire"): "bench.engines.live.swarm.zookeeper:ZooKeeperShard",
    ("sql", "library"): "bench.engines.live.swarm.library:LibraryShard",
    ("zookeeper", "library"): "bench.engines.live.swarm.library:LibraryShard",
}
OBSERVER = "bench.engines.live.observe:ObserverShard"


class Swarm:
    """The shards of a run: those that hold services, and the observers."""

    def __init__(self, shards: Sequence[HostedShard], observers: Sequence[HostedShard]) -> None:
        self.shards = tuple(shards)
        self.observers = tuple(observers)
        self.everyone = (*self.shards, *self.observers)

    def pids(self, kind: str) -> list[int]:
        """The processes of the shards of a kind: wire, library or observer."""
        return [shard.pid for shard in self.everyone if shard.name.startswith(kind)]

    def close(self, *, goodbye: bool) -> None:
        """End every service; with ``goodbye`` by a clean leave."""
        for shard in self.everyone:
            shard.close(goodbye=goodbye)


@contextmanager
def mustered(run: Run, deployment: Deployment, fabric: Fabric) -> Iterator[Swarm]:
    """The swarm, nobody joined yet; at the end its processes are gone."""
    servers = {f"{server.host}:{server.port}": server.name for server in deployment.servers}

    def plan(name: str, allotment: Allotment | None = None) -> ShardPlan:
        members = allotment.members if allotment else ()
        return ShardPlan(
            name=name,
            url=deployment.url,
            config=client_config(run.backend),
            group=run.scenario.services.group,
            services=tuple(run.service_name(index) for index in members),
            join_at=tuple(float(run.join_at[index]) for index in members),
            seed=int(stream(run.scenario.seed, "shard", run.repeat, name).integers(2**32)),
            connections=allotment.connections if allotment else 0,
            servers=servers,
            source=allotment.source if allotment else "",
            stamp=run.backend.stamp if isinstance(run.backend, SqlBackend) else "service",
            skewable=allotment is not None and allotment.client == "library" and run.skews_library,
        )

    with ExitStack() as stack:
        observers = [
            stack.enter_context(hosted(OBSERVER, plan(f"observer-{number}")))
            for number in range(run.scenario.observers)
        ]
        shards = []
        for allotment in allot(run):
            worker = WORKERS[run.backend.kind, allotment.client]
            inside = () if allotment.rack is None else fabric.inside(allotment.rack)
            shards.append(
                stack.enter_context(hosted(worker, plan(allotment.name, allotment), inside))
            )
        yield Swarm(shards, observers)


def client_config(backend: Backend) -> SqlConfig | ZooKeeperConfig:
    """The library's settings for a backend of a scenario."""
    if isinstance(backend, SqlBackend):
        return SqlConfig(
            profile=backend.profile,
            interval=backend.interval,
            timeout=backend.timeout,
            poll=backend.poll,
            synchronous_commit=backend.synchronous_commit,
        )
    return ZooKeeperConfig(session_timeout=backend.session_timeout)
