"""A server for each comparison: what one leaves behind would weigh on the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.engines.live.provision import Deployment, ServerSpec
from tests.conftest import servers


@pytest.fixture
def own_zookeeper() -> Iterator[Deployment]:
    """One server with the ticks of a scenario, for this comparison alone."""
    with servers(ServerSpec("zookeeper", tick=2.0)) as deployment:
        yield deployment
