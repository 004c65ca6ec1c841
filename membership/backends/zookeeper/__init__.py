"""Groups as ephemeral znodes, followed by watches. The only place that imports kazoo."""

from __future__ import annotations

from membership.api import Meter
from membership.backends.zookeeper.backend import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse
from membership.config import Config, ZooKeeperConfig
from membership.errors import InvalidValue

__all__ = ["ZooKeeperMembership", "connect"]


def connect(url: str, config: Config | None, meter: Meter) -> ZooKeeperMembership:
    """Open a session; see `membership.connect`. Raises: Disconnected, InvalidValue."""
    config = ZooKeeperConfig() if config is None else config
    if not isinstance(config, ZooKeeperConfig):
        raise InvalidValue(f"zookeeper:// takes a ZooKeeperConfig, not a {type(config).__name__}")
    return ZooKeeperMembership(parse(url), config, meter)
