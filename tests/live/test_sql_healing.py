"""What a registration and a watch do when rows go, servers crash or stop answering."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Literal

import pytest
import sqlalchemy as sa

from bench.engines.live.provision import Deployment
from membership import (
    Disconnected,
    EventKind,
    Freshness,
    Membership,
    Registration,
    SqlConfig,
    Watch,
    connect,
)
from membership.testing import ROOM, eventually, take, told
from tests.live.sessions import frozen

PROFILES = pytest.mark.parametrize("profile", ["nova", "tuned"])
Profile = Literal["nova", "tuned"]

DOCUMENTS = {"nova": "service_lives", "tuned": "membership_documents"}
DELETE = {"nova": "DELETE FROM services", "tuned": "DELETE FROM membership_members"}


def _config(profile: Profile) -> SqlConfig:
    return SqlConfig(profile=profile, interval=0.25, timeout=4.0, poll=0.1, connect_timeout=2.0)


def _execute(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def _backend(url: str) -> int:
    """The server's process for one of the library's connections."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        pid: int = connection.exec_driver_sql(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'heartbench' AND pid <> pg_backend_pid() LIMIT 1"
        ).scalar_one()
    engine.dispose()
    return pid


def _drained(watch: Watch, quiet: float = 0.0) -> list[tuple[str, str | None]]:
    """What it tells until nothing has come for that long."""
    events = []
    while (event := watch.next(quiet)) is not None:
        events.append(event)
    return told(events)


