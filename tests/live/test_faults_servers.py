"""Faults of servers, on real ones: what the servers do, what is told, and that all is healed."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from kazoo.client import KazooClient
from sqlalchemy import NullPool, create_engine, text

from bench.engines.live.faults import servers as faults
from bench.engines.live.faults.stage import Stage
from bench.engines.live.provision import (
    Deployment,
    Role,
    Server,
    ServerSpec,
    lacks_control,
    provision,
    zookeeper,
)
from bench.engines.live.racks import racks
from bench.engines.live.swarm.shard import Event, monotonic
from bench.errors import InvalidRun
from bench.kind import Kind
from bench.plan import OnServers, Run, plan
from bench.scenario import load
from tests.lacking import none_lacking
from tests.live.runs import require

PLACES = pytest.mark.parametrize("where", ["local", "docker"])
ENSEMBLE = ServerSpec("zookeeper", servers=3, tick=0.5)
PATIENCE = 30.0


def planned(of: str, folder: Path, **fault: object) -> tuple[Run, OnServers]:
    """The run of a scenario with this fault of servers at its beginning."""
    backend: dict[str, object] = {"kind": "sql", "profile": "tuned", "interval": "1s"}
    backend |= {"timeout": "4s", "poll": "500ms"}
    if of == "zookeeper":
        backend = {"kind": "zookeeper", "servers": 3, "session_timeout": "4s", "tick": "500ms"}
    file = folder / "scenario.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "name": "servers",
                "question": "What becomes of the servers?",
                "seed": 11,
                "backends": {"it": backend},
                "services": {"count": 10},
                "observers": 1,
                "phases": [{"fault": fault}, {"hold": "60s"}],
            }
        )
    )
    [run] = plan(load(file))
    [hit] = run.faults
    assert isinstance(hit, OnServers)
    return run, hit


@contextmanager
def inflicted(run: Run, fault: OnServers, deployment: Deployment) -> Iterator[list[Event]]:
    """The fault strikes now; what it tells. At the end all its server-side effects are over."""
    told: list[Event] = []
    with racks((), delayed=set()) as fabric:
        stage = Stage(run, monotonic(), (), fabric, deployment, told.append)
        with faults.inflict(fault, stage):
            yield told


def until(so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.02)


def modes(deployment: Deployment) -> dict[str, Role | None]:
    return {each.name: zookeeper.mode(each.host, each.port) for each in deployment.servers}


def serves(server: Server) -> bool:
    assert server.control is not None
    return server.control.serves()


def onsets(told: list[Event]) -> list[Event]:
    return [event for event in told if event.kind is not Kind.SERVER_BACK]


def returns(told: list[Event]) -> dict[str, Event]:
    return {event.subject: event for event in told if event.kind is Kind.SERVER_BACK}


def status(process: psutil.Process) -> str | None:
    """None once it has ended, whether or not somebody has collected it."""
    with suppress(psutil.NoSuchProcess):
        found = str(process.status())
        return None if found == psutil.STATUS_ZOMBIE else found
    return None


def family(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def shared_memory(process: psutil.Process) -> set[Path]:
    with suppress(psutil.NoSuchProcess):  # some are there for a moment only
        paths = [mapped.path for mapped in process.memory_maps()]
        return {Path(path) for path in paths if path.startswith("/dev/shm/PostgreSQL")}
    return set()


def rules() -> list[str]:
    """Ours on this machine; what others do to theirs meanwhile plays no part."""
    command = ["iptables-save", "-t", "filter"]
    saved = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in saved.splitlines() if f"HB-{os.getpid()}-" in line]


def written(deployment: Deployment) -> KazooClient:
    """A client that has written something."""
    client = KazooClient(deployment.url.removeprefix("zookeeper://").partition("/")[0])
    client.start(timeout=PATIENCE)
    client.create("/kept", b"value")
    return client


def still_there(client: KazooClient) -> bool:
    try:
        value: bytes = client.retry(client.get, "/kept")[0]
    finally:
        client.stop()
        client.close()
    return value == b"value"


ROLES: dict[str, Role | None] = {"zk-1": "follower", "zk-2": "leader", "zk-3": "follower"}


@pytest.mark.parametrize(
    ("servers", "choice", "names"),
    [
        ("leader", 0.9, ["zk-2"]),
        ("follower", 0.0, ["zk-1"]),
        ("follower", 0.99, ["zk-3"]),
        ("any", 0.4, ["zk-2"]),
        ("majority", 0.0, ["zk-1", "zk-2"]),
        ("majority", 0.99, ["zk-3", "zk-1"]),
        ("all", 0.5, ["zk-1", "zk-2", "zk-3"]),
        ((1, 3), 0.5, ["zk-1", "zk-3"]),
    ],
)
def test_servers_are_meant_by_what_they_are(
    servers: str | tuple[int, ...], choice: float, names: list[str]
) -> None:
    assert faults.chosen(servers, ROLES, choice) == names


def test_one_server_is_the_leader_and_any_and_all() -> None:
    for role in ("standalone", "primary"):
        for servers in ("leader", "any", "all"):
            assert faults.chosen(servers, {"it": role}, 0.7) == ["it"]


@pytest.mark.parametrize("role", [None, "leader"])
def test_nobody_is_the_leader_while_none_or_two_say_so(role: Role | None) -> None:
    roles: dict[str, Role | None] = {"zk-1": role, "zk-2": role, "zk-3": "follower"}
    assert faults.chosen("leader", roles, 0.5) == []


@PLACES
def test_a_killed_leader_is_replaced_and_comes_back(where: str, tmp_path: Path) -> None:
    require(where, ENSEMBLE)
    run, fault = planned("zookeeper", tmp_path, kind="kill", servers="leader", **{"for": "4s"})
    assert fault.onsets == 1
    with provision(ENSEMBLE, where=where) as deployment:
        client = written(deployment)
        before = {server.name: server.pids for server in deployment.servers}
        [old] = [name for name, mode in modes(deployment).items() if mode == "leader"]
        with inflicted(run, fault, deployment) as told:
            until(lambda: bool(told), "the leader is hit")
            [hit] = told
            assert (hit.kind, hit.subject, hit.detail) == (Kind.SERVER_KILLED, old, "leader")
            assert hit.value is not None
            assert not any(psutil.pid_exists(pid) for pid in before[old])
            until(lambda: list(modes(deployment).values()).count("leader") == 1, "a new leader")
            assert modes(deployment)[old] is None
            until(lambda: len(told) == 2, "it is back")
            assert (told[1].kind, told[1].subject) == (Kind.SERVER_BACK, old)
            assert told[1].detail == "follower"
            assert told[1].value == pytest.approx(told[1].t - hit.t)
            assert told[1].t - hit.t >= 4.0
        assert zookeeper.serving([(server.host, server.port) for server in deployment.servers])
        for server in deployment.servers:
            assert (server.pids == before[server.name]) is (server.name != old)
        assert still_there(client)


@PLACES
def test_without_a_majority_nobody_serves(where: str, tmp_path: Path) -> None:
    """Also: a fault without an end is healed where the block ends."""
    require(where, ENSEMBLE)
    run, fault = planned("zookeeper", tmp_path, kind="kill", servers="majority")
    with provision(ENSEMBLE, where=where) as deployment:
        client = written(deployment)
        with inflicted(run, fault, deployment) as told:
            until(lambda: len(told) == fault.onsets == 2, "two are hit")
            until(lambda: set(modes(deployment).values()) == {None}, "nobody serves")
        assert set(returns(told)) == {event.subject for event in onsets(told)}
        assert zookeeper.serving([(server.host, server.port) for server in deployment.servers])
        assert still_there(client)


def test_all_of_an_ensemble_start_again_together(tmp_path: Path) -> None:
    """None of them could serve before the others have started."""
    require("local", ENSEMBLE)
    run, fault = planned("zookeeper", tmp_path, kind="restart", servers="all")
    with provision(ENSEMBLE, where="local") as deployment:
        client = written(deployment)
        with inflicted(run, fault, deployment) as told:
            until(lambda: len(returns(told)) == 3, "all are back")
        assert {event.kind for event in onsets(told)} == {Kind.SERVER_STOPPED}
        assert sorted(str(event.detail) for event in onsets(told)) == [
            "follower",
            "follower",
            "leader",
        ]
        assert still_there(client)


@PLACES
def test_a_paused_leader_is_deposed_and_comes_back(where: str, tmp_path: Path) -> None:
    """It takes itself for the leader when it goes on: that isn't called being back."""
    require(where, ENSEMBLE)
    run, fault = planned("zookeeper", tmp_path, kind="pause", servers="leader", **{"for": "6s"})
    with provision(ENSEMBLE, where=where) as deployment:
        with inflicted(run, fault, deployment) as told:
            until(lambda: bool(told), "it is hit")
            [hit] = told
            assert (hit.kind, hit.detail) == (Kind.SERVER_PAUSED, "leader")
            [pid] = deployment.control(hit.subject).pids()
            assert psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_DISK_SLEEP)
            others = [server for server in deployment.servers if server.name != hit.subject]
            until(
                lambda: "leader" in [zookeeper.mode(each.host, each.port) for each in others],
                "another one leads",
            )
            until(lambda: len(told) == 2, "it is back")
            assert (told[1].kind, told[1].detail) == (Kind.SERVER_BACK, "follower")
        assert deployment.control(hit.subject).pids() == (pid,)


