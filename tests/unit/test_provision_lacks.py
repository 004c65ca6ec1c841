"""What a machine lacks is told before anything starts, with the command that mends it."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engines.live.provision import (
    ProvisionError,
    ServerSpec,
    cgroup,
    kind_of,
    lacks_control,
    missing,
    owner,
    provision,
    zookeeper,
)
from bench.engines.live.provision import local as local_servers
from bench.engines.live.provision.startup import ports
from bench.errors import MachineError

ZOOKEEPER = ServerSpec("zookeeper")
SQL = ServerSpec("sql")
NO_ENGINE = "unix:///nowhere/docker.sock"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    monkeypatch.setattr(local_servers, "_CLASS_PATH", (tmp_path / "zookeeper.jar",))
    monkeypatch.setattr(local_servers, "_VERSIONS", tmp_path)
    monkeypatch.setattr(local_servers, "UNPRIVILEGED", "nobody-of-that-name")
    monkeypatch.setattr("os.getuid", lambda: 0)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("spec", "where", "whats"),
    [
        (ZOOKEEPER, "local", ["setpriv", "Java", "ZooKeeper"]),
        (SQL, "local", ["setpriv", "PostgreSQL", "the user nobody-of-that-name"]),
        (ZOOKEEPER, "docker", ["a Docker engine"]),
        (SQL, "auto", ["a Docker engine", "setpriv", "PostgreSQL", "the user nobody-of-that-name"]),
        (ZOOKEEPER, "auto", ["a Docker engine", "setpriv", "Java", "ZooKeeper"]),
    ],
)
def test_each_lack_is_named_with_its_mend(spec: ServerSpec, where: str, whats: list[str]) -> None:
    lacks = missing(spec, where)
    assert [lack.what for lack in lacks] == whats
    assert all(lack.why for lack in lacks)
    assert all("install" in lack.command or "containers/" in lack.command for lack in lacks)


def test_a_distant_docker_engine_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    [lack] = missing(SQL, "docker")
    assert lack.what == "a Docker engine on this machine"
    assert lack.command == "unset DOCKER_HOST"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("where", ["local", "docker", "auto"])
def test_provisioning_says_the_same_lacks(where: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ProvisionError) as caught,
        provision(ZOOKEEPER, where=where, workdir=tmp_path),
    ):
        pytest.fail("it started")
    for lack in missing(ZOOKEEPER, where):
        assert lack.what in str(caught.value)
        assert lack.command in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_machine_is_to_blame() -> None:
    """Hence exit code 4."""
    assert issubclass(ProvisionError, MachineError)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho 'no such VM' >&2\nexit 6\n", "the java on PATH doesn't run: no such VM"),
        ("#!/nowhere/shell\n", "the java on PATH doesn't run: "),
    ],
)
def test_a_java_that_does_not_run_is_a_lack(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text(script)
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [lack] = [lack for lack in missing(ZOOKEEPER, "local") if lack.what == "Java"]
    assert said in lack.why


def test_more_sessions_than_a_server_may_hold_are_a_lack() -> None:
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        pytest.skip("no limit here")
    lacks = missing(ServerSpec("zookeeper", sessions=allowed), "local")
    [lack] = [lack for lack in lacks if "open files" in lack.what]
    assert f"{allowed:,} a process, {allowed + 200:,} needed" in lack.what
    assert f"all {allowed:,} sessions" in lack.why
    assert f"--nofile={allowed + 200}:" in lack.command


def test_too_short_a_queue_for_so_many_sessions_is_a_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux up to 5.3 lets 128 connections wait, whatever a server asks for."""
    file = tmp_path / "somaxconn"
    file.write_text("128\n")
    monkeypatch.setattr(zookeeper, "_SOMAXCONN", file)
    assert zookeeper.missing(ServerSpec("zookeeper", sessions=128)) == []
    [lack] = zookeeper.missing(ServerSpec("zookeeper", sessions=10_000))
    assert lack.what == "room for connections that wait: 128, 4,096 wanted"
    assert lack.command == "sudo sysctl -w net.core.somaxconn=4096"


