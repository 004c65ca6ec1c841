"""Real servers for a run: local processes, Docker containers, or ones that already run.

    with provision(ServerSpec("zookeeper", servers=3), where="auto") as deployment:
        membership = connect(deployment.url)

`missing` says beforehand what the machine lacks for it.
"""

from bench.engines.live.provision.deployment import (
    Deployment,
    Kind,
    Lack,
    ProvisionError,
    Role,
    Server,
    ServerSpec,
)
from bench.engines.live.provision.external import kind_of
from bench.engines.live.provision.provisioning import missing, provision

__all__ = [
    "Deployment",
    "Kind",
    "Lack",
    "ProvisionError",
    "Role",
    "Server",
    "ServerSpec",
    "kind_of",
    "missing",
    "provision",
]
