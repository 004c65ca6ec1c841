"""Writes that depend on an absence, and names that are forced down, where beats decide."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from membership import Absent, Conflict, Membership, SqlConfig, connect
from membership.backends.sql import SqlMembership
from membership.backends.sql.database import Database
from membership.backends.sql.nova import Nova
from membership.backends.sql.profile import Profile
from membership.backends.sql.tuned import Tuned
from membership.testing import eventually, take, told

GONE = Absent("compute", "victim")
BEAT = "UPDATE membership_members SET beat = beat + 1 WHERE name = 'victim'"


@pytest.fixture
def database(postgres_url: str) -> Iterator[sa.Engine]:
    """A look past the library."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@contextmanager
def _crashed(url: str, config: SqlConfig) -> Iterator[None]:
    """A member that has beaten for the last time."""
    victim = connect(url, config)
    assert isinstance(victim, SqlMembership)
    victim.join("compute", "victim")
    yield
    victim.abandon()


def _refused(membership: Membership) -> bool:
    cell = membership.cell("claim")
    before = cell.get()
    try:
        cell.compare_and_set(b"", before.version, GONE)
    except Conflict:
        assert cell.get() == before
        return True
    return False


def test_one_beat_after_its_death_and_it_is_not_absent(
    postgres_url: str, database: sa.Engine
) -> None:
    """What the watch last said is not enough: the row has to stand where it stood then."""
    config = SqlConfig(interval=0.25, timeout=5.0, poll=0.1)
    with connect(postgres_url, config) as ours, ours.watch("compute") as watch:
        with _crashed(postgres_url, config):
            take(watch, 1)
        assert told(take(watch, 1, config.timeout)) == [("left", "victim")]
        assert not _refused(ours)
        with database.connect() as connection:
            connection.exec_driver_sql(BEAT)
        assert _refused(ours)
        assert told(take(watch, 1)) == [("joined", "victim")]
        eventually(lambda: not _refused(ours), config.timeout)


def test_without_a_watch_the_databases_clock_decides(postgres_url: str) -> None:
    config = SqlConfig(interval=0.25, timeout=5.0)
    with connect(postgres_url, config) as ours:
        with _crashed(postgres_url, config):
            assert _refused(ours)
        eventually(lambda: not _refused(ours), config.timeout)


def test_a_row_that_is_being_written_is_not_absent(postgres_url: str, database: sa.Engine) -> None:
    """And nobody waits for whom: the beat goes through."""
    config = SqlConfig(interval=0.25, timeout=5.0)
    with connect(postgres_url, config) as ours:
        with _crashed(postgres_url, config):
            pass
        eventually(lambda: not _refused(ours), config.timeout)
        with sa.create_engine(postgres_url, poolclass=sa.NullPool).begin() as beating:
            beating.exec_driver_sql(BEAT)
            assert _refused(ours)


@pytest.mark.parametrize("profile", ["nova", "tuned"])
@pytest.mark.parametrize("known", [True, False], ids=["left", "unknown"])
def test_nobody_joins_between_the_check_and_the_write(
    known: bool, profile: Literal["nova", "tuned"], postgres_url: str
) -> None:
    """Under a name that has been there before, or not; of the latter `nova` promises nothing."""
    if profile == "nova":
        known = True
    config = SqlConfig(profile=profile, interval=0.25, timeout=5.0)
    with connect(postgres_url, config) as ours:
        if known:
            ours.join("compute", "victim").leave()
        opened = Database(postgres_url, config)
        checking: Profile = Nova(opened, config) if profile == "nova" else Tuned(opened, config)
        joiner = threading.Thread(target=lambda: ours.join("compute", "victim"))
        with opened.transaction() as connection:
            assert checking.is_absent(connection, "compute", "victim", None)
            joiner.start()
            joiner.join(0.5)
            assert joiner.is_alive() or profile == "nova"  # its new row has nothing to wait for
        joiner.join(20)
        assert ours.member("compute", "victim") is not None
        with opened.transaction() as connection:
            assert not checking.is_absent(connection, "compute", "victim", None)
        opened.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/members.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_what_is_forced_down_stays_so_through_later_lives(
    profile: Literal["nova", "tuned"], url: str
) -> None:
    config = SqlConfig(profile=profile, interval=0.25, timeout=5.0, poll=0.1)
    with connect(url, config) as ours, ours.watch("compute") as watch:
        ours.force_down("compute", "victim", "first")
        for _ in range(2):
            me = ours.join("compute", "victim")
            assert ours.member("compute", "victim") is None
            assert not _refused(ours)
            assert me.is_member
            me.leave()
        ours.force_down("compute", "victim", "second")
        assert ours.forced_down("compute") == {"victim": "second"}
        assert watch.next(0.5) is None
        ours.lift("compute", "victim")
        assert ours.forced_down("compute") == {}
        ours.join("compute", "victim")
        assert told(take(watch, 1)) == [("joined", "victim")]
        assert _refused(ours)


def test_a_member_that_died_while_it_was_forced_down_does_not_come_back(url: str) -> None:
    """The watch went on counting its beats."""
    config = SqlConfig(interval=0.25, timeout=4.0, poll=0.1)
    with connect(url, config) as ours, ours.watch("compute") as watch:
        ours.force_down("compute", "victim")
        with _crashed(url, config):
            pass
        time.sleep(config.timeout + 2.0)
        ours.lift("compute", "victim")
        assert watch.next(0.5) is None


def test_novas_own_column_is_set_and_honoured(postgres_url: str, database: sa.Engine) -> None:
    """By whoever set it; `lift` clears it."""
    config = SqlConfig(profile="nova", interval=0.25, timeout=5.0, poll=0.1)
    with connect(postgres_url, config) as ours, database.connect() as connection:
        ours.join("compute", "victim")
        ours.force_down("compute", "victim", "a new kernel")
        flags = "SELECT forced_down FROM services"
        assert connection.exec_driver_sql(flags).scalars().all() == [True]
        ours.lift("compute", "victim")
        assert connection.exec_driver_sql(flags).scalars().all() == [False]
        connection.exec_driver_sql("UPDATE services SET forced_down = true")
        assert ours.forced_down("compute") == {"victim": ""}
        assert not _refused(ours)
        ours.lift("compute", "victim")
        assert ours.member("compute", "victim") is not None
