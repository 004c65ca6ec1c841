"""The contract on real ZooKeeper servers: one and three, with persistent watches and without."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from bench.engines.live.provision import Deployment
from bench.engines.live.provision.zookeeper import ask
from membership import Membership, ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse
from membership.testing import Check, checks, run
from tests.live.sessions import frozen, silence

CONFIG = ZooKeeperConfig(session_timeout=4.0)


class ZooKeeperSubject:
    """A namespace of its own on shared servers."""

    def __init__(self, servers: Deployment, url: str, *, recent: bool) -> None:
        self._servers = servers
        self._address = parse(url)
        self._recent = recent
        self._opened: list[ZooKeeperMembership] = []

    def connect(self) -> ZooKeeperMembership:
        membership = ZooKeeperMembership(
            self._address, CONFIG, lambda _name, _value: None, recent=self._recent
        )
        self._opened.append(membership)
        return membership

    def crash(self, membership: Membership) -> None:
        assert isinstance(membership, ZooKeeperMembership)
        membership.abandon()

    def silence(self) -> AbstractContextManager[None]:
        return silence(frozen(self._servers), self._opened)

    def sessions(self) -> int:
        return max(
            int(line.split()[1])
            for host, port in self._address.hosts
            for line in ask(host, port, "mntr").splitlines()
            if line.startswith("zk_global_sessions")
        )


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_one_server_with_persistent_watches(
    check: Check, zookeeper: Deployment, zookeeper_url: str
) -> None:
    run(check, ZooKeeperSubject(zookeeper, zookeeper_url, recent=True))


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_one_server_with_child_watches(
    check: Check, zookeeper: Deployment, zookeeper_url: str
) -> None:
    run(check, ZooKeeperSubject(zookeeper, zookeeper_url, recent=False))


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_three_servers(
    check: Check, zookeeper_ensemble: Deployment, zookeeper_ensemble_url: str
) -> None:
    run(check, ZooKeeperSubject(zookeeper_ensemble, zookeeper_ensemble_url, recent=True))
