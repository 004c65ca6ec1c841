"""A backend for the recipes' tests: one way to connect and one way to crash."""

from __future__ import annotations

from typing import Protocol, cast

from membership import Config, Membership, SqlConfig, ZooKeeperConfig, connect

SQL = SqlConfig(interval=0.3, timeout=5.0, poll=0.1)
ZOOKEEPER = ZooKeeperConfig(session_timeout=5.0)
"""Both leave a busy machine, and its disk, seconds to be late with a beat."""


class _Mortal(Protocol):
    def abandon(self) -> None:
        """End as a crash would."""


class Servers:
    """One namespace on real servers; closes every connection that a test opened."""

    def __init__(self, url: str, config: Config) -> None:
        self.url = url
        self.config = config
        self._open: list[Membership] = []

    def connect(self) -> Membership:
        membership = connect(self.url, self.config)
        self._open.append(membership)
        return membership

    def crash(self, membership: Membership) -> None:
        """End that connection as SIGKILL would."""
        cast("_Mortal", membership).abandon()

    def close(self) -> None:
        for membership in self._open:
            membership.close()
