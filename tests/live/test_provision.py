"""Real servers come up, say who they are, and are gone afterwards, whatever ended them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
import psutil
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import ProgrammingError

from bench.engines.live.provision import (
    Deployment,
    ProvisionError,
    Server,
    ServerSpec,
    cgroup,
    images,
    lacks_control,
    leftovers,
    missing,
    provision,
    remove,
)
from bench.engines.live.provision.containers import OWNER_LABEL
from tests.lacking import none_lacking

STANDALONE = ServerSpec("zookeeper")
ENSEMBLE = ServerSpec("zookeeper", servers=3)
POSTGRESQL = ServerSpec("sql")

SPECS = pytest.mark.parametrize(
    "spec",
    [
        pytest.param(STANDALONE, id="zookeeper"),
        pytest.param(ENSEMBLE, id="ensemble"),
        pytest.param(POSTGRESQL, id="postgresql"),
    ],
)
PLACES = pytest.mark.parametrize("where", ["local", "docker"])


@pytest.fixture
def workdir() -> Iterator[Path]:
    """A folder that everybody may enter, empty again at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        assert list(folder.iterdir()) == []


def require(spec: ServerSpec, where: str) -> None:
    """Skips where the servers are missing, but not in continuous integration."""
    none_lacking(missing(spec, where))


@dataclass
class Seen:
    """Servers, and their processes at the time."""

    servers: list[Server] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    def see(self, deployment: Deployment) -> None:
        self.servers += deployment.servers
        self.pids += [pid for server in deployment.servers for pid in server.pids]


@contextmanager
def nothing_left() -> Iterator[Seen]:
    """At the end the servers seen are gone, and so are our containers."""
    seen = Seen()
    yield seen
    assert seen.pids, "the test saw no server"
    assert_gone(seen.pids)
    for server in seen.servers:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port), timeout=5)
    assert containers_of(os.getpid()) == []


def assert_gone(pids: list[int]) -> None:
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    # A process whose parent was killed may stay a zombie for as long as nobody collects it.
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def containers_of(pid: int) -> list[str]:
    if any("engine" in lack.what for lack in missing(STANDALONE, "docker")):
        return []
    label = f"{OWNER_LABEL}={pid}"
    with closing(docker.from_env()) as engine:
        found = engine.containers.list(all=True, filters={"label": label})
    return [str(container.name) for container in found]


def use(deployment: Deployment) -> None:
    """Writes something and reads it back through the deployment's URL, as a client would."""
    if deployment.url.startswith("zookeeper://"):
        hosts = deployment.url.removeprefix("zookeeper://").partition("/")[0]
        client = KazooClient(hosts)
        client.start(timeout=20)
        try:
            client.ensure_path("/heartbench")
            client.create("/heartbench/node", b"value")
            assert client.get("/heartbench/node")[0] == b"value"
        finally:
            client.stop()
            client.close()
        return
    engine = create_engine(deployment.url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x int)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
        assert connection.scalar(text("SELECT count(*) FROM t")) == 1
        assert connection.scalar(text("SELECT count(*) FROM pg_stat_statements")) > 0


@PLACES
@SPECS
def test_servers_serve_and_leave_nothing(spec: ServerSpec, where: str, workdir: Path) -> None:
    require(spec, where)
    with (
        nothing_left() as seen,
        provision(spec, where=where, workdir=workdir) as deployment,
    ):
        seen.see(deployment)
        assert deployment.where == where
        assert len(seen.servers) == spec.servers
        roles = sorted(server.role() for server in seen.servers)
        if spec is ENSEMBLE:
            assert roles == ["follower", "follower", "leader"]
        else:
            assert roles == ["primary" if spec is POSTGRESQL else "standalone"]
        for server in seen.servers:
            [root] = server.pids
            program = "postgres" if spec is POSTGRESQL else "java"
            assert psutil.Process(root).name() == program
            assert server.log is None or server.log.is_relative_to(workdir)
        use(deployment)


