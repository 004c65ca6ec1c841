"""One run on real servers, in a straight line: servers, meters, shards, ramp, phases, record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.engines.live.chronicle import Chronicle
from bench.engines.live.faults import inflict
from bench.engines.live.meters import Meter, metered
from bench.engines.live.meters.postgresql import statistics
from bench.engines.live.meters.processes import machine, tree
from bench.engines.live.meters.zookeeper import mntr
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import ShardPlan, monotonic
from bench.errors import InvalidRun
from bench.interruption import Cleanup
from bench.plan import Run, cost
from bench.progress import Listener, Moment
from bench.result import Parameters, Record
from bench.scenario import Backend, SqlBackend
from membership import SqlConfig, ZooKeeperConfig

LEAD = 0.5
"""Between an order and its earliest instant, in s: time to reach every shard."""
TICK = 0.5
SPARE_CONNECTIONS = 20
"""Those of the joins, of the meters and of a person who looks on."""
STRAGGLERS = 60.0
"""How long after the ramp's planned end the last service may join, in s."""

WORKERS = {
    ("sql", "wire"): "bench.engines.live.swarm.sql:SqlShard",
    ("zookeeper", "wire"): "bench.engines.live.swarm.zookeeper:ZooKeeperShard",
    ("sql", "library"): "bench.engines.live.swarm.library:LibraryShard",
    ("zookeeper", "library"): "bench.engines.live.swarm.library:LibraryShard",
}
OBSERVER = "bench.engines.live.observe:ObserverShard"


def execute(run: Run, *, where: str, keep: Callable[[Record], None], listen: Listener) -> None:
    """Carry out one run and hand its record to ``keep``, complete or not.

    ``where``: ``auto``, ``local``, ``docker`` or a URL. Whatever ends the run, nothing that it
    started outlives the call.

    Raises: MachineError where the servers can't be had; InvalidRun where the services couldn't
    all join; ShardDied.
    """
    with Cleanup() as stack:
        listen(Moment(run.backend_name, run.repeat, "servers"))
        deployment = stack.enter_context(provision(server_spec(run), where=where))
        chronicle = Chronicle(run, deployment, parameters(run.backend, deployment))
        stack.callback(lambda: keep(chronicle.record()))
        listen(Moment(run.backend_name, run.repeat, "services"))
        swarm = stack.enter_context(_swarm(run, deployment))
        readings = stack.enter_context(metered(_meters(stack, deployment, swarm)))
        chronicle.attach(swarm.everyone, readings)
        _Conductor(run, swarm, chronicle, listen).conduct()
        swarm.close(goodbye=deployment.where == "external")


def server_spec(run: Run) -> ServerSpec:
    """The servers that a run needs."""
    backend = run.backend
    if isinstance(backend, SqlBackend):
        return ServerSpec(
            kind="sql",
            synchronous_commit=backend.synchronous_commit,
            max_connections=max(100, cost(run).connections + SPARE_CONNECTIONS),
            image=backend.image,
        )
    return ServerSpec(
        kind="zookeeper",
        servers=backend.servers,
        tick=backend.tick,
        min_session_timeout=backend.min_session_timeout,
        max_session_timeout=backend.max_session_timeout,
        image=backend.image,
    )


def parameters(backend: Backend, deployment: Deployment) -> Parameters:
    """What the closed forms need to know of a backend."""
    if isinstance(backend, SqlBackend):
        return Parameters(
            kind="sql",
            profile=backend.profile,
            interval=backend.interval,
            timeout=backend.timeout,
            poll=None if backend.poll == "read" else backend.poll,
        )
    return Parameters(
        kind="zookeeper",
        timeout=backend.session_timeout,
        tick=backend.tick,
        servers=len(deployment.servers),
    )


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


class _Swarm:
    """The shards of a run: those that hold services, and the observers."""

    def __init__(self, shards: Sequence[HostedShard], observers: Sequence[HostedShard]) -> None:
        self.shards = tuple(shards)
        self.observers = tuple(observers)
        self.everyone = (*self.shards, *self.observers)

    def close(self, *, goodbye: bool) -> None:
        for shard in self.everyone:
            shard.close(goodbye=goodbye)


