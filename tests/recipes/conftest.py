"""Every backend for the recipes' tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from membership import MemoryConfig
from tests.recipes.servers import SQL, ZOOKEEPER, Servers

BACKENDS = ("memory", "sqlite", "postgresql", "zookeeper")

_numbers = itertools.count()


@pytest.fixture(params=BACKENDS)
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Servers]:
    """A namespace of its own on each backend in turn."""
    made: dict[str, Callable[[], Servers]] = {
        "memory": lambda: Servers(f"memory://recipes-{next(_numbers)}", MemoryConfig(timeout=0.5)),
        "sqlite": lambda: Servers(f"sqlite:///{tmp_path}/members.db", SQL),
        "postgresql": lambda: Servers(request.getfixturevalue("postgres_url"), SQL),
        "zookeeper": lambda: Servers(request.getfixturevalue("zookeeper_url"), ZOOKEEPER),
    }
    servers = made[request.param]()
    yield servers
    servers.close()


@pytest.fixture
def memory() -> Iterator[Servers]:
    """For what is decided in this process alone."""
    servers = Servers(f"memory://recipes-{next(_numbers)}", MemoryConfig(timeout=0.5))
    yield servers
    servers.close()
