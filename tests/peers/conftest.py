"""Servers for the peers' scenarios: small ticks, for sessions that end soon."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from bench.engines.live.provision import Deployment, ServerSpec
from tests.conftest import servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def quick_zookeeper() -> Iterator[Deployment]:
    """One server whose sessions may be short; a test that stops it has it go on."""
    with servers(ServerSpec("zookeeper", tick=0.2)) as deployment:
        yield deployment


@pytest.fixture
def url(quick_zookeeper: Deployment) -> str:
    """A namespace of its own on it."""
    return f"{quick_zookeeper.url.rpartition('/')[0]}/peers-{next(_numbers)}"