@PLACES
def test_zookeeper_tells_the_settings_in_effect(where: str, workdir: Path) -> None:
    require(STANDALONE, where)
    spec = ServerSpec("zookeeper", tick=0.5, min_session_timeout=0.75, max_session_timeout=30.0)
    with provision(spec, where=where, workdir=workdir) as deployment:
        [server] = deployment.servers
        assert server.config["version"].startswith("3.")
        asked_of_the_server = {
            "tickTime": "500",
            "minSessionTimeout": "750",
            "maxSessionTimeout": "30000",
            "maxClientCnxns": "0",
        }
        assert asked_of_the_server.items() <= server.config.items()
        assert str(workdir) not in str(server.config)


@PLACES
def test_postgresql_is_durable_and_tells_its_settings(where: str, workdir: Path) -> None:
    require(POSTGRESQL, where)
    spec = ServerSpec("sql", synchronous_commit=False, max_connections=77)
    with provision(spec, where=where, workdir=workdir) as deployment:
        [server] = deployment.servers
        chosen = {
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "off",
            "max_connections": "77",
            "track_io_timing": "on",
            "listen_addresses": "127.0.0.1",
        }
        assert chosen.items() <= server.config.items()
        assert str(workdir) not in str(server.config)


@PLACES
@SPECS
def test_servers_listen_on_loopback_only(spec: ServerSpec, where: str, workdir: Path) -> None:
    require(spec, where)
    with provision(spec, where=where, workdir=workdir) as deployment:
        roots = [psutil.Process(pid) for server in deployment.servers for pid in server.pids]
        listening = [
            connection.laddr.ip
            for root in roots
            for connection in root.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr
        ]
        assert listening
        assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("local", KeyboardInterrupt),
        ("local", SystemExit),
        ("local", RuntimeError),
        ("docker", KeyboardInterrupt),
    ],
)
def test_any_exception_ends_the_servers(
    where: str, reason: type[BaseException], workdir: Path
) -> None:
    require(POSTGRESQL, where)

    def break_off(seen: Seen) -> None:
        with provision(POSTGRESQL, where=where, workdir=workdir) as deployment:
            seen.see(deployment)
            raise reason

    with nothing_left() as seen, pytest.raises(reason):
        break_off(seen)


@SPECS
def test_frozen_servers_are_ended_too(spec: ServerSpec, workdir: Path) -> None:
    require(spec, "local")
    with (
        nothing_left() as seen,
        provision(spec, where="local", workdir=workdir) as deployment,
    ):
        seen.see(deployment)
        for server in seen.servers:
            for pid in server.pids:
                os.kill(pid, signal.SIGSTOP)


@SPECS
def test_a_killed_harness_leaves_no_process(spec: ServerSpec) -> None:
    """Its folder stays, under a name that tells whose it is and with its owner's process id."""
    require(spec, "local")
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from bench.engines.live.provision import ServerSpec, provision\n"
        f"spec = ServerSpec({spec.kind!r}, servers={spec.servers})\n"
        "with provision(spec, where='local', workdir=Path(sys.argv[1])) as deployment:\n"
        "    print(*(pid for server in deployment.servers for pid in server.pids), flush=True)\n"
        "    time.sleep(300)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with subprocess.Popen(
            [sys.executable, "-c", program, name], stdout=subprocess.PIPE, text=True
        ) as harness:
            assert harness.stdout is not None
            roots = [psutil.Process(int(pid)) for pid in harness.stdout.readline().split()]
            everything = [*roots, *(c for root in roots for c in root.children(recursive=True))]
            harness.kill()
        assert len(roots) == spec.servers
        assert_gone([process.pid for process in everything])
        [folder] = Path(name).iterdir()
        assert folder.name.startswith("heartbench-")
        assert (folder / "owner.pid").read_text().startswith(f"{harness.pid}-")


