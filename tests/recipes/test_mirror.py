"""The mirror: a group's members in the ``is_up`` column of a table, on change only, one writer."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from membership import (
    Closed,
    Conflict,
    Disconnected,
    InvalidValue,
    Membership,
    MemoryConfig,
    SqlConfig,
    ZooKeeperConfig,
)
from membership.backends.sql.liveness_sink import SqlLivenessSink
from membership.recipes import Candidacy, Election, LivenessSink, Mirror
from membership.testing import eventually
from tests.recipes.obstruction import Obstructed
from tests.recipes.servers import Servers

LEASE = 60.0
"""Longer than a busy machine holds up any renewal: who writes goes on writing."""
SHORT = 1.0
"""For those who wait it out."""


class Table:
    """A table of services, in the style of Nova's, on a real database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        self.rows = sa.Table(
            "services",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("host", sa.String(255)),
            sa.Column("binary", sa.String(255)),
            sa.Column("is_up", sa.Boolean),
            sa.Column("changed_at", sa.DateTime),
        )
        self.rows.create(self.engine)
        self._sinks: list[SqlLivenessSink] = []

    def insert(self, *hosts: str, is_up: bool | None = None, binary: str = "compute") -> None:
        with self.engine.begin() as connection:
            connection.execute(
                self.rows.insert(),
                [{"host": host, "binary": binary, "is_up": is_up} for host in hosts],
            )

    def up(self) -> dict[str, bool | None]:
        with self.engine.connect() as connection:
            query = sa.select(self.rows.c.host, self.rows.c.is_up)
            return {row.host: row.is_up for row in connection.execute(query)}

    def sink(self, **options: object) -> SqlLivenessSink:
        sink = SqlLivenessSink(self.url, **options)  # type: ignore[arg-type]
        self._sinks.append(sink)
        return sink

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
        self.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    url = f"sqlite:///{tmp_path}/nova.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    table = Table(url)
    yield table
    table.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Table]:
    table = Table(f"sqlite:///{tmp_path}/nova.db")
    yield table
    table.close()


class Counting:
    """A sink that counts what passes to the real one, and can be stopped before it does."""

    def __init__(self, sink: LivenessSink, before: Callable[[], None] = lambda: None) -> None:
        self.sink = sink
        self.before = before
        self.reads = 0
        self.writes: list[dict[str, bool]] = []
        self.refused: list[dict[str, bool]] = []

    def read(self, token: int) -> Mapping[str, bool | None]:
        self.reads += 1
        return self.sink.read(token)

    def write(self, states: Mapping[str, bool], token: int) -> Collection[str]:
        self.before()
        try:
            rowless = self.sink.write(states, token)
        except Conflict:
            self.refused.append(dict(states))
            raise
        self.writes.append(dict(states))
        return rowless

    @property
    def rows(self) -> int:
        return sum(map(len, self.writes))


def stand(membership: Membership, name: str, lease: float = LEASE) -> Candidacy:
    return Election(membership, "writer", lease=lease).run(membership.join("writers", name))


def test_what_changes_is_written_and_nothing_else(servers: Servers, lite: Table) -> None:
    """Equal at first and after each change, and as many rows written as changed."""
    lite.insert("up", "down", "new", is_up=True)
    ours, theirs = servers.connect(), servers.connect()
    sink = Counting(lite.sink())
    for name in ("up", "new"):
        theirs.join("compute", name)
    with stand(ours, "a") as candidacy, Mirror(ours, "compute", sink, gather=0).run(candidacy):
        eventually(lambda: lite.up() == {"up": True, "down": False, "new": True})
        eventually(lambda: sink.rows == 1)
        back = theirs.join("compute", "down")
        eventually(lambda: lite.up()["down"])
        back.leave()
        eventually(lambda: lite.up()["down"] is False)
        eventually(lambda: sink.rows == 3)
        time.sleep(0.5)
    assert sink.rows == 3
    assert sink.reads == 1


def test_a_restart_that_nobody_noticed_in_time_is_no_change(memory: Servers, lite: Table) -> None:
    lite.insert("h", is_up=True)
    ours = memory.connect()
    sink = Counting(lite.sink())
    member = ours.join("compute", "h")
    with stand(ours, "a") as candidacy, Mirror(ours, "compute", sink, gather=2.0).run(candidacy):
        eventually(lambda: sink.reads == 1)
        time.sleep(0.1)
        member.leave()
        ours.join("compute", "h")
        time.sleep(2.5)
    assert sink.rows == 0


