"""Servers that were warmed up have worked, and show no other sign of it."""

from __future__ import annotations

import re

import pytest

from bench.engines.live.provision import Deployment, ServerSpec, provision
from bench.engines.live.provision.zookeeper import ask
from bench.engines.live.warmup import warm_up
from bench.scenario import ZooKeeperBackend
from membership.testing import eventually
from tests.live.runs import require

SESSIONS = 60


def figures(deployment: Deployment) -> dict[str, int]:
    """What the server counts."""
    (server,) = deployment.servers
    said = ask(server.host, server.port, "mntr")
    return {name: int(value) for name, value in re.findall(r"^(\w+)\t(\d+)$", said, re.MULTILINE)}


@pytest.mark.parametrize("external", [False, True])
def test_a_warm_up_is_work_that_leaves_no_trace(*, external: bool) -> None:
    """So many sessions came, made a node and went; servers that aren't ours see none of them."""
    require("local", ServerSpec("zookeeper"))
    backend = ZooKeeperBackend(kind="zookeeper", session_timeout=4.0, tick=1.0, warm_up=SESSIONS)
    with provision(ServerSpec("zookeeper", tick=1.0), where="local") as deployment:
        before = figures(deployment)
        if external:
            with provision(ServerSpec("zookeeper"), where=deployment.url) as running:
                warm_up(backend, running)
        else:
            warm_up(backend, deployment)
        made = 0 if external else SESSIONS
        assert figures(deployment)["zk_connection_request_count"] >= made
        gone = ("zk_ephemerals_count", "zk_global_sessions")
        eventually(lambda: all(figures(deployment)[name] == before[name] for name in gone))
        answered = figures(deployment)["zk_packets_received"] - before["zk_packets_received"]
        assert (answered >= 3 * SESSIONS) is not external
