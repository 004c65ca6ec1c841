"""One run on real servers, in a straight line: servers, meters, shards, ramp, phases, record."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from bench.engines.live.chronicle import Chronicle
from bench.engines.live.conductor import Conductor
from bench.engines.live.meters import Meter, metered
from bench.engines.live.meters.processes import machine, memory, tree
from bench.engines.live.meters.servers import servers
from bench.engines.live.meters.yardstick import yardstick
from bench.engines.live.muster import Swarm, mustered
from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.engines.live.provision.spec import LOOPBACK
from bench.engines.live.racks import Fabric, racks
from bench.engines.live.warmup import warm_up
from bench.interruption import Cleanup
from bench.plan import OnLinks, Run, cost
from bench.progress import Listener, Moment
from bench.result import Parameters, Record
from bench.scenario import Backend, SqlBackend

SPARE_CONNECTIONS = 20
"""Those of the joins, of the meters and of a person who looks on."""


def execute(run: Run, *, where: str, keep: Callable[[Record], None], listen: Listener) -> None:
    """Carry out one run and hand its record to ``keep``, complete or not.

    ``where``: ``auto``, ``local``, ``docker`` or a URL. Whatever ends the run, nothing that it
    started outlives the call.

    Raises: MachineError where the servers can't be had; InvalidRun where the services couldn't
    all join; ShardDied.
    """
    with Cleanup() as stack:
        listen(Moment(run.backend_name, run.repeat, "servers"))
        fabric = stack.enter_context(racks(run.linked_racks, _delayed(run)))
        deployment = stack.enter_context(
            provision(
                server_spec(run, fabric.host),
                where=where,
                tell=lambda words: listen(Moment(run.backend_name, run.repeat, words)),
            )
        )
        warm_up(run.backend, deployment)
        chronicle = Chronicle(run, deployment, parameters(run.backend, deployment))
        stack.callback(lambda: keep(chronicle.record()))
        listen(Moment(run.backend_name, run.repeat, "services"))
        swarm = stack.enter_context(mustered(run, deployment, fabric))
        readings = stack.enter_context(metered(_meters(stack, deployment, fabric, swarm)))
        chronicle.attach(swarm.everyone, readings)
        Conductor(run, swarm, fabric, deployment, chronicle, listen).conduct()
        swarm.close(goodbye=deployment.where == "external")


def _delayed(run: Run) -> set[int]:
    links = [fault for fault in run.faults if isinstance(fault, OnLinks)]
    return {rack for fault in links if fault.kind == "delay" for rack in fault.racks}


def server_spec(run: Run, host: str = LOOPBACK) -> ServerSpec:
    """The servers that a run needs, listening there."""
    backend = run.backend
    if isinstance(backend, SqlBackend):
        return ServerSpec(
            kind="sql",
            synchronous_commit=backend.synchronous_commit,
            max_connections=max(100, cost(run).connections + SPARE_CONNECTIONS),
            image=backend.image,
            host=host,
        )
    return ServerSpec(
        kind="zookeeper",
        servers=backend.servers,
        tick=backend.tick,
        min_session_timeout=backend.min_session_timeout,
        max_session_timeout=backend.max_session_timeout,
        sessions=cost(run).connections,
        image=backend.image,
        host=host,
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


def _meters(stack: ExitStack, deployment: Deployment, fabric: Fabric, swarm: Swarm) -> list[Meter]:
    meters = [machine, stack.enter_context(yardstick())]
    meters += stack.enter_context(servers(deployment))
    own = [os.getpid(), *fabric.pids, *swarm.pids("wire")]
    meters.append(tree("harness", own, children=False))
    library = swarm.pids("library")
    meters.append(tree("library", library))
    meters.append(tree("observers", swarm.pids("observer")))
    # not the library's: it shares its pages with its children until they write to them
    shards = {shard.name: shard.pid for shard in swarm.everyone if shard.pid not in library}
    meters.append(memory({"engine": os.getpid(), **shards}))
    return meters