def test_ctrl_c_reaches_the_harness_alone(workdir: Path) -> None:
    require(STANDALONE, "local")
    with provision(STANDALONE, where="local", workdir=workdir) as deployment:
        [pid] = deployment.servers[0].pids
        assert os.getpgid(pid) != os.getpgid(0)


@PLACES
@SPECS
def test_a_port_in_use_is_refused_with_its_number(
    spec: ServerSpec, where: str, workdir: Path
) -> None:
    require(spec, where)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        fixed = ServerSpec(spec.kind, servers=spec.servers, port=port)
        with (
            pytest.raises(ProvisionError, match=rf"port {port} .* in use .*stop that program"),
            provision(fixed, where=where, workdir=workdir),
        ):
            pytest.fail("it started")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        pytest.param(STANDALONE, "local", id="zookeeper-local"),
        pytest.param(POSTGRESQL, "local", id="postgresql-local"),
        pytest.param(STANDALONE, "docker", id="zookeeper-docker"),
    ],
)
def test_a_port_lost_at_the_last_moment_is_replaced(
    spec: ServerSpec, where: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between choosing a port and listening on it, another program may take it."""
    require(spec, where)
    place = "zookeeper" if spec.kind == "zookeeper" else "local"
    module = sys.modules[f"bench.engines.live.provision.{place}"]
    choose: Callable[[int, int | None, str], list[int]] = module.ports
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        lost = [taken]

        def choose_taken_first(count: int, first: int | None, host: str) -> list[int]:
            free = choose(count, first, host)
            return [lost.pop(), *free[1:]] if lost else free

        monkeypatch.setattr(module, "ports", choose_taken_first)
        with provision(spec, where=where, workdir=workdir) as deployment:
            assert lost == []
            assert all(server.port != taken for server in deployment.servers)


def test_a_fixed_port_is_the_one_to_connect_to(workdir: Path) -> None:
    require(POSTGRESQL, "local")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with provision(ServerSpec("sql", port=port), where="local", workdir=workdir) as deployment:
        assert deployment.servers[0].port == port


@PLACES
@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        # Fewer connections than PostgreSQL reserves; a minimum above the maximum.
        (ServerSpec("sql", max_connections=2), "superuser_reserved_connections"),
        (
            ServerSpec("zookeeper", min_session_timeout=9.0, max_session_timeout=8.0),
            "minSessionTimeout must not be larger than maxSessionTimeout",
        ),
    ],
)
def test_a_server_that_does_not_start_is_quoted(
    spec: ServerSpec, complaint: str, where: str, workdir: Path
) -> None:
    require(spec, where)
    with (
        pytest.raises(ProvisionError, match="mend what its last lines say") as caught,
        provision(spec, where=where, workdir=workdir),
    ):
        pytest.fail("it started")
    assert complaint in str(caught.value)
    assert containers_of(os.getpid()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root changes the user")
def test_a_work_folder_that_postgresql_cannot_enter_is_refused(workdir: Path) -> None:
    require(POSTGRESQL, "local")
    workdir.chmod(0o700)
    with (
        pytest.raises(ProvisionError, match="that everybody may enter"),
        provision(POSTGRESQL, where="local", workdir=workdir),
    ):
        pytest.fail("it started")


@pytest.mark.parametrize("spec", [STANDALONE, POSTGRESQL], ids=["zookeeper", "postgresql"])
def test_containers_tell_their_owner_and_take_their_volumes_along(
    spec: ServerSpec, workdir: Path
) -> None:
    """By the label, the containers of a killed harness can be found."""
    require(spec, "docker")
    with closing(docker.from_env()) as engine:
        with provision(spec, where="docker", workdir=workdir) as deployment:
            [name] = containers_of(os.getpid())
            mounts = engine.containers.get(name).attrs["Mounts"]
            volumes = [mount["Name"] for mount in mounts]
            assert volumes
            assert deployment.servers[0].config["container.memory_limit"]
        assert containers_of(os.getpid()) == []
        assert {volume.name for volume in engine.volumes.list()}.isdisjoint(volumes)


def test_the_first_build_of_an_image_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    require(STANDALONE, "docker")
    images.prepare(STANDALONE, print)  # so that the second build finds its steps done
    name = f"heartbench/trial-{os.getpid()}"
    monkeypatch.setitem(images.OUR_IMAGES, "zookeeper", name)
    told: list[str] = []
    try:
        images.prepare(STANDALONE, told.append)
        assert told == [f"building the image {name}, once"]
        images.prepare(STANDALONE, told.append)
        assert len(told) == 1
    finally:
        with images.engine() as engine:
            engine.images.remove(name)


@SPECS
def test_external_servers_are_asked_and_left_alone(spec: ServerSpec, workdir: Path) -> None:
    require(spec, "local")
    with provision(spec, where="local", workdir=workdir) as ours:
        with provision(spec, where=ours.url) as theirs:
            assert theirs.where == "external"
            assert theirs.url == ours.url
            for here, there in zip(ours.servers, theirs.servers, strict=True):
                assert (there.host, there.port) == (here.host, here.port)
                assert there.pids == ()
                assert there.role() == here.role()
                assert there.config["version"] == here.config["version"]
        use(ours)


def test_an_external_password_is_never_shown(workdir: Path) -> None:
    require(POSTGRESQL, "local")
    with provision(POSTGRESQL, where="local", workdir=workdir) as ours:
        url = ours.url.replace("heartbench@", "heartbench:s3cret@")
        with provision(POSTGRESQL, where=url) as theirs:
            assert theirs.url == url
            assert "s3cret" not in repr(theirs)
    with (
        pytest.raises(ProvisionError, match=r"cannot use .*heartbench:.*correct the URL") as caught,
        provision(POSTGRESQL, where=url),
    ):
        pytest.fail("there was a server")
    assert "s3cret" not in str(caught.value)


def test_an_ensemble_with_a_server_down_is_refused(workdir: Path) -> None:
    require(STANDALONE, "local")
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    with provision(STANDALONE, where="local", workdir=workdir) as ours:
        hosts = f"127.0.0.1:{ours.servers[0].port},127.0.0.1:{free}"
        with (
            pytest.raises(ProvisionError, match=f"no ZooKeeper answers at 127.0.0.1:{free}"),
            provision(STANDALONE, where=f"zookeeper://{hosts}/x"),
        ):
            pytest.fail("a server was down")


@PLACES
@pytest.mark.parametrize("spec", [STANDALONE, POSTGRESQL], ids=["zookeeper", "postgresql"])
def test_a_server_keeps_name_port_and_data_through_everything(
    spec: ServerSpec, where: str, workdir: Path
) -> None:
    require(spec, where)
    with (
        nothing_left() as seen,
        provision(spec, where=where, workdir=workdir) as deployment,
    ):
        seen.see(deployment)
        use(deployment)
        [server] = deployment.servers
        control = deployment.control(server.name)
        for end in (control.kill, control.stop):
            old = server.pids
            end()
            assert server.pids == ()
            end()  # harmless
            assert_gone(list(old))
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((server.host, server.port), timeout=5)
            control.start()
            assert len(server.pids) == 1
            assert server.pids != old
            with pytest.raises((NodeExistsError, ProgrammingError)):
                use(deployment)  # what it wrote is there already
        control.pause()
        control.pause()
        assert not control.serves()
        control.go_on()
        control.go_on()
        assert control.serves()
        control.pause()
        control.kill()  # one that stands still, too
        control.start()
        seen.see(deployment)


@PLACES
def test_servers_that_stand_still_or_are_down_at_the_end_are_gone_too(
    where: str, workdir: Path
) -> None:
    require(ENSEMBLE, where)
    with (
        nothing_left() as seen,
        provision(ENSEMBLE, where=where, workdir=workdir) as deployment,
    ):
        seen.see(deployment)
        deployment.control("zk-1").kill()
        deployment.control("zk-2").pause()


def test_a_server_may_be_started_by_a_thread_that_ends(workdir: Path) -> None:
    """It isn't that thread's child, with which the kernel would end it."""
    require(POSTGRESQL, "local")
    with provision(POSTGRESQL, where="local", workdir=workdir) as deployment:
        control = deployment.control("pg")
        control.kill()
        starter = threading.Thread(target=control.start)
        starter.start()
        starter.join()
        assert control.pids()
        use(deployment)


def test_clients_may_be_given_another_address_than_loopback(workdir: Path) -> None:
    """As those of racks, which have a network of their own."""
    host = "127.0.0.77"
    for spec in (ServerSpec("sql", host=host), ServerSpec("zookeeper", servers=3, host=host)):
        require(spec, "local")
        with provision(spec, where="local", workdir=workdir) as deployment:
            assert {server.host for server in deployment.servers} == {host}
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", deployment.servers[0].port), timeout=5)
            use(deployment)


@pytest.mark.usefixtures("dead_harnesses")
@PLACES
def test_what_a_killed_harness_leaves_is_found_and_removed(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers, folders, control groups, packet rules; never those of one that lives."""
    require(ENSEMBLE, where)
    program = (
        "import time\n"
        "from bench.engines.live.meters.servers import servers\n"
        "from bench.engines.live.provision import ServerSpec, lacks_control, provision\n"
        "with provision(ServerSpec('zookeeper', servers=3), where=WHERE) as deployment:\n"
        "    one, *others = (server.control for server in deployment.servers)\n"
        "    one.pause()\n"
        "    with servers(deployment):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(300)\n"
    ).replace("WHERE", repr(where))
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        with (
            provision(STANDALONE, where=where) as living,
            subprocess.Popen(
                [sys.executable, "-c", program],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"TMPDIR": name},
            ) as harness,
        ):
            assert harness.stdout is not None
            assert harness.stdout.readline() == "ready\n"
            assert of(harness.pid) == []
            harness.kill()
            harness.wait()
            found = of(harness.pid)
            kinds = [what.partition(" ")[0] for what in found]
            assert kinds.count("container") == (3 if where == "docker" else 0)
            assert kinds.count("folder") == (1 if where == "local" else 0)
            if not lacks_control(where, cut=True):
                assert kinds.count("chain") == 2
            for leftover in leftovers():
                if leftover.owner == harness.pid:
                    remove(leftover)
                    remove(leftover)  # as if somebody else had been faster
            assert of(harness.pid) == []
            assert containers_of(harness.pid) == []
            use(living)
        assert list(Path(name).iterdir()) == []


def of(pid: int) -> list[str]:
    """What is left of that harness, the right way round to remove it."""
    return [leftover.what for leftover in leftovers() if leftover.owner == pid]


def test_control_groups_that_vanish_while_they_are_looked_for_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' come and go all the time."""
    for number in range(3):
        (tmp_path / str(number) / f"heartbench-{number}-0-pg").mkdir(parents=True)

    def dead(stamped: str) -> int:
        owner = stamped.partition("-")[0]
        for parent in tmp_path.iterdir():
            if parent.name != owner:
                shutil.rmtree(parent)
        return int(owner)

    monkeypatch.setattr(cgroup, "_mounts", lambda: {"": tmp_path})
    monkeypatch.setattr(cgroup, "dead", dead)
    [(path, owner)] = cgroup.abandoned()
    assert path == str(tmp_path / str(owner) / f"heartbench-{owner}-0-pg")


def test_two_servers_of_one_name_have_control_groups_of_their_own() -> None:
    """As a harness has that measures two runs at once, or a suite of tests."""
    with cgroup.group("pg") as one, cgroup.group("pg") as other:
        assert len(one.folders) == len(other.folders)
        assert not set(one.folders) & set(other.folders)
