"""Real servers for a run: local processes, Docker containers, or ones that already run.

    with provision(ServerSpec("zookeeper", servers=3), where="auto") as deployment:
        membership = connect(deployment.url)
        deployment.control("zk-1").kill()

`missing` says beforehand what the machine lacks for it, `lacks_control` what it lacks for faults
of servers; `leftovers` finds what a dead harness left of its own, `remove` takes it away.
"""

from bench.engines.live.provision.abandoned import leftovers, remove
from bench.engines.live.provision.control import Control
from bench.engines.live.provision.deployment import Deployment, Role, Server
from bench.engines.live.provision.external import kind_of
from bench.engines.live.provision.provisioning import lacks_control, missing, provision
from bench.engines.live.provision.spec import Kind, Lack, ProvisionError, ServerSpec

__all__ = [
    "Control",
    "Deployment",
    "Kind",
    "Lack",
    "ProvisionError",
    "Role",
    "Server",
    "ServerSpec",
    "kind_of",
    "lacks_control",
    "leftovers",
    "missing",
    "provision",
    "remove",
]
