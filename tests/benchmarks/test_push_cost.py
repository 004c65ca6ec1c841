"""What NOTIFY costs a ramp of joins on PostgreSQL, which lets only one transaction that notifies
commit at a time: those that come together can't share a flush of the log any more."""

from __future__ import annotations

import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from pytest_benchmark.fixture import BenchmarkFixture

from bench.engines.live.provision import Deployment
from membership import SqlConfig, connect
from membership.backends.sql import SqlMembership
from tests.benchmarks.comparison import OURS, medians, shown

JOINS = 2_000
CONNECTIONS = 16
ROUNDS = 3
CONFIG = SqlConfig(interval=600.0, timeout=6000.0)
"""Nobody beats meanwhile."""

_groups = (f"group-{number}" for number in itertools.count())


def test_a_ramp_of_joins_with_and_without_its_pushes(
    benchmark: BenchmarkFixture, mortal_postgres: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same statements but for NOTIFY, in turns; each join durable, none heard by anybody."""
    seconds: dict[str, list[float]] = {OURS: [], "without NOTIFY": []}

    def both() -> None:
        for name, each in seconds.items():
            each.append(_ramp(mortal_postgres.url, pushes=name == OURS))

    benchmark.pedantic(both, rounds=ROUNDS)
    benchmark.extra_info.update(medians(seconds))
    shown(capsys, f"{JOINS:,} joins over {CONNECTIONS} connections", seconds)


def _ramp(url: str, *, pushes: bool) -> float:
    group = next(_groups)
    with ExitStack() as stack:
        memberships = [stack.enter_context(connect(url, CONFIG)) for _ in range(CONNECTIONS)]
        silenced = [] if pushes else [_silence(membership) for membership in memberships]

        def join(number: int) -> None:
            for name in range(number, JOINS, CONNECTIONS):
                memberships[number].join(group, f"service-{name}")

        begun = time.perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(join, range(CONNECTIONS)))
        taken = time.perf_counter() - begun
        assert sum(map(len, silenced)) == (0 if pushes else JOINS)
        assert len(memberships[0].members(group)) == JOINS
    return taken


def _silence(membership: object) -> list[str]:
    """Have its statements notify nobody; each one that would have."""
    assert isinstance(membership, SqlMembership)
    silenced: list[str] = []

    def without(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        silent = re.sub(r"pg_notify\([^)]*\)", "NULL", statement)
        if silent != statement:
            silenced.append(statement)
        return silent, parameters

    sa.event.listen(membership._database._calls, "before_cursor_execute", without, retval=True)
    return silenced
