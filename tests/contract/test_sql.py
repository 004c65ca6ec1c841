"""The contract on SQLite and PostgreSQL, in both profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from membership import Membership, SqlConfig, connect
from membership.backends.sql import SqlMembership
from membership.backends.sql.schema import metadata
from membership.testing import Check, checks, run

Profile = Literal["nova", "tuned"]


class SqlSubject:
    """A database for each check. The timeout leaves a busy machine seconds to beat in."""

    def __init__(self, url: str, profile: Profile, sessions: Callable[[], int]) -> None:
        self._url = url
        self._config = SqlConfig(profile=profile, interval=0.25, timeout=5.0, poll=0.1)
        self.sessions = sessions

    def connect(self) -> Membership:
        return connect(self._url, self._config)

    def crash(self, membership: Membership) -> None:
        assert isinstance(membership, SqlMembership)
        membership.abandon()

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Every table is somebody else's."""
        engine = sa.create_engine(self._url)
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
            else:
                tables = ", ".join(metadata.tables)
                connection.exec_driver_sql(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
            yield
        engine.dispose()


@pytest.fixture
def sessions(postgres_url: str) -> Iterator[Callable[[], int]]:
    """How many connections the test's database has but for the one that asks."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")

    def count() -> int:
        with engine.connect() as connection:
            number: int = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).scalar_one()
            return number

    yield count
    engine.dispose()


def _exempt(profile: Profile) -> frozenset[str]:
    return frozenset({"name-refusal"} if profile == "nova" else ())


def _every(profile: Profile) -> list[Check]:
    return checks(_exempt(profile))


def _name(check: Check) -> str:
    return check.__name__


@pytest.mark.parametrize("check", _every("tuned"), ids=_name)
def test_tuned_on_postgresql(check: Check, postgres_url: str, sessions: Callable[[], int]) -> None:
    run(check, SqlSubject(postgres_url, "tuned", sessions))


@pytest.mark.parametrize("check", _every("nova"), ids=_name)
def test_nova_on_postgresql(check: Check, postgres_url: str, sessions: Callable[[], int]) -> None:
    run(check, SqlSubject(postgres_url, "nova", sessions))


@pytest.mark.parametrize("check", _every("tuned"), ids=_name)
def test_tuned_on_sqlite(check: Check, tmp_path: Path) -> None:
    run(check, SqlSubject(f"sqlite:///{tmp_path}/members.db", "tuned", _open_files(tmp_path)))


@pytest.mark.parametrize("check", _every("nova"), ids=_name)
def test_nova_on_sqlite(check: Check, tmp_path: Path) -> None:
    run(check, SqlSubject(f"sqlite:///{tmp_path}/members.db", "nova", _open_files(tmp_path)))


def _open_files(folder: Path) -> Callable[[], int]:
    """How many files below the folder this process holds open: SQLite's only sessions."""

    def count() -> int:
        held = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            try:
                held += folder in descriptor.readlink().parents
            except OSError:  # closed meanwhile
                continue
        return held

    return count


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_each_profile_declares_what_it_is_exempt_from(profile: Profile, tmp_path: Path) -> None:
    """What is left out above is what the backend itself says."""
    with connect(f"sqlite:///{tmp_path}/members.db", SqlConfig(profile=profile)) as membership:
        assert membership.traits.exempt == _exempt(profile)