@PLACES
@pytest.mark.parametrize("servers", ["leader", "follower"])
def test_a_server_that_is_cut_off_drops_out_while_clients_reach_it(
    where: str, servers: str, tmp_path: Path
) -> None:
    require(where, ENSEMBLE)
    none_lacking(lacks_control(where, cut=True))
    run, fault = planned("zookeeper", tmp_path, kind="cut", servers=servers, **{"for": "8s"})
    with provision(ENSEMBLE, where=where) as deployment:
        before = rules()
        with inflicted(run, fault, deployment) as told:
            until(lambda: bool(told), "it is hit")
            [hit] = told
            assert (hit.kind, hit.detail) == (Kind.SERVER_CUT, servers)
            assert rules() != before
            rest = {server.name for server in deployment.servers} - {hit.subject}
            until(
                lambda: (
                    modes(deployment)[hit.subject] is None
                    and sorted(str(modes(deployment)[name]) for name in rest)
                    == ["follower", "leader"]
                ),
                "the others go on without it",
            )
            [server] = [each for each in deployment.servers if each.name == hit.subject]
            assert zookeeper.ask(server.host, server.port, "ruok") == "imok"
            until(lambda: len(told) == 2, "it is back")
            assert told[1].value is not None
            assert told[1].value > 8.0
        assert zookeeper.serving([(each.host, each.port) for each in deployment.servers])
        assert rules() == before


