"""All meters of a run's servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.engines.live.meters import Meter
from bench.engines.live.meters.disk import disk
from bench.engines.live.meters.network import traffic
from bench.engines.live.meters.postgresql import statistics
from bench.engines.live.meters.processes import tree
from bench.engines.live.meters.zookeeper import mntr
from bench.engines.live.provision import Deployment


@contextmanager
def servers(deployment: Deployment) -> Iterator[list[Meter]]:
    """What they use of the machine, as far as they run on this one, and what they say themselves.

    The meters follow a server that is restarted.
    """
    meters = []
    with ExitStack() as stack:
        for server in deployment.servers:
            if server.control is not None:
                tall = server.kind == "sql"  # ZooKeeper has no children
                meters.append(tree(server.name, server.control.pids, children=tall))
                meters.append(disk(server.name, server.control.pids))
            if server.kind == "zookeeper":
                meters.append(mntr(server.name, server.host, server.port))
            else:
                meters.append(stack.enter_context(statistics(server.name, deployment.url)))
        meters += stack.enter_context(traffic(deployment.servers))
        yield meters
