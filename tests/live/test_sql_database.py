"""The tables and the connection to them: made once, checked, cleaned, and discreet."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from membership import Closed, InvalidValue, MembershipError, SqlConfig, connect
from membership.backends.sql import SqlMembership
from membership.testing import eventually


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/members.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


def test_many_that_come_first_at_the_same_time_make_the_tables_once(url: str) -> None:
    start, failed = threading.Barrier(6), []

    def come(number: int) -> None:
        start.wait()
        try:
            with connect(url) as membership:
                membership.join("compute", f"host-{number}")
        except MembershipError as error:
            failed.append(error)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_tables_of_a_newer_library_are_refused(url: str) -> None:
    connect(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE membership_schema SET version = 99")
    engine.dispose()
    with pytest.raises(MembershipError, match="of version 99, this library knows 1"):
        connect(url)


LONG_AGO = {
    "nova": "UPDATE services SET deleted_at = '2020-01-01 00:00:00' WHERE host LIKE 'host-_'",
    "tuned": "UPDATE membership_members SET seen_at = seen_at - 601 WHERE name LIKE 'host-_'",
}


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_purge_deletes_the_long_dead_and_spares_the_living(
    url: str, profile: Literal["nova", "tuned"]
) -> None:
    """A token given after a purge is larger than those that were purged."""
    config = SqlConfig(profile=profile, timeout=20.0)
    with connect(url, config) as membership:
        assert isinstance(membership, SqlMembership)
        lives = membership.join("compute", "lives")
        for number in range(3):
            last = membership.join("compute", f"host-{number}")
            last.leave()
        assert membership.purge(600.0) == 0
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(LONG_AGO[profile])
        engine.dispose()
        assert membership.purge(600.0) == 3
        assert list(membership.members("compute").members) == ["lives"]
        assert membership.join("compute", "host-0").token > last.token
        assert lives.is_member
        with pytest.raises(InvalidValue, match="at least twice the timeout"):
            membership.purge(39.9)


def test_one_read_without_a_history_vouches_for_nobody(url: str) -> None:
    """A watch that has seen the beats move does."""
    config = SqlConfig(interval=0.1, timeout=20.0, poll=0.1)
    with connect(url, config) as ours, connect(url, config) as theirs:
        ours.join("compute", "host-1")
        assert theirs.members("compute").unconfirmed == {"host-1"}
        with theirs.watch("compute") as watch:
            eventually(lambda: not watch.view.unconfirmed)
            assert not theirs.members("compute").unconfirmed


def test_a_read_vouches_for_the_members_of_its_own_connection(url: str) -> None:
    with connect(url) as ours, connect(url) as theirs:
        ours.join("compute", "ours")
        theirs.join("compute", "theirs")
        view = ours.members("compute")
        assert set(view.members) == {"ours", "theirs"}
        assert view.unconfirmed == {"theirs"}


def test_a_forked_child_is_told_to_connect_by_itself(url: str) -> None:
    """And neither its refusal nor its close disturbs the parent."""
    config = SqlConfig(interval=0.1, timeout=20.0)
    with connect(url, config) as membership:
        me = membership.join("compute", "host-1")

        def child() -> None:
            try:
                membership.members("compute")
            except Closed:
                membership.close()
                os._exit(7)

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(20)
        assert process.exitcode == 7
        assert list(membership.members("compute").members) == ["host-1"]
        time.sleep(3 * config.interval)
        assert me.is_member


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_no_callers_function_that_raises_ends_a_heartbeat(
    profile: Literal["nova", "tuned"], url: str
) -> None:
    """Neither the meter nor, where it is asked, the wall clock."""
    broken, calls = threading.Event(), []

    def meter(name: str, value: float) -> None:
        calls.append(name)
        raise RuntimeError("a meter's fault")

    def clock() -> float:
        if broken.is_set():
            raise RuntimeError("a clock's fault")
        return time.time()

    config = SqlConfig(profile=profile, interval=0.1, timeout=5.0, wall_clock=clock)
    with connect(url, config, meter=meter) as membership:
        me = membership.join("compute", "host-1")
        eventually(lambda: len(calls) > 4)
        broken.set()
        time.sleep(5 * config.interval)
        broken.clear()
        beaten = len(calls)
        eventually(lambda: len(calls) > beaten + 4)
        assert me.is_member


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(InvalidValue, match="at least 2"):
        SqlConfig(pool_size=1)


@pytest.mark.parametrize(
    "bad",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql+asyncpg://u:secret@h/d",
        "postgresql+psycopg://u:secret@h:port/d",
        "postgresql+psycopg://u:se@secret@h/d",
    ],
)
def test_a_url_that_cannot_serve_is_refused_discreetly(bad: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        connect(bad)
    assert "secret" not in str(caught.value)
