"""What a machine lacks is told before anything starts, with the command that mends it."""

import os
import socket
from pathlib import Path

import pytest

from bench.engines.live.provision import ProvisionError, ServerSpec, kind_of, missing, provision
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
