"""Meters of real servers: they say what was done, follow a restart, and never hold up a run."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kazoo.client import KazooClient
from sqlalchemy import Engine, NullPool, create_engine, text

from bench.engines.live.meters import Meter, Reading, Readings, metered
from bench.engines.live.meters.network import traffic
from bench.engines.live.meters.processes import machine, memory, tree
from bench.engines.live.meters.servers import servers
from bench.engines.live.provision import Deployment, Server, ServerSpec, firewall, provision
from bench.errors import MachineError
from tests.lacking import none_lacking
from tests.live.runs import require

PATIENCE = 30.0
PLACES = pytest.mark.parametrize("where", ["local", "docker"])


def now(meters: list[Meter]) -> dict[tuple[str, str], float]:
    """What all of them read at this moment, by source and metric."""
    return {
        (reading.source, reading.metric): reading.value
        for meter in meters
        for reading in meter.read()
    }


def count(readings: Readings, source: str, metric: str) -> int:
    taken = [reading for _, reading in list(readings.taken)]
    return sum((each.source, each.metric) == (source, metric) for each in taken)


def until(so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def database(mortal_postgres: Deployment) -> Iterator[Engine]:
    engine = create_engine(mortal_postgres.url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE beats (x int, payload text) WITH (fillfactor = 50)"))
        connection.execute(text("INSERT INTO beats SELECT 1, ''"))
    yield engine
    engine.dispose()


def test_postgresql_tells_what_clients_had_it_do(
    mortal_postgres: Deployment, database: Engine
) -> None:
    with servers(mortal_postgres) as meters:
        before = now(meters)
        with database.connect() as connection:
            for _ in range(100):
                connection.execute(text("UPDATE beats SET x = x + 1"))
                connection.commit()
        # A server's own counters are a second late.
        until(lambda: now(meters)["pg", "table_updates"] == 100, "the updates are counted")
        after = now(meters)
    grown = {metric: after["pg", metric] - before.get(("pg", metric), 0.0) for _, metric in after}
    assert grown["transactions"] >= 100
    assert grown["hot_updates"] >= 90
    assert grown["statements"] >= 100
    assert grown["wal_syncs"] >= 100
    assert grown["wal_bytes"] > 100 * 50
    assert grown["cpu_seconds"] > 0
    assert before["pg", "rss_bytes"] > 1e6  # read now and then


@PLACES
def test_bytes_are_counted_where_they_go(where: str) -> None:
    """A megabyte that is sent and committed has gone over the network, and to the disk."""
    spec = ServerSpec("sql")
    require(where, spec)
    none_lacking(firewall.missing())
    with provision(spec, where=where) as deployment:
        engine = create_engine(deployment.url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE blobs (payload bytea)"))
        with servers(deployment) as meters:
            before = now(meters)
            with engine.begin() as connection:
                payload = os.urandom(1_000_000)
                connection.execute(text("INSERT INTO blobs VALUES (:it)"), {"it": payload})
            after = now(meters)
    grown = {key: after[key] - before.get(key, 0.0) for key in after}
    assert 1_000_000 < grown["pg", "client_bytes_received"] < 2_200_000  # as text, it is twice that
    assert 1_000_000 < grown["pg", "disk_write_bytes"] < 20_000_000
    assert grown["pg", "client_bytes_sent"] < 200_000


def test_a_zookeeper_leader_tells_what_it_did(zookeeper_ensemble: Deployment) -> None:
    names = [server.name for server in zookeeper_ensemble.servers]

    def grown(after: dict[tuple[str, str], float], metric: str) -> float:
        return sum(
            after.get((name, metric), 0.0) - before.get((name, metric), 0.0) for name in names
        )

    with servers(zookeeper_ensemble) as meters:
        before = now(meters)
        client = KazooClient(zookeeper_ensemble.url.removeprefix("zookeeper://").partition("/")[0])
        client.start()
        client.ensure_path("/meters")
        for number in range(50):
            client.create(f"/meters/{number}", b"x" * 1000, ephemeral=True)
        until(lambda: grown(now(meters), "ephemerals") == 3 * 50, "followers have heard of them")
        after = now(meters)
        client.stop()
        client.close()

    assert grown(after, "packets_received") >= 50
    assert grown(after, "proposals") >= 50
    assert grown(after, "writes") >= 50
    assert grown(after, "fsyncs") >= 50
    assert grown(after, "ephemerals") == 3 * 50
    assert grown(after, "sessions") == 3
    assert grown(after, "request_bytes") > 50_000
    if not firewall.missing():
        assert grown(after, "client_bytes_received") > 50_000
        assert grown(after, "peer_bytes_sent") > 2 * 50_000  # the leader, to both of its followers


def test_meters_follow_a_server_that_is_started_again(mortal_ensemble: Deployment) -> None:
    """While it is down there are no readings of it; nothing is called a failure."""
    victim = mortal_ensemble.servers[0]
    control = mortal_ensemble.control(victim.name)
    with servers(mortal_ensemble) as meters, metered(meters) as readings:
        until(lambda: count(readings, victim.name, "packets_received") > 0, "it is metered")
        control.kill()
        time.sleep(1.0)  # what was being read is done
        before = count(readings, victim.name, "cpu_seconds")
        rest = count(readings, mortal_ensemble.servers[1].name, "cpu_seconds")
        until(
            lambda: count(readings, mortal_ensemble.servers[1].name, "cpu_seconds") > rest + 2,
            "the others are metered meanwhile",
        )
        assert count(readings, victim.name, "cpu_seconds") == before
        packets = count(readings, victim.name, "packets_received")
        control.start()
        until(lambda: count(readings, victim.name, "cpu_seconds") > before, "its process is")
        until(lambda: count(readings, victim.name, "packets_received") > packets, "it says")
    assert readings.failures == {}


def test_the_meter_of_a_database_connects_again(mortal_postgres: Deployment) -> None:
    control = mortal_postgres.control("pg")
    with servers(mortal_postgres) as meters, metered(meters) as readings:
        until(lambda: count(readings, "pg", "transactions") > 0, "it is metered")
        control.kill()
        time.sleep(2.0)
        before = count(readings, "pg", "transactions")
        control.start()
        until(lambda: count(readings, "pg", "transactions") > before, "it is metered again")
    assert readings.failures == {}


def test_one_that_stands_still_holds_up_no_other(mortal_postgres: Deployment) -> None:
    control = mortal_postgres.control("pg")
    with servers(mortal_postgres) as meters, metered([machine, *meters]) as readings:
        until(lambda: count(readings, "pg", "transactions") > 0, "it is metered")
        control.pause()
        before = count(readings, "machine", "network_bytes")
        until(lambda: count(readings, "machine", "network_bytes") > before + 3, "others are read")
        control.go_on()


def test_each_process_is_weighed_alone_and_one_that_ended_is_not() -> None:
    with subprocess.Popen(["sleep", "0"]) as ended:
        ended.wait()
    held = bytearray(os.urandom(20_000_000))
    found = now([memory({"me": os.getpid(), "gone": ended.pid})])
    assert found.keys() == {("me", "rss_bytes")}
    assert found["me", "rss_bytes"] > len(held)


def test_a_meter_that_fails_is_named_and_others_go_on() -> None:
    def fail() -> list[Reading]:
        raise RuntimeError("no such thing\nand more")

    own = tree("me", [os.getpid()])
    with metered([Meter("broken", fail, 0.05), own]) as readings:
        until(lambda: count(readings, "me", "cpu_seconds") > 0, "the other is read")
    assert readings.failures == {"broken": "RuntimeError: no such thing"}


def test_a_meter_that_never_answers_doesnt_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engines.live.meters.LAST_WORD", 0.1)
    released = threading.Event()

    def stall() -> list[Reading]:
        released.wait(PATIENCE)
        return []

    with metered([Meter("stalled", stall)]) as readings:
        pass
    assert readings.failures == {"stalled": "it gave no answer for 0.1 s at the end"}
    released.set()


def test_traffic_is_left_out_where_rules_are_not_permitted(
    zookeeper: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_rules: object) -> None:
        raise MachineError("not permitted")

    monkeypatch.setattr(firewall, "rules", refused)
    with traffic(zookeeper.servers) as meters:
        assert meters == []


def test_external_servers_are_asked_only(zookeeper: Deployment) -> None:
    theirs = Deployment(
        url=zookeeper.url,
        servers=tuple(
            Server(kind=each.kind, name=each.name, host=each.host, port=each.port)
            for each in zookeeper.servers
        ),
        where="external",
    )
    with servers(theirs) as meters:
        assert [meter.name for meter in meters] == ["zk-1 mntr"]
        assert now(meters)["zk-1", "connections"] >= 1