@contextmanager
def _swarm(run: Run, deployment: Deployment) -> Iterator[_Swarm]:
    config, group = client_config(run.backend), run.scenario.services.group
    servers = {f"{server.host}:{server.port}": server.name for server in deployment.servers}

    def plan(name: str, members: Sequence[int] = ()) -> ShardPlan:
        return ShardPlan(
            name=name,
            url=deployment.url,
            config=config,
            group=group,
            services=tuple(run.service_name(index) for index in members),
            join_at=tuple(float(run.join_at[index]) for index in members),
            seed=run.scenario.seed + run.repeat,
            connections=run.backend.connections if isinstance(run.backend, SqlBackend) else 0,
            servers=servers,
        )

    with ExitStack() as stack:
        observers = [
            stack.enter_context(hosted(OBSERVER, plan(f"observer-{number}")))
            for number in range(run.scenario.observers)
        ]
        shards = []
        for client in ("wire", "library"):
            members = (run.library if client == "library" else ~run.library).nonzero()[0].tolist()
            if members:
                worker = WORKERS[run.backend.kind, client]
                shards.append(stack.enter_context(hosted(worker, plan(f"{client}-0", members))))
        yield _Swarm(shards, observers)


def _meters(stack: ExitStack, deployment: Deployment, swarm: _Swarm) -> list[Meter]:
    meters: list[Meter] = [machine]
    for server in deployment.servers:
        if server.pids:
            meters.append(tree(server.name, server.pids))
        if server.kind == "zookeeper":
            meters.append(mntr(server.name, server.host, server.port))
        else:
            meters.append(stack.enter_context(statistics(server.name, deployment.url)))
    of = {
        source: [shard.pid for shard in swarm.everyone if shard.name.startswith(source)]
        for source in ("wire", "library", "observer")
    }
    meters.append(tree("harness", [os.getpid(), *of["wire"]], children=False))
    meters.append(tree("library", of["library"]))
    meters.append(tree("observers", of["observer"]))
    return meters


class _Conductor:
    """Takes a swarm through the ramp and the phases, collecting and telling as it goes."""

    def __init__(self, run: Run, swarm: _Swarm, chronicle: Chronicle, listen: Listener) -> None:
        self._run = run
        self._swarm = swarm
        self._chronicle = chronicle
        self._listen = listen
        self._phase = ("ramp", 0.0, run.ramp)

    def conduct(self) -> None:
        epoch = monotonic() + LEAD
        self._chronicle.begin(epoch)
        self._phase = ("ramp", epoch, self._run.ramp)
        for shard in self._swarm.shards:
            shard.begin(epoch)
        self._ramp(epoch + self._run.ramp + STRAGGLERS)
        t0 = monotonic() + LEAD
        with ExitStack() as guards:
            for phase in self._run.phases:
                name = f"{phase.kind} {phase.fault.kind}" if phase.fault else phase.kind
                self._phase = (name, t0 + phase.start, phase.end - phase.start)
                self._until(t0 + phase.start - LEAD)
                self._chronicle.phase(name, t0 + phase.start, phase.end - phase.start)
                if phase.fault is not None:
                    guards.enter_context(inflict(phase.fault, self._run, t0, self._swarm.shards))
            self._until(t0 + self._run.phases[-1].end)
            self._chronicle.end(monotonic())
        self._chronicle.collect()

    def _ramp(self, deadline: float) -> None:
        while (joined := self._look()) < self._run.scenario.services.count:
            if monotonic() > deadline:
                raise InvalidRun(
                    f"only {joined} of {self._run.scenario.services.count} services had joined "
                    f"{STRAGGLERS:.0f} s after the ramp: {self._complaints()}"
                )
            time.sleep(TICK / 5)

    def _until(self, t: float) -> None:
        while (left := t - monotonic()) > 0:
            time.sleep(min(TICK, left))
            self._look()

    def _look(self) -> int:
        """Collect what the shards have to tell, tell the listener; how many have joined."""
        self._chronicle.collect()
        services = [shard.status() for shard in self._swarm.shards]
        observers = [shard.status() for shard in self._swarm.observers]
        failed = [words for status in observers for words in status.failed]
        if failed:
            raise InvalidRun(f"an observer has failed: {failed[0]}")
        name, start, length = self._phase
        joined = sum(status.joined for status in services)
        self._listen(
            Moment(
                self._run.backend_name,
                self._run.repeat,
                name,
                elapsed=max(0.0, monotonic() - start),
                length=length,
                joined=joined,
                live=sum(status.live for status in services),
                dead=sum(status.dead for status in services),
                seen=observers[0].live if observers else 0,
            )
        )
        return joined

    def _complaints(self) -> str:
        failed = [words for shard in self._swarm.shards for words in shard.status().failed]
        return "; ".join(failed) or "none of them says why"
