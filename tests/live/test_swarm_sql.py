"""On PostgreSQL nobody can tell a wire service from one that runs the library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from bench.engines.live.muster import WORKERS
from bench.engines.live.provision import Deployment
from bench.engines.live.swarm.process import HostedShard, hosted
from bench.engines.live.swarm.shard import Action, Order, ShardPlan
from bench.kind import Kind
from membership import SqlConfig, connect
from membership.testing import eventually

pytestmark = pytest.mark.alone

Profile = Literal["nova", "tuned"]

COUNT = 8
INTERVAL = 0.5
BEATS = 6
"""So many of each service are looked at, or more."""

OF_THE_DRIVER = (
    "SELECT pg_catalog.pg_class.relname",
    "SELECT membership_schema.version",
    "select pg_catalog.version()",
    "select current_schema()",
    "show ",
    "BEGIN",
    "ROLLBACK",
    # asyncpg looks up the type of a list, once a connection
    "SELECT current_setting",
    "SELECT set_config",
    "WITH RECURSIVE typeinfo_tree",
)
"""What a connection costs once, whoever uses it."""

LOOKING = "/* somebody looks */"

Statements = Counter[tuple[int, str]]
"""How often each statement was executed, by its id (for the server, what it means) and text."""


class Database:
    """What the server knows of one database."""

    def __init__(self, deployment: Deployment, url: str, profile: Profile) -> None:
        self._server = sa.create_engine(
            deployment.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        self._own = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._name = sa.make_url(url).database
        self._profile = profile

    def statements(self) -> Statements:
        query = sa.text(
            "SELECT queryid, query, sum(calls)::bigint FROM pg_stat_statements"
            " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = :name) AND toplevel"
            " GROUP BY queryid, query"
        )
        with self._server.connect() as connection:
            rows = connection.execute(query, {"name": self._name}).all()
        return Counter(
            {(int(id_), " ".join(text.split())): int(calls) for id_, text, calls in rows}
        )

    def rows(self) -> list[dict[str, Any]]:
        """Everything there is of each service, in the order of their tokens."""
        query = {
            "nova": "SELECT * FROM services JOIN service_lives ON service_id = id ORDER BY token",
            "tuned": "SELECT * FROM membership_members JOIN membership_documents USING (token)"
            " ORDER BY token",
        }[self._profile]
        with self._own.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query + LOOKING)).mappings()]

    def beats(self) -> dict[str, tuple[int, float]]:
        """How often each service has beaten, and when it did last, in s."""
        query = {
            "nova": "SELECT host, report_count, extract(epoch FROM last_seen_up)::float8"
            " FROM services",
            "tuned": "SELECT name, beat, seen_at FROM membership_members",
        }[self._profile]
        with self._own.connect() as connection:
            rows = connection.execute(sa.text(query + LOOKING)).all()
        return {name: (count, t) for name, count, t in rows}


@dataclass(frozen=True)
class Life:
    """What one kind of services did to the database."""

    joining: Statements
    beating: Statements
    beaten: int
    """How often all of them did meanwhile."""
    leaving: Statements
    rows: list[dict[str, Any]]
    periods: list[float]
    """The mean time between two beats of each, in s."""
    tokens: dict[str, int | None]


@contextmanager
def services(kind: str, url: str, profile: Profile, timeout: float = 20.0) -> Iterator[HostedShard]:
    """A shard of services that all have joined."""
    plan = ShardPlan(
        name=f"{kind}-0",
        url=url,
        config=SqlConfig(profile=profile, interval=INTERVAL, timeout=timeout, poll=1.0),
        group="compute",
        services=tuple(f"{kind[0]}-{number}" for number in range(COUNT)),
        join_at=tuple(0.05 * number for number in range(COUNT)),
        connections=2,
    )
    with hosted(WORKERS["sql", kind], plan) as shard:
        shard.begin(monotonic())
        eventually(lambda: shard.status().live == COUNT, 30)
        yield shard
        shard.close(goodbye=False)


def live(kind: str, database: Database, url: str, profile: Profile) -> Life:
    """Join, beat, leave; as the database sees it."""
    start = database.statements()
    with services(kind, url, profile) as shard:
        joined = database.statements()
        eventually(lambda: all(count >= 2 for count, _ in database.beats().values()), 20)
        mine = shard.plan.services
        for _ in range(5):  # sooner or later: a busy machine skips beats
            before, first = database.statements(), database.beats()
            sleep(BEATS * INTERVAL)
            after, last = database.statements(), database.beats()
            beaten = {name: last[name][0] - first[name][0] for name in mine}
            periods = [(last[name][1] - first[name][1]) / max(1, beaten[name]) for name in mine]
            if all(abs(period - INTERVAL) < INTERVAL / 10 for period in periods):
                break
        rows = database.rows()
        order = Order(Action.LEAVE, shard.plan.services, (monotonic(),) * COUNT)
        shard.carry_out(order)
        events = shard.drain().events

        def left() -> bool:
            events.extend(shard.drain().events)
            return sum(event.kind == Kind.LEFT for event in events) == COUNT

        eventually(left, 20)
        end = database.statements()
    return Life(
        joining=joined - start,
        beating=after - before,
        beaten=sum(beaten.values()),
        leaving=end - after,
        rows=[row for row in rows if row.get("host", row.get("name")) in mine],
        periods=periods,
        tokens={e.subject: e.incarnation for e in events if e.kind == Kind.JOINED},
    )


@pytest.fixture(params=["nova", "tuned"])
def lives(
    request: pytest.FixtureRequest, postgres: Deployment, postgres_url: str
) -> dict[str, Life]:
    """One kind after the other, in one database."""
    profile: Profile = request.param
    connect(postgres_url).close()  # makes the tables, as an observer does in a run
    database = Database(postgres, postgres_url, profile)
    return {kind: live(kind, database, postgres_url, profile) for kind in ("wire", "library")}


def meant(statements: Statements) -> Statements:
    """Without what drivers ask for themselves. Transactions are counted by their COMMIT, since
    each driver begins them in its own words."""
    return Counter(
        {
            (id_, text): calls
            for (id_, text), calls in statements.items()
            if not text.startswith(OF_THE_DRIVER) and LOOKING not in text
        }
    )


def test_both_say_the_same_as_often_and_write_the_same(lives: dict[str, Life]) -> None:
    """Each statement has one id for the server, whichever of the two it came from."""
    wire, library = lives["wire"], lives["library"]

    beats = meant(wire.beating).keys()
    assert beats == meant(library.beating).keys()
    assert len(beats) in (1, 3)  # an update; or a select, an update, a commit
    for life in lives.values():
        for calls in meant(life.beating).values():
            assert abs(calls - life.beaten) <= COUNT
        assert all(abs(period - INTERVAL) < INTERVAL / 10 for period in life.periods)

    def rarer(said: Statements) -> Statements:
        """Without the beats that went on meanwhile."""
        return Counter({each: calls for each, calls in meant(said).items() if each not in beats})

    assert rarer(wire.joining) == rarer(library.joining)
    assert rarer(wire.leaving) == rarer(library.leaving)
    for said in (rarer(wire.joining), rarer(wire.leaving)):
        assert said
        assert set(said.values()) == {COUNT}

    for ours, theirs in zip(wire.rows, library.rows, strict=True):
        assert shape(ours) == shape(theirs)
    for life in lives.values():
        assert life.tokens == {row.get("host", row.get("name")): row["token"] for row in life.rows}


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_both_restart_alike_after_a_crash(
    postgres: Deployment, postgres_url: str, profile: Profile
) -> None:
    """On nova they take their rows at once. On tuned they are refused, look at the row until it
    has stood still for the timeout, and take it then."""
    connect(postgres_url).close()
    database = Database(postgres, postgres_url, profile)
    said: dict[str, Statements] = {}
    for kind in ("wire", "library"):
        with services(kind, postgres_url, profile, timeout=5.0) as shard:
            before = database.statements()
            now = (monotonic(),) * COUNT
            shard.carry_out(Order(Action.CRASH, shard.plan.services, now))
            shard.carry_out(Order(Action.START, shard.plan.services, now))
            restarted: Counter[str] = Counter()
            eventually(partial(_all_restarted, shard, restarted), 10)
            eventually(partial(_all_live, shard), 60)
            said[kind] = meant(database.statements() - before)
            assert shard.status().failed == ()

    def claims(statements: Statements) -> set[int]:
        """Without the beats: whether one was due yet is chance."""
        return {id_ for id_, text in statements if text.startswith(("INSERT", "SELECT membership"))}

    def taken(statements: Statements, table: str) -> int:
        return sum(calls for (_, text), calls in statements.items() if f"INTO {table} " in text)

    for statements in said.values():
        if profile == "nova":
            assert taken(statements, "services") == COUNT
            assert taken(statements, "service_lives") == COUNT
        else:
            assert taken(statements, "membership_members") == 2 * COUNT
            assert taken(statements, "membership_documents") == COUNT
    assert claims(said["wire"]) == claims(said["library"])


def _all_restarted(shard: HostedShard, seen: Counter[str]) -> bool:
    events = shard.drain().events
    seen.update(each.subject for each in events if each.kind is Kind.RESTARTED)
    return len(seen) == COUNT


def _all_live(shard: HostedShard) -> bool:
    status = shard.status()
    return (status.live, status.dead) == (COUNT, 0)


def shape(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with what differs from service to service by its type alone."""
    own = {"id", "service_id", "uuid", "host", "name", "token", "report_count", "beat", "seen_at"}
    own |= {"created_at", "updated_at", "last_seen_up"}
    return {key: type(value) if key in own else value for key, value in row.items()}
