"""Real servers for the tests: started once, shared, with a namespace of its own for each test."""

from __future__ import annotations

import fcntl
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy

from bench.engines.live.provision import Deployment, ServerSpec, missing, provision
from tests.lacking import none_lacking

_numbers = itertools.count()


@pytest.fixture
def dead_harnesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For tests that make what dead harnesses leave, or remove it: one at a time, since whoever
    removes such things removes everybody's."""
    shared = tmp_path_factory.getbasetemp().parent  # by all processes of pytest-xdist
    with (shared / "dead-harnesses.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def servers(spec: ServerSpec) -> Iterator[Deployment]:
    """Servers on this machine; without their binaries the test fails in CI and skips elsewhere."""
    none_lacking(missing(spec, "local"))
    with provision(spec, where="local") as deployment:
        yield deployment


def _fresh(deployment: Deployment) -> str:
    return f"{deployment.url.rpartition('/')[0]}/test-{next(_numbers)}"


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[Deployment]:
    """One server, for tests that leave it in peace."""
    with servers(ServerSpec("zookeeper", tick=0.5)) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def zookeeper_ensemble() -> Iterator[Deployment]:
    """Three servers, for tests that leave them in peace."""
    with servers(ServerSpec("zookeeper", servers=3, tick=0.5)) as deployment:
        yield deployment


@pytest.fixture
def zookeeper_url(zookeeper: Deployment) -> str:
    """A namespace of its own on one server."""
    return _fresh(zookeeper)


@pytest.fixture
def zookeeper_ensemble_url(zookeeper_ensemble: Deployment) -> str:
    """A namespace of its own on three servers."""
    return _fresh(zookeeper_ensemble)


@pytest.fixture
def mortal_zookeeper() -> Iterator[Deployment]:
    """One server that this test alone uses, and may freeze or kill."""
    with servers(ServerSpec("zookeeper", tick=0.5)) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def postgres() -> Iterator[Deployment]:
    """One PostgreSQL server, for tests that leave it in peace."""
    with servers(ServerSpec("sql")) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def _postgres_database(postgres: Deployment) -> str:
    """A database on it for the tests."""
    server = sqlalchemy.create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE tests")
    server.dispose()
    return f"{postgres.url.rpartition('/')[0]}/tests"


@pytest.fixture
def postgres_url(_postgres_database: str) -> str:
    """An empty database: emptied before each test, for to make and drop one costs a checkpoint."""
    database = sqlalchemy.create_engine(_postgres_database)
    with database.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.dispose()
    return _postgres_database


@pytest.fixture
def mortal_postgres() -> Iterator[Deployment]:
    """One PostgreSQL server that this test alone uses, and may freeze or kill."""
    with servers(ServerSpec("sql")) as deployment:
        yield deployment


@pytest.fixture
def mortal_ensemble() -> Iterator[Deployment]:
    """Three servers that this test alone uses, and may freeze or kill."""
    with servers(ServerSpec("zookeeper", servers=3, tick=0.5)) as deployment:
        yield deployment
