"""Every fault on real servers, 200 services a run, held to the table in outcomes.py.

Faults of one kind run side by side, each on victims of its own. ``FAULTS=all`` runs the whole
table; else the rows about servers that take longest are left to whoever asks for them.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.engines.live import racks
from bench.engines.live.provision import ServerSpec
from bench.kind import Kind
from bench.plan import Run, plan
from bench.scenario import loads
from bench.store import load
from tests.lacking import none_lacking
from tests.live.outcomes import (
    CLOCKS,
    NOVA,
    ON_LINKS,
    ON_SERVERS,
    ON_SERVICES,
    SESSION,
    SHORT_TICK,
    TUNED,
    ZK,
    Case,
    ServerCase,
    Share,
    table,
)
from tests.live.runs import harness, require

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]  # one run after another starts
LOG = logging.getLogger(__name__)

SLACK = 1.5
"""Seconds by which a busy machine may be late with anything."""
EARLY = 0.5
"""Seconds by which an onset may be confirmed later than it took hold."""

SERVICES = 200
VICTIMS = 10
AT_ONCE = 3
"""Runs at a time."""
STARTING = Lock()
"""Held by the run that starts: thirty processes of another would take the cores from its ramp."""
LASTING = {"database killed", "leader killed"}
"""Of the rows about servers, those that every run of the tests can afford."""

ONSETS = {Kind.CRASHED, Kind.POWER_LOST, Kind.LEFT, Kind.FROZEN, Kind.SKEWED} | {
    Kind.CUT,
    Kind.LOSSY,
    Kind.DELAYED,
}

SQL = {
    "kind": "sql",
    "interval": "1s",
    "timeout": "4s",
    "connections": 32,
    "synchronous_commit": False,  # others keep the disk busy
}
BACKENDS: Mapping[str, Mapping[str, object]] = {
    NOVA: {**SQL, "profile": "nova", "poll": "read"},
    TUNED: {**SQL, "profile": "tuned", "poll": "500ms"},
    ZK: {"kind": "zookeeper", "servers": 1, "session_timeout": "4s", "tick": "1s"},
}


def test_the_page_shows_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "faults.md"
    assert table() in page.read_text(), "python -m tests.live.outcomes prints the table as it is"


def _text(
    backend: str,
    settings: Mapping[str, object],
    phases: list[dict[str, Any]],
    racks: int = 1,
) -> str:
    return yaml.safe_dump(
        {
            "version": 1,
            "name": "outcomes",
            "question": "Does each fault do what its mechanism implies?",
            "seed": 5,
            "backends": {backend: dict(settings)},
            "services": {"count": SERVICES, "library": 20, "ramp": "100/s", "racks": racks},
            "observers": 2,
            "audit": {"lateness_p99": "5s"},
            "phases": [{"settle": "3s"}, *phases],
        },
        sort_keys=False,
    )


class Seen:
    """One run: whom each fault hit, and what its observers were told of them."""

    def __init__(self, run: Run, events: pd.DataFrame) -> None:
        self.run = run
        self._told = events[events["observer"].notna()]
        truth = events[events["observer"].isna()]
        self._onsets = truth[truth["kind"].isin(ONSETS)].groupby("subject")["t"].min()
        self.servers = truth[truth["kind"].str.startswith("server_")]

    def victims(self, place: int) -> list[str]:
        """Of the fault at that place among the run's faults."""
        return [self.run.service_name(index) for index in self.run.faults[place].victims.tolist()]

    def untouched(self) -> list[str]:
        hit = {name for place in range(len(self.run.faults)) for name in self.victims(place)}
        names = map(self.run.service_name, range(SERVICES))
        return [name for name in names if name not in hit]

    def onset(self, name: str) -> float:
        return float(self._onsets[name])

    def deaths(self, name: str) -> pd.DataFrame:
        """Each time that an observer was told that it is gone."""
        return self._told[(self._told["subject"] == name) & (self._told["kind"] == Kind.LEFT)]

    def dead(self, names: list[str]) -> list[str]:
        return [name for name in names if len(self.deaths(name))]

    def absent(self, names: list[str]) -> list[str]:
        """Those that some observer doesn't have in the end."""
        mine = self._told[self._told["subject"].isin(names)]
        last = mine.sort_values("t", kind="stable").groupby(["subject", "observer"])["kind"].last()
        there = last[last != Kind.LEFT].groupby("subject").size()
        observers = self.run.scenario.observers
        return [name for name in names if there.get(name, 0) != observers]


