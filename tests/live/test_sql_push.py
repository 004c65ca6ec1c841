"""PostgreSQL's LISTEN and NOTIFY: a change reaches a watch at once, a beat says nothing.

No watch here would read by itself: neither a poll nor an expiry is near.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from bench.engines.live.provision import Deployment
from membership import SqlConfig, connect
from membership.testing import eventually, take, told

CONFIG = SqlConfig(interval=0.5, timeout=600.0, poll=3600.0)
LISTENS = "query LIKE 'LISTEN %%'"
REST = 0.05
"""Seconds at least between two reads that pushes ask for."""


@pytest.fixture
def database(postgres_url: str) -> Iterator[sa.Engine]:
    """A look past the library."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def _count(database: sa.Engine, condition: str) -> int:
    """How many of the library's connections are so."""
    with database.connect() as connection:
        found: int = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            f" AND application_name = 'heartbench' AND {condition}"
        ).scalar_one()
        return found


def test_every_change_of_a_group_is_pushed(postgres_url: str) -> None:
    with connect(postgres_url, CONFIG) as ours, connect(postgres_url, CONFIG) as theirs:
        assert theirs.traits.delivery == "push"
        with theirs.watch("compute") as watch:
            me = ours.join("compute", "host-1", metadata={"n": 0})
            ours.join("elsewhere", "host-1")
            steps: list[tuple[Callable[[], None], str]] = [
                (lambda: None, "joined"),
                (lambda: me.update({"n": 1}), "updated"),
                (lambda: theirs.force_down("compute", "host-1"), "left"),
                (lambda: theirs.lift("compute", "host-1"), "joined"),
                (me.leave, "left"),
            ]
            for act, kind in steps:
                act()
                assert told(take(watch, 1)) == [(kind, "host-1")]


def test_every_state_of_a_cell_is_pushed(postgres_url: str) -> None:
    with connect(postgres_url, CONFIG) as ours, connect(postgres_url, CONFIG) as theirs:
        cell = ours.cell("config")
        with theirs.cell("config").watch() as watch:
            for version in range(4):
                state = watch.next(20.0)
                assert state is not None
                assert state.version == version
                cell.compare_and_set(b"", version)


def test_a_connection_that_watches_nothing_does_not_listen(
    postgres_url: str, database: sa.Engine
) -> None:
    """And one that watches much listens once."""
    with connect(postgres_url, CONFIG) as membership:
        membership.join("a", "x")
        membership.members("a")
        assert _count(database, LISTENS) == 0
        with membership.watch("a"), membership.watch("b"), membership.cell("c").watch():
            eventually(lambda: _count(database, LISTENS) == 1)
            assert _count(database, "true") <= CONFIG.pool_size + 1
    eventually(lambda: _count(database, "true") == 0)


def test_what_changed_while_nobody_listened_is_read(postgres_url: str, database: sa.Engine) -> None:
    """The listening connection is cut again and again while members join and leave."""
    with (
        connect(postgres_url, CONFIG) as ours,
        connect(postgres_url, CONFIG) as theirs,
        theirs.watch("compute") as watch,
    ):
        for number in range(3):
            eventually(lambda: _count(database, LISTENS) == 1)
            with database.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    f" WHERE datname = current_database() AND {LISTENS}"
                )
            me = ours.join("compute", f"host-{number}")
            assert told(take(watch, 1)) == [("joined", me.name)]


def test_a_burst_of_changes_is_few_reads_and_a_beat_none(
    postgres: Deployment, postgres_url: str
) -> None:
    statistics = sa.create_engine(postgres.url, isolation_level="AUTOCOMMIT")

    def reads() -> int:
        with statistics.connect() as connection:
            found: int = connection.execute(
                sa.text(
                    "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s"
                    " JOIN pg_database d ON d.oid = s.dbid WHERE datname = :name"
                    " AND query LIKE 'SELECT membership_members.name, membership_members.token%'"
                    " AND query LIKE '%revision%beat%'"
                ),
                {"name": sa.make_url(postgres_url).database},
            ).scalar_one()
            return found

    beats: list[float] = []

    def meter(name: str, value: float) -> None:
        beats.append(value)

    with (
        connect(postgres_url, CONFIG, meter=meter) as ours,
        connect(postgres_url, CONFIG) as theirs,
        theirs.watch("compute") as watch,
    ):
        before, began = reads(), time.monotonic()
        for number in range(300):
            ours.join("compute", f"host-{number}")
        eventually(lambda: len(watch.view) == 300)
        most = (time.monotonic() - began) / REST
        assert 1 <= reads() - before <= most + 2
        settled = len(beats)
        eventually(lambda: len(beats) > settled + 20)
        before, settled = reads(), len(beats)
        eventually(lambda: len(beats) > settled + 100)
        assert reads() == before
    statistics.dispose()