@PLACES
@pytest.mark.parametrize(
    ("kind", "onset"),
    [
        ("kill", Kind.SERVER_KILLED),
        ("restart", Kind.SERVER_STOPPED),
        ("pause", Kind.SERVER_PAUSED),
    ],
)
def test_postgresql_comes_back_with_its_data(
    where: str, kind: str, onset: Kind, tmp_path: Path
) -> None:
    spec = ServerSpec("sql")
    require(where, spec)
    run, fault = planned("sql", tmp_path, kind=kind, servers="any", **{"for": "2s"})
    with provision(spec, where=where) as deployment:
        engine = create_engine(deployment.url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept (x int)"))
            connection.execute(text("INSERT INTO kept VALUES (1)"))
        [server] = deployment.servers
        [pid] = server.pids
        processes = family(pid)
        assert len(processes) > 3
        with inflicted(run, fault, deployment) as told:
            until(lambda: bool(told), "it is hit")
            assert (told[0].kind, told[0].subject, told[0].detail) == (onset, "pg", "primary")
            if kind == "pause":
                still = {psutil.STATUS_STOPPED, psutil.STATUS_DISK_SLEEP, None}
                assert set(map(status, processes)) <= still
                assert status(processes[0]) is not None
            else:
                assert set(map(status, processes)) == {None}
            until(lambda: len(told) == 2, "it is back")
            assert told[1].kind is Kind.SERVER_BACK
        with engine.begin() as connection:
            assert connection.scalar(text("SELECT x FROM kept")) == 1
        assert (server.pids == (pid,)) is (kind == "pause")


def test_a_killed_postgresql_leaves_no_shared_memory(tmp_path: Path) -> None:
    """Its next start would clear it away, and there is none."""
    spec = ServerSpec("sql")
    require("local", spec)
    with provision(spec, where="local") as deployment:
        [pid] = deployment.servers[0].pids
        names = {name for process in family(pid) for name in shared_memory(process)}
        assert names
        deployment.control("pg").kill()
    assert not any(name.exists() for name in names)


def test_whatever_ends_the_block_heals(tmp_path: Path) -> None:
    require("local", ENSEMBLE)
    run, fault = planned("zookeeper", tmp_path, kind="pause", servers="follower", **{"for": "50s"})

    def break_off(deployment: Deployment, seen: list[Event]) -> None:
        with inflicted(run, fault, deployment) as told:
            until(lambda: bool(told), "it is hit")
            seen.append(told[0])
            raise KeyboardInterrupt

    with provision(ENSEMBLE, where="local") as deployment:
        seen: list[Event] = []
        with pytest.raises(KeyboardInterrupt):
            break_off(deployment, seen)
        [hit] = seen
        [pid] = deployment.control(hit.subject).pids()
        assert psutil.Process(pid).status() != psutil.STATUS_STOPPED
        assert zookeeper.serving([(server.host, server.port) for server in deployment.servers])
    assert "heartbench-fault" not in [thread.name for thread in threading.enumerate()]


def test_a_fault_of_a_server_that_is_down_is_no_fault(tmp_path: Path) -> None:
    require("local", ENSEMBLE)
    run, fault = planned("zookeeper", tmp_path, kind="kill", servers=[2])
    with provision(ENSEMBLE, where="local") as deployment:
        deployment.control("zk-2").kill()
        with (
            pytest.raises(InvalidRun, match="zk-2 was to be hit by a kill, but it was down"),
            inflicted(run, fault, deployment) as told,
        ):
            time.sleep(0.5)
        assert told == []


def test_without_a_leader_there_is_no_fault_of_the_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("local", ENSEMBLE)
    monkeypatch.setattr(faults, "CHOOSING", 0.5)
    run, fault = planned("zookeeper", tmp_path, kind="kill", servers="leader")
    with provision(ENSEMBLE, where="local") as deployment:
        deployment.control("zk-1").kill()
        deployment.control("zk-2").kill()
        until(lambda: set(modes(deployment).values()) == {None}, "nobody serves")
        with (
            pytest.raises(InvalidRun, match="no server was the leader"),
            inflicted(run, fault, deployment) as told,
        ):
            time.sleep(2)
        assert told == []


def test_servers_of_somebody_else_are_not_to_be_hit() -> None:
    [lack] = lacks_control("zookeeper://127.0.0.1:2181/x")
    assert "somebody else's" in lack.why
    assert lack.command == "use --servers auto"
    assert lacks_control("local") == []