def _carry_out(text: str) -> Seen:
    [run] = plan(loads(text, "outcomes.yaml"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with ExitStack() as turn, STARTING:
            running = turn.enter_context(harness(folder, text, "--servers", "local"))
            running.until(f"{run.backend_name}: fault {run.faults[0].kind}")
            started = turn.pop_all()
        with started:
            code, told = running.end(600.0)
        LOG.warning("%s", told)  # pytest shows it where an outcome is another one
        running.assert_nothing_left()
        assert code in (0, 1, 3), running.said
        [record] = load(folder / "results").records()
        assert record.complete, running.said
        return Seen(run, record.events)


def _side_by_side(texts: Mapping[str, str]) -> dict[str, Seen]:
    """A harness for each, as most of their time is waiting."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(texts, pool.map(_carry_out, texts.values()), strict=True))


def _on_each_backend(phases: list[dict[str, Any]], **changes: int) -> dict[str, Seen]:
    return _side_by_side(
        {name: _text(name, backend, phases, **changes) for name, backend in BACKENDS.items()}
    )


def _on_services(case: Case) -> dict[str, Any]:
    client = {"client": "library"} if case.fault["kind"] == "skew" else {}
    count = VICTIMS // 2 if client else VICTIMS
    return {"fault": {**case.fault, "select": {"count": count, **client}, "over": "1s"}}


def _on_link(place: int, case: Case) -> dict[str, Any]:
    return {"fault": {**case.fault, "select": {"racks": [place]}}}


@pytest.fixture(scope="module")
def by_services() -> dict[str, Seen]:
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    cases = (*ON_SERVICES, *CLOCKS)
    return _on_each_backend([*map(_on_services, cases), {"hold": "32s"}])


@pytest.fixture(scope="module")
def by_links() -> dict[str, Seen]:
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    none_lacking(racks.missing())
    phases = [_on_link(place, case) for place, case in enumerate(ON_LINKS)]
    return _on_each_backend([*phases, {"hold": "40s"}], racks=len(ON_LINKS) + 3)


def _each(cases: tuple[Case, ...]) -> list[Any]:
    return [
        pytest.param(place, case, backend, id=f"{case.name}-{backend}")
        for place, case in enumerate(cases)
        for backend in case.outcomes
    ]


@pytest.mark.parametrize(("place", "case", "backend"), _each((*ON_SERVICES, *CLOCKS)))
def test_services(by_services: dict[str, Seen], place: int, case: Case, backend: str) -> None:
    _hold(by_services[backend], place, case, backend)


@pytest.mark.parametrize(("place", "case", "backend"), _each(ON_LINKS))
def test_links(by_links: dict[str, Seen], place: int, case: Case, backend: str) -> None:
    _hold(by_links[backend], place, case, backend)


def _hold(seen: Seen, place: int, case: Case, backend: str) -> None:
    expected = case.outcomes[backend]
    victims = seen.victims(place)
    assert victims
    _expect(expected.noticed, seen.dead(victims), victims)
    if expected.within is not None:
        least, most = expected.within
        for name in victims:
            took = seen.deaths(name)["t"].min() - seen.onset(name)
            assert least - EARLY <= took <= most + SLACK, f"{name}: {took:.3f} s"
    if case.fault["kind"] == "flap":
        for name in victims:
            times = seen.deaths(name).groupby("observer").size()
            assert (times == case.fault["times"]).all(), f"{name}: {times.to_dict()}"
    if expected.back:
        assert seen.absent(victims) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_else_is_called_dead_for_what_befell_some_services(
    by_services: dict[str, Seen], backend: str
) -> None:
    assert by_services[backend].dead(by_services[backend].untouched()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_else_is_called_dead_for_what_befell_some_racks(
    by_links: dict[str, Seen], backend: str
) -> None:
    assert by_links[backend].dead(by_links[backend].untouched()) == []


CASES = {
    f"{case.name}-{case.backend}-{case.servers}": case
    for case in ON_SERVERS
    if case.name in LASTING or os.environ.get("FAULTS") == "all"
}


@pytest.fixture(scope="module")
def by_servers() -> dict[str, Seen]:
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    return _side_by_side({name: _on_server(case) for name, case in CASES.items()})


def _on_server(case: ServerCase) -> str:
    settings = dict(BACKENDS[case.backend])
    if case.backend == ZK:
        settings |= {"servers": case.servers, "session_timeout": SESSION, "tick": SHORT_TICK}
    phases: list[dict[str, Any]] = [
        {"fault": dict(case.fault)},
        {"hold": "32s"},
        # Healed, it is still of use: whoever dies now is noticed.
        {"fault": {"kind": "crash", "select": {"count": VICTIMS}}},
        {"hold": "10s"},
    ]
    return _text(case.backend, settings, phases)


@pytest.mark.parametrize("name", CASES)
def test_servers(by_servers: dict[str, Seen], name: str) -> None:
    seen = by_servers[name]
    others = seen.untouched()
    _expect(CASES[name].others, seen.dead(others), others)
    assert seen.absent(others) == []
    assert set(seen.dead(seen.victims(1))) == set(seen.victims(1))
    assert len(seen.servers[seen.servers["kind"] == Kind.SERVER_BACK])


def _expect(share: Share, dead: list[str], of: list[str]) -> None:
    match share:
        case "none":
            assert dead == []
        case "few":
            assert len(dead) <= len(of) / 3
        case "some":
            assert dead
        case "all":
            assert dead == of