class _Told:
    """Counts what a registration says of itself."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def join(self, membership: Membership, name: str) -> Registration:
        return membership.join(
            "compute",
            name,
            metadata={"life": 1},
            on_lost=lambda _: self.said.append("lost"),
            on_rejoined=lambda _: self.said.append("rejoined"),
        )


@PROFILES
def test_a_member_whose_row_was_deleted_joins_again(profile: Profile, postgres_url: str) -> None:
    """With its current metadata and a larger token; a watch sees one life end, one begin."""
    config = _config(profile)
    with connect(postgres_url, config) as ours, connect(postgres_url, config) as theirs:
        story = _Told()
        me = story.join(ours, "host-1")
        me.update({"life": 2})
        token = me.token
        with theirs.watch("compute") as watch:
            take(watch, 1)
            _execute(postgres_url, DELETE[profile])
            eventually(lambda: story.said == ["lost", "rejoined"], why=lambda: story.said)
            assert me.token > token
            assert me.is_member
            events = take(watch, 2)
            assert told(events) == [("left", "host-1"), ("joined", "host-1")]
            assert events[1].member is not None
            assert events[1].member.token == me.token
            assert events[1].member.metadata == {"life": 2}
            me.update({"life": 3})
            assert take(watch, 1)[0].kind is EventKind.UPDATED


@PROFILES
def test_an_update_that_was_not_answered_is_written_in_the_same_life(
    profile: Profile, postgres_url: str
) -> None:
    """Nobody has to ask for it again, and others see one event, and no second life."""
    config = _config(profile)
    with (
        connect(postgres_url, config) as ours,
        connect(postgres_url, config) as theirs,
        theirs.watch("compute") as watch,
    ):
        story = _Told()
        me = story.join(ours, "host-1")
        token = me.token
        take(watch, 1)
        engine = sa.create_engine(postgres_url)
        with engine.connect() as somebody:
            somebody.exec_driver_sql(f"LOCK TABLE {DOCUMENTS[profile]} IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Disconnected):
                me.update({"life": 2})
            assert me.metadata == {"life": 2}
        engine.dispose()
        (event,) = take(watch, 1)
        assert event.kind is EventKind.UPDATED
        assert event.member is not None
        assert (event.member.token, event.member.metadata) == (token, {"life": 2})
        assert _drained(watch, 0.5) == []
        assert (me.token, story.said) == (token, [])


@PROFILES
def test_members_join_again_in_tables_that_were_made_anew(
    profile: Profile, postgres_url: str
) -> None:
    config = _config(profile)
    with connect(postgres_url, config) as ours:
        story = _Told()
        me = story.join(ours, "host-1")
        _execute(postgres_url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        eventually(lambda: not me.is_member, config.timeout)
        with connect(postgres_url, config) as theirs:
            eventually(lambda: story.said == ["lost", "rejoined"], why=lambda: story.said)
            assert list(theirs.members("compute").members) == ["host-1"]
        assert me.is_member


def test_a_name_taken_meanwhile_stays_theirs(postgres_url: str) -> None:
    config = _config("tuned")
    with connect(postgres_url, config) as ours, connect(postgres_url, config) as theirs:
        story = _Told()
        me = story.join(ours, "host-1")
        token = me.token
        other = theirs.join("compute", "other")
        _execute(  # in one step, as ours would take the name again in between
            postgres_url,
            "DELETE FROM membership_members WHERE name = 'host-1';"
            " UPDATE membership_members SET name = 'host-1' WHERE name = 'other'",
        )
        eventually(lambda: story.said == ["lost"], why=lambda: story.said)
        time.sleep(4 * config.interval)
        assert other.is_member
        assert (me.is_member, me.token, story.said) == (False, token, ["lost"])
        other.leave()
        eventually(lambda: story.said == ["lost", "rejoined"], why=lambda: story.said)
        assert me.token > other.token


@PROFILES
def test_a_server_that_crashes_and_recovers_loses_nobody(
    profile: Profile, mortal_postgres: Deployment
) -> None:
    """Registrations beat again on new connections with their tokens; later ones are larger."""
    url, config = mortal_postgres.url, _config(profile)
    with connect(url, config) as ours, connect(url, config) as theirs:
        members = [ours.join("compute", f"host-{number}") for number in range(5)]
        tokens = [member.token for member in members]
        with theirs.watch("compute") as watch:
            take(watch, 5)
            os.kill(_backend(url), signal.SIGKILL)  # the server throws out everybody and recovers
            eventually(lambda: watch.view.freshness is not Freshness.FRESH)
            eventually(lambda: watch.view.freshness is Freshness.FRESH)
            eventually(lambda: all(member.is_member for member in members))
            assert [member.token for member in members] == tokens
            eventually(lambda: len(watch.view) == 5)
            if profile == "tuned":  # nova may take a long recovery for everybody's death
                assert [each for each in _drained(watch) if each[0] == "left"] == []
        assert theirs.join("compute", "late").token > max(tokens)


def test_nobody_dies_of_a_server_that_stops_for_longer_than_the_timeout(
    mortal_postgres: Deployment,
) -> None:
    """Views turn stale, then disconnected, never empty; nothing hangs; members doubt themselves."""
    url, config = mortal_postgres.url, _config("tuned")
    with connect(url, config) as ours, connect(url, config) as theirs:
        members = [ours.join("compute", f"host-{number}") for number in range(5)]
        with theirs.watch("compute") as watch:
            take(watch, 5)
            eventually(lambda: not watch.view.unconfirmed)
            with frozen(mortal_postgres):
                calls: list[Callable[[], object]] = [
                    lambda: theirs.members("compute"),
                    lambda: theirs.join("compute", "late"),
                    lambda: theirs.cell("c").get(),
                ]
                raised: list[Disconnected] = []

                def call(each: Callable[[], object]) -> None:
                    try:
                        each()
                    except Disconnected as error:
                        raised.append(error)

                threads = [threading.Thread(target=call, args=(each,)) for each in calls]
                for thread in threads:
                    thread.start()
                eventually(lambda: watch.view.freshness is Freshness.STALE)
                eventually(lambda: not any(member.is_member for member in members), config.timeout)
                eventually(lambda: watch.view.freshness is Freshness.DISCONNECTED, config.timeout)
                for thread in threads:
                    thread.join(config.timeout + config.connect_timeout + ROOM)
                assert len(raised) == len(calls)
                assert len(watch.view) == 5
                assert watch.view.age > config.timeout
            eventually(lambda: watch.view.freshness is Freshness.FRESH)
            eventually(lambda: all(member.is_member for member in members))
            eventually(lambda: not watch.view.unconfirmed)
            events = _drained(watch, config.timeout + config.interval)
            # the join that was cut off may have taken effect
            assert set(events) <= {("resynced", None), ("joined", "late"), ("left", "late")}
            assert ("resynced", None) in events


@PROFILES
def test_closing_is_bounded_while_the_server_stands_still(
    profile: Profile, mortal_postgres: Deployment
) -> None:
    config = _config(profile)
    membership = connect(mortal_postgres.url, config)
    membership.join("compute", "host-1")
    watch = membership.watch("compute")
    with frozen(mortal_postgres):
        started = time.monotonic()
        membership.close()
        assert time.monotonic() - started < 3 * (config.timeout + config.connect_timeout) + ROOM
    assert watch.view.freshness is Freshness.DISCONNECTED
    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if name.startswith("membership")}
