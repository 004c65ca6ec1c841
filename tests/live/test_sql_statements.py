"""What the library asks of PostgreSQL: which statements, how many, at what price, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from bench.engines.live.provision import Deployment
from membership import SqlConfig, connect
from membership.backends.sql import queries
from membership.testing import eventually, take, told

pytestmark = pytest.mark.alone


@pytest.fixture
def database(postgres_url: str) -> Iterator[sa.Engine]:
    """A look past the library."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


class Statements:
    """What `pg_stat_statements` counted in one database."""

    def __init__(self, deployment: Deployment, url: str) -> None:
        self._engine = sa.create_engine(deployment.url, isolation_level="AUTOCOMMIT")
        self._database = sa.make_url(url).database

    def calls(self) -> dict[str, int]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT query, sum(calls)::bigint FROM pg_stat_statements s"
                    " JOIN pg_database d ON d.oid = s.dbid WHERE datname = :name GROUP BY query"
                ),
                {"name": self._database},
            ).all()
        return {str(query): int(calls) for query, calls in rows}

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def statements(postgres: Deployment, postgres_url: str) -> Iterator[Statements]:
    with closing(Statements(postgres, postgres_url)) as counted:
        yield counted


def ten_beats(
    profile: Literal["nova", "tuned"], url: str, statements: Statements
) -> tuple[dict[str, int], range]:
    """What was asked while one member beat ten times or a few more; and how often that can have
    been, as at either end a beat may be under way."""
    beats: list[float] = []

    def meter(name: str, value: float) -> None:
        if name == "renewal_seconds":
            beats.append(value)

    def look() -> tuple[int, dict[str, int], int]:
        return len(beats), statements.calls(), len(beats)

    config = SqlConfig(profile=profile, interval=0.2, timeout=5.0)
    with connect(url, config, meter=meter) as membership:
        membership.join("compute", "host-1")
        eventually(lambda: len(beats) >= 3)
        first, before, second = look()
        eventually(lambda: len(beats) >= second + 10)
        third, after, fourth = look()
    grown = {query: after[query] - before.get(query, 0) for query in after}
    times = range(third - second - 1, fourth - first + 2)
    return {query: count for query, count in grown.items() if count}, times


def test_a_tuned_beat_is_one_statement(postgres_url: str, statements: Statements) -> None:
    """No BEGIN, no COMMIT, no setting beside it; many members of one connection share it."""
    asked, times = ten_beats("tuned", postgres_url, statements)
    ((query, count),) = asked.items()
    assert query.startswith("UPDATE membership_members SET beat=")
    assert count in times


def test_members_of_one_connection_share_their_beats(
    postgres_url: str, database: sa.Engine, statements: Statements
) -> None:
    """200 of them, each at its own phase of the interval, cost some 50 statements an interval."""

    def beaten() -> int:
        with database.connect() as connection:
            total: int = connection.exec_driver_sql(
                "SELECT sum(beat)::bigint FROM membership_members"
            ).scalar_one()
            return total

    def sent() -> int:
        return sum(
            count
            for query, count in statements.calls().items()
            if query.startswith("UPDATE membership_members SET beat=")
        )

    with connect(postgres_url, SqlConfig(interval=0.5, timeout=10.0)) as membership:
        for number in range(200):
            membership.join("compute", f"host-{number}")
        eventually(lambda: beaten() > 400)
        statements_before, beats_before = sent(), beaten()
        eventually(lambda: beaten() > beats_before + 2000)
        assert (beaten() - beats_before) / (sent() - statements_before) > 2.5


def test_a_nova_beat_is_a_select_and_an_update_in_one_transaction(
    postgres_url: str, statements: Statements
) -> None:
    asked, times = ten_beats("nova", postgres_url, statements)
    kinds = {query.split()[0]: count for query, count in asked.items()}
    assert set(kinds) == {"BEGIN", "SELECT", "UPDATE", "COMMIT"}
    assert all(count in times for count in kinds.values())


def test_tuned_beats_are_heap_only_updates(postgres_url: str, database: sa.Engine) -> None:
    """No index is touched and the row stays on its page: nine of ten at the least."""
    config = SqlConfig(profile="tuned", interval=0.05, timeout=5.0)
    with connect(postgres_url, config) as membership:
        for number in range(100):
            membership.join("compute", f"host-{number}")

        def updates() -> tuple[int, int]:
            with database.connect() as connection:
                row = connection.exec_driver_sql(
                    "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                    " WHERE relname = 'membership_members'"
                ).one()
                return row[0], row[1]

        eventually(lambda: updates()[0] > 3000)
        total, hot = updates()
        assert hot / total > 0.9


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_beats_may_skip_the_disk_but_joins_never_do(
    profile: Literal["nova", "tuned"], postgres_url: str, database: sa.Engine
) -> None:
    config = SqlConfig(profile=profile, interval=0.1, timeout=5.0)
    from membership.backends.sql.database import Database

    opened = Database(postgres_url, config)
    with opened.beat() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
    with opened.transaction() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    opened.dispose()


DIALECT = asyncpg_dialect.dialect()