@pytest.mark.parametrize(("sessions", "heap"), [(0, 1000), (10_000, 1000), (50_000, 3400)])
def test_the_heap_grows_with_the_sessions(sessions: int, heap: int) -> None:
    assert zookeeper.heap_megabytes(ServerSpec("zookeeper", sessions=sessions)) == heap


def test_whoever_may_not_set_packet_rules_cannot_cut_servers_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "iptables-restore"
    tool.write_text("#!/bin/sh\necho 'you must be root' >&2\nexit 4\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    lack, *_ = lacks_control("local", cut=True)
    assert "you must be root" in lack.why
    assert lack.command == "run as root"
    assert lacks_control("local") == []
    tool.unlink()
    lack, *_ = lacks_control("docker", cut=True)
    assert lack.what == "iptables"


def test_what_somebody_made_is_his_until_he_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        stamped = maker.stdout.readline().strip()
        assert owner.dead(stamped) is None
        maker.kill()
        maker.wait()
        assert owner.dead(stamped) == maker.pid
    assert owner.dead(owner.stamp()) is None
    other_life = f"{os.getpid()}-{int(owner.stamp().partition('-')[2], 16) + 1:x}"
    assert owner.dead(other_life) == os.getpid()  # the same number, another process
    assert owner.dead("12345") is None  # not one of ours


def test_whoever_may_not_make_control_groups_cannot_cut_servers_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgroup, "_mounts", lambda: {"": Path("/nowhere")})
    [lack] = cgroup.missing()
    assert lack.what == "permission to make control groups"
    monkeypatch.setattr(cgroup, "_mounts", dict)
    [lack] = cgroup.missing()
    assert lack.what == "control groups"


OWNER = """
import time
from bench.engines.live.provision import owner
print(owner.stamp(), flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("zookeeper://a:2181,b:2181/x", "zookeeper"),
        ("postgresql+psycopg://u:p@h/d", "sql"),
        ("postgresql://h/d", "sql"),
    ],
)
def test_a_url_tells_its_kind(url: str, kind: str) -> None:
    assert kind_of(url) == kind


@pytest.mark.parametrize("url", ["sqlite:///x.db", "memory://", "nonsense"])
def test_a_url_without_a_server_is_refused(url: str) -> None:
    with pytest.raises(ProvisionError, match=r"give zookeeper://.*postgresql\+psycopg://"):
        kind_of(url)


def test_a_url_of_the_other_kind_is_refused_beforehand() -> None:
    with pytest.raises(ProvisionError, match="not the kind of server wanted here"):
        missing(SQL, "zookeeper://127.0.0.1:2181/x")


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        (ZOOKEEPER, "zookeeper://u:s3cret@127.0.0.1:port/x"),
        (SQL, "postgresql+psycopg://u:s3cret@127.0.0.1:port/x"),
    ],
)
def test_a_malformed_url_is_refused_without_its_password(spec: ServerSpec, url: str) -> None:
    with (
        pytest.raises(ProvisionError, match="URL is malformed") as caught,
        provision(spec, where=url),
    ):
        pytest.fail("there was a server")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("servers", [0, 2, 4])
def test_an_ensemble_has_an_odd_number_of_servers(servers: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        ServerSpec("zookeeper", servers=servers)


def test_a_port_in_use_is_told_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = rf"port {port} .* in use by .* \(process {os.getpid()}\); stop that program"
        with pytest.raises(ProvisionError, match=told):
            ports(1, first=port)


def test_free_ports_are_out_of_the_way_of_clients() -> None:
    """A client's outgoing connection must not be given a port that a server is to listen on."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = ports(9, first=None)
    assert len(set(found)) == 9
    assert outgoing <= 20_000 or all(port < outgoing for port in found)