@pytest.mark.parametrize("servers", ["sqlite"], indirect=True)
def test_a_new_writer_revives_nobody_whom_it_cannot_vouch_for(
    servers: Servers, lite: Table
) -> None:
    """Where beats decide, a fresh reader takes the dead one's row for a member's at first; the
    last writer knew better, and what it wrote stays."""
    lite.insert("dead", "live", is_up=False)
    ours, theirs, live = servers.connect(), servers.connect(), servers.connect()
    live.join("compute", "live")
    theirs.join("compute", "dead")
    with ours.watch("compute") as watch:
        servers.crash(theirs)
        eventually(lambda: "dead" not in watch.view, ours.traits.detection)
    fresh = servers.connect()
    sink = Counting(lite.sink())
    with stand(fresh, "a") as candidacy, Mirror(fresh, "compute", sink).run(candidacy):
        eventually(lambda: lite.up()["live"], fresh.traits.detection)
        time.sleep(fresh.traits.detection)
    assert sink.writes == [{"live": True}]


def test_a_record_that_is_made_later_is_found(memory: Servers, lite: Table) -> None:
    ours = memory.connect()
    ours.join("compute", "late")
    sink = Counting(lite.sink())
    with (
        stand(ours, "a") as candidacy,
        Mirror(ours, "compute", sink, retry=0.2).run(candidacy),
    ):
        eventually(lambda: sink.writes)
        lite.insert("late")
        eventually(lambda: lite.up() == {"late": True})


def test_an_outage_of_the_table_is_made_up_for(memory: Servers, lite: Table) -> None:
    """The writer reads it again and writes what it missed."""
    lite.insert("h", "i", is_up=False)
    ours = memory.connect()
    out = threading.Event()

    def fail() -> None:
        if out.is_set():
            raise Disconnected("the table's database is away")

    sink = Counting(lite.sink(), fail)
    with stand(ours, "a") as candidacy, Mirror(ours, "compute", sink).run(candidacy):
        eventually(lambda: sink.reads == 1)
        out.set()
        ours.join("compute", "h")
        time.sleep(0.3)
        ours.join("compute", "i")
        assert lite.up() == {"h": False, "i": False}
        out.clear()
        eventually(lambda: lite.up() == {"h": True, "i": True})


def test_an_older_writer_is_refused_by_the_database(table: Table) -> None:
    """From the newer one's first read on, before it has written anything."""
    table.insert("h")
    older, newer = table.sink(), table.sink()
    assert older.read(1) == {"h": None}
    assert older.write({"h": True}, 1) == set()
    assert newer.read(2) == {"h": True}
    with pytest.raises(Conflict, match="token 2"):
        older.write({"h": False}, 1)
    with pytest.raises(Conflict):
        older.read(1)
    assert table.up() == {"h": True}
    assert set(newer.write({"h": False, "nobody": True}, 2)) == {"nobody"}
    assert table.up() == {"h": False}


