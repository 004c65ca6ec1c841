"""Random histories on each backend, judged afterwards. The seed is printed; so are the findings.

``HISTORY_SECONDS``: how long each goes on (default: 20). ``HISTORY_SEED``: to run one again; the
machine's timing is not in it, so it is the same story and not the same history.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from bench.engines.live.provision import Control, Deployment, lacks_control, zookeeper
from membership.testing import eventually
from tests.history import checker
from tests.history.actors import Fault, Plan
from tests.history.record import History
from tests.history.run import execute, summary

SECONDS = float(os.environ.get("HISTORY_SECONDS", "20"))
SEED = int(os.environ.get("HISTORY_SEED", random.SystemRandom().randrange(1_000_000)))
TIMEOUT = 1.5
RECOVERY = 60.0
"""What servers may take on a busy machine until they serve again."""

pytestmark = [pytest.mark.alone, pytest.mark.timeout(4 * SECONDS + 300)]

SQL = {"interval": 0.3, "timeout": TIMEOUT, "poll": 0.1, "connect_timeout": 2.0}
Report = Callable[[History], None]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Report:
    """Says what was tried, and keeps the story for whoever has to understand a failure."""

    def show(history: History) -> None:
        kept = tmp_path / "story.txt"
        kept.write_text(checker.story(history))
        with capsys.disabled():
            print(f"\nHISTORY_SEED={SEED}: {summary(history)}; the story: {kept}")  # noqa: T201

    return show


def _judge(history: History, *more: Callable[[History], list[str]]) -> None:
    found = [wrong for check in (*checker.ALWAYS, *more) for wrong in check(history)]
    assert not found, f"HISTORY_SEED={SEED}:\n" + "\n".join(found[:20])
    assert history.sights
    assert history.tenures
    assert history.writes


BY_SESSIONS = (checker.order, checker.self_fencing)
BY_BEATS = (partial(checker.order, revivals=True), checker.self_fencing)


def _accuracy(after: float) -> Callable[[History], list[str]]:
    return lambda history: checker.accuracy(history, after)


def test_memory(report: Report) -> None:
    history = execute(
        Plan(
            SEED,
            min(SECONDS, 60.0),
            "memory",
            "memory://history",
            {"timeout": TIMEOUT},
            TIMEOUT,
            processes=False,
        )
    )
    report(history)
    _judge(history, _accuracy(2 * TIMEOUT), *BY_SESSIONS)


def test_sqlite_tuned(tmp_path: Path, report: Report) -> None:
    """The fault: somebody else holds the database's lock."""
    file = tmp_path / "members.db"

    @contextmanager
    def locked(_choice: float) -> Iterator[str]:
        with closing(sqlite3.connect(file, timeout=60.0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield "locked"
            connection.execute("ROLLBACK")

    def held_up() -> bool:
        with closing(sqlite3.connect(file, timeout=0.5, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    history = execute(
        Plan(
            SEED,
            SECONDS,
            "sql",
            f"sqlite:///{file}",
            SQL,
            TIMEOUT,
            faults={"locked": locked},
            clock_steps=True,
            held_up=held_up,
        )
    )
    report(history)
    _judge(history, _accuracy(3 * TIMEOUT), *BY_BEATS)


def _postgres(deployment: Deployment, profile: str) -> History:
    return execute(
        Plan(
            SEED,
            SECONDS,
            "sql",
            deployment.url,
            SQL | {"profile": profile},
            TIMEOUT,
            faults=_server_faults(deployment),
            clock_steps=True,
        )
    )


def _controls(deployment: Deployment) -> list[Control]:
    return [deployment.control(server.name) for server in deployment.servers]


def _serve_again(controls: list[Control]) -> None:
    eventually(lambda: all(control.serves() for control in controls), RECOVERY)


def _server_faults(deployment: Deployment) -> dict[str, Fault]:
    """Stop one, or kill it and start it again on its data."""
    controls = _controls(deployment)

    @contextmanager
    def paused(choice: float) -> Iterator[str]:
        server = controls[int(choice * len(controls))]
        server.pause()
        try:
            yield f"paused {server.name}"
        finally:
            server.go_on()
            _serve_again(controls)

    @contextmanager
    def restarted(choice: float) -> Iterator[str]:
        server = controls[int(choice * len(controls))]
        server.kill()
        try:
            yield f"restarted {server.name}"
        finally:
            server.start()
            _serve_again(controls)

    return {"paused": paused, "restarted": restarted}


def test_postgresql_tuned(mortal_postgres: Deployment, report: Report) -> None:
    history = _postgres(mortal_postgres, "tuned")
    report(history)
    _judge(history, _accuracy(3 * TIMEOUT), *BY_BEATS)


def test_postgresql_nova(mortal_postgres: Deployment, report: Report) -> None:
    """Exempt from accuracy, for a clock that steps kills. The history has to show it: an observer
    whose clock stepped called dead whom another, on the same server, never doubted."""
    history = _postgres(mortal_postgres, "nova")
    report(history)
    _judge(history, partial(checker.order, revivals=True))
    assert checker.contradictions(history)


def test_one_zookeeper(mortal_zookeeper: Deployment, report: Report) -> None:
    history = execute(
        Plan(
            SEED,
            SECONDS,
            "zookeeper",
            mortal_zookeeper.url,
            {"session_timeout": TIMEOUT},
            TIMEOUT,
            faults=_server_faults(mortal_zookeeper),
        )
    )
    report(history)
    _judge(history, _accuracy(3 * TIMEOUT), *BY_SESSIONS)


def test_three_zookeepers(mortal_ensemble: Deployment, report: Report) -> None:
    """Each observer has a server of its own. A follower that is cut off from its leader answers
    pings for a while: there only leaders are promised to know in time that they are none."""
    lacks = lacks_control("local", cut=True)
    uncut = "; ".join(f"{lack.what} ({lack.why}): {lack.command}" for lack in lacks)
    if uncut and os.environ.get("CI") == "true":
        pytest.fail(f"no follower can be cut off: {uncut}")
    addresses = [(server.host, server.port) for server in mortal_ensemble.servers]
    namespace = mortal_ensemble.url.rpartition("/")[2]
    controls = _controls(mortal_ensemble)

    def roles() -> tuple[Control, list[Control]]:
        eventually(lambda: zookeeper.serving(addresses), RECOVERY)
        modes = [zookeeper.mode(host, port) for host, port in addresses]
        leader = controls[modes.index("leader")]
        return leader, [each for each in controls if each is not leader]

    @contextmanager
    def leader_killed(_choice: float) -> Iterator[str]:
        leader, _ = roles()
        leader.kill()
        try:
            yield "leader killed"
        finally:
            leader.start()
            _serve_again(controls)

    @contextmanager
    def follower_cut_off(choice: float) -> Iterator[str]:
        leader, followers = roles()
        with followers[int(choice * 2)].cut([leader]):
            yield "follower cut off"
        _serve_again(controls)

    faults = _server_faults(mortal_ensemble) | {"leader killed": leader_killed}
    if not uncut:
        faults["follower cut off"] = follower_cut_off
    history = execute(
        Plan(
            SEED,
            SECONDS,
            "zookeeper",
            mortal_ensemble.url,
            {"session_timeout": TIMEOUT},
            TIMEOUT,
            faults=faults,
            observer_urls=tuple(
                f"zookeeper://{host}:{port}/{namespace}" for host, port in addresses
            ),
        )
    )
    report(history)
    _judge(history, _accuracy(3 * TIMEOUT), checker.order)
    if uncut:
        pytest.skip(f"all but a follower that is cut off was seen to hold: {uncut}")