SWARM: list[tuple[Any, dict[str, Any]]] = [
    (queries.nova_select, {"id": 1}),
    (queries.nova_beat, {"service_id": 1, "count": 2, "now": datetime(2026, 1, 1)}),  # noqa: DTZ001
    (queries.nova_claim("postgresql"), {"group": "g", "name": "n", "uuid": "u", "now": None}),
    (queries.nova_live("postgresql"), {"id": 1, "metadata": "{}"}),
    (queries.nova_leave, {"service_id": 1, "token": 1, "now": datetime(2026, 1, 1)}),  # noqa: DTZ001
    (queries.tuned_beat, {"life": 1}),
    (queries.tuned_beat_many, {"tokens": [1, 2]}),
    (
        queries.tuned_claim("postgresql"),
        {"group": "g", "name": "n", "timeout_ms": 1000, "seen_token": 0, "seen_beat": -1},
    ),
    (queries.tuned_document("postgresql"), {"token": 1, "metadata": "{}"}),
    (queries.tuned_leave, {"tokens": [1]}),
]


@pytest.mark.parametrize("number", range(len(SWARM)))
def test_another_driver_sends_the_same_text(
    number: int, postgres_url: str, database: sa.Engine
) -> None:
    """Compiled for asyncpg, a statement reaches the server as the library's own, to the byte."""
    statement, parameters = SWARM[number]
    connect(postgres_url).close()  # makes the tables

    def last(pid: int) -> str:
        with database.connect() as connection:
            text: str = connection.execute(
                sa.text("SELECT query FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid}
            ).scalar_one()
            return text

    with sa.create_engine(postgres_url, poolclass=sa.NullPool).connect() as ours:
        pid = ours.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with suppress(sa.exc.IntegrityError):  # it reached the server: that is all we ask
            ours.execute(statement, parameters)
        from_library = last(pid)

    async def swarm() -> str:
        url = sa.make_url(postgres_url)
        connection = await asyncpg.connect(
            host=url.host, port=url.port, user=url.username, database=url.database
        )
        try:
            compiled = statement.compile(dialect=DIALECT)
            names = compiled.positiontup
            backend: int = await connection.fetchval("SELECT pg_backend_pid()")
            with suppress(asyncpg.PostgresError):
                await connection.fetch(str(compiled), *(parameters[name] for name in names or ()))
            return await asyncio.to_thread(last, backend)
        finally:
            await connection.close()

    assert asyncio.run(swarm()) == from_library


def test_read_at_expiry_tells_of_a_death_at_the_instant_that_the_stamp_expires(
    postgres_url: str, database: sa.Engine
) -> None:
    """Between T - H and T after the crash, for whatever phase of the last beat; no poll later.

    The rows are plain ones, as another program's services would leave them.
    """
    interval, timeout = 1.0, 3.0
    config = SqlConfig(profile="nova", interval=interval, timeout=timeout, poll="read")
    with connect(postgres_url, config) as membership:
        crash = time.time()
        ages = {f"host-{tenth}": tenth / 10 for tenth in range(10)}
        with database.connect() as connection:
            for host, age in ages.items():
                stamp = datetime.fromtimestamp(crash - age, UTC).replace(tzinfo=None)
                connection.execute(
                    sa.text(
                        'INSERT INTO services (host, "binary", topic, last_seen_up)'
                        " VALUES (:host, 'compute', 'compute', :stamp)"
                    ),
                    {"host": host, "stamp": stamp},
                )
        with membership.watch("compute") as watch:
            take(watch, len(ages))
            late = {}
            for _ in ages:
                (event,) = take(watch, 1, timeout)
                assert told([event])[0][0] == "left"
                assert event.member is not None
                late[event.member.name] = time.time() - crash - (timeout - ages[event.member.name])
        assert min(late.values()) >= 0.0
        assert sorted(late.values())[len(late) // 2] < 0.5


def test_read_at_expiry_follows_a_row_that_beats(postgres_url: str, database: sa.Engine) -> None:
    """A row that was renewed behind the reader's back is not dead at its old expiry."""
    config = SqlConfig(profile="nova", interval=30.0, timeout=31.0, poll="read")
    now = time.time()
    insert = sa.text(
        'INSERT INTO services (host, "binary", topic, last_seen_up)'
        " VALUES ('host-1', 'compute', 'compute', :stamp)"
    )

    def stamp(age: float) -> datetime:
        return datetime.fromtimestamp(now - age, UTC).replace(tzinfo=None)

    with connect(postgres_url, config) as membership, database.connect() as connection:
        connection.execute(insert, {"stamp": stamp(26.0)})  # 5 s to live
        with membership.watch("compute") as watch:
            take(watch, 1)
            connection.execute(sa.text("UPDATE services SET last_seen_up = :s"), {"s": stamp(24.0)})
            assert watch.next(max(0.0, now + 6.0 - time.time())) is None
            (event,) = take(watch, 1, 5.0)
            assert told([event]) == [("left", "host-1")]
            assert time.time() >= now + 7.0


def test_a_service_forced_down_is_down_whatever_its_stamp(
    postgres_url: str, database: sa.Engine
) -> None:
    config = SqlConfig(profile="nova", interval=0.2, timeout=5.0, poll=0.1)
    with connect(postgres_url, config) as membership, database.connect() as connection:
        membership.join("compute", "host-1")
        with membership.watch("compute") as watch:
            take(watch, 1)
            connection.exec_driver_sql("UPDATE services SET forced_down = true")
            assert told(take(watch, 1)) == [("left", "host-1")]
            assert membership.groups() == ()
            connection.exec_driver_sql("UPDATE services SET forced_down = false")
            assert told(take(watch, 1)) == [("joined", "host-1")]