def test_two_first_writers_at_a_time_both_wait_for_the_fence(table: Table) -> None:
    """There is no row to lock yet: whichever came first, the larger token stays."""
    sinks = [table.sink() for _ in range(6)]

    def read(number: int) -> None:
        with suppress(Conflict):
            sinks[number].read(number + 1)

    threads = [threading.Thread(target=read, args=[n]) for n in reversed(range(len(sinks)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(Conflict):
        sinks[0].read(5)


def test_each_change_is_stamped_in_utc_and_rows_can_be_narrowed(table: Table) -> None:
    table.insert("h", is_up=True)
    table.insert("h", is_up=True, binary="scheduler")
    sink = table.sink(only={"binary": "compute"}, config=SqlConfig(timeout=30.0))
    sink.read(1)
    sink.write({"h": False}, 1)
    with table.engine.connect() as connection:
        rows = connection.execute(sa.select(table.rows).order_by(table.rows.c.binary)).all()
        utc = connection.execute(
            sa.text("SELECT now() AT TIME ZONE 'utc'")
            if table.engine.dialect.name == "postgresql"
            else sa.select(sa.func.current_timestamp())
        ).scalar_one()
    assert [(row.binary, row.is_up) for row in rows] == [("compute", False), ("scheduler", True)]
    assert rows[1].changed_at is None
    if table.engine.dialect.name == "postgresql":
        assert abs((utc - rows[0].changed_at).total_seconds()) < 60


@pytest.mark.parametrize("options", [{"table": "nowhere"}, {"is_up": "up"}, {"only": {"x": 1}}])
def test_a_table_that_does_not_fit_is_refused(lite: Table, options: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match=r"no table 'nowhere'|no column '(up|x)'"):
        lite.sink(**options)


def test_a_column_for_the_instant_is_not_needed(lite: Table) -> None:
    lite.insert("h")
    sink = lite.sink(changed_at=None)
    sink.read(1)
    sink.write({"h": True}, 1)
    assert lite.up() == {"h": True}


COUNT, DEATHS = 1000, 100


def hosts(first: int, last: int) -> list[str]:
    return [f"host-{number:04}" for number in range(first, last)]


@pytest.fixture
def database(postgres_url: str) -> Iterator[Table]:
    table = Table(postgres_url)
    yield table
    table.close()


@pytest.fixture(params=["memory", "zookeeper"])
def source(request: pytest.FixtureRequest) -> Iterator[Servers]:
    if request.param == "memory":
        servers = Servers(f"memory://mirror-{time.monotonic_ns()}", MemoryConfig())
    else:
        servers = Servers(request.getfixturevalue("zookeeper_url"), ZooKeeperConfig(10.0))
    yield servers
    servers.close()


def joined(servers: Servers, names: list[str]) -> list[Membership]:
    """These members, on ten connections."""
    connections = [servers.connect() for _ in range(10)]
    for number, name in enumerate(names):
        connections[number % 10].join("compute", name)
    return connections


def test_a_thousand_members_and_a_hundred_deaths(
    source: Servers, database: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row written for each change, and no later than its observers see it plus one write."""
    names = hosts(0, COUNT)
    database.insert(*names, is_up=False)
    ours, theirs = source.connect(), source.connect()
    lags: list[float] = []

    class Timed(Counting):
        def write(self, states: Mapping[str, bool], token: int) -> Collection[str]:
            rowless = super().write(states, token)
            now = time.monotonic()
            lags.extend(now - left[name] for name, up in states.items() if not up)
            return rowless

    left: dict[str, float] = {}
    sink = Timed(database.sink())
    joined(source, names[DEATHS:])
    victims = [theirs.join("compute", name) for name in names[:DEATHS]]
    with stand(ours, "a") as candidacy, Mirror(ours, "compute", sink).run(candidacy):
        eventually(lambda: all(database.up().values()))
        eventually(lambda: sink.rows == COUNT)
        sink.writes.clear()
        for victim in victims:
            left[victim.name] = time.monotonic()
            victim.leave()
            time.sleep(0.01)
        eventually(lambda: list(database.up().values()).count(False) == DEATHS)
    assert sink.rows <= 1.1 * DEATHS
    quantiles = statistics.quantiles(lags, n=100)
    with capsys.disabled():
        print(  # noqa: T201  a measurement, for whoever runs this by hand
            f"\nmirror from {source.url.partition(':')[0]}: {sink.rows} rows for {DEATHS} deaths in"
            f" {len(sink.writes)} transactions; lag from leaving to commit: p50"
            f" {1000 * quantiles[49]:.0f} ms, p99 {1000 * quantiles[98]:.0f} ms"
        )
    assert quantiles[49] < 5.0, "far too late even for a busy machine"


@pytest.mark.parametrize("fate", ["killed", "stopped"])
def test_nothing_is_missed_when_the_writer_goes_midway(
    source: Servers, database: Table, fate: str
) -> None:
    """What the old one left out, the new one finds; what the old one still tries is refused."""
    names = hosts(0, COUNT)
    database.insert(*names, is_up=True)
    real, second, theirs = source.connect(), source.connect(), source.connect()
    joined(source, names[DEATHS:])
    victims = [theirs.join("compute", name) for name in names[:DEATHS]]
    gone, going = threading.Event(), threading.Event()

    def midway() -> None:
        if first.rows >= DEATHS // 2:
            gone.set()
            if fate == "killed":
                raise Closed("killed")  # what ends a duty at once
            assert going.wait(60)

    def step(_when: str, _cell: str, _value: bytes) -> None:
        if gone.is_set():
            assert going.wait(60)

    first, other = Counting(database.sink(), midway), Counting(database.sink())
    with ExitStack() as stack:
        stack.callback(going.set)
        ours = Obstructed(real, step)
        candidacy = stack.enter_context(stand(ours, "first", SHORT))
        stack.enter_context(Mirror(ours, "compute", first, gather=0).run(candidacy))
        eventually(lambda: first.reads)
        for victim in victims:
            victim.leave()
            time.sleep(0.005)
        assert gone.wait(30)
        successor = stack.enter_context(stand(second, "second", SHORT))
        stack.enter_context(Mirror(second, "compute", other).run(successor))
        expected = dict.fromkeys(names, True) | dict.fromkeys(names[:DEATHS], False)
        eventually(lambda: database.up() == expected, 3 * SHORT)
        written = first.rows
        going.set()
        eventually(lambda: fate == "killed" or first.refused)
        time.sleep(0.3)
        assert first.rows == written, "the old one wrote after the new one's first"
        eventually(lambda: first.rows + other.rows == DEATHS)
        assert database.up() == expected
