"""Servers as processes of this machine, from the binaries that are installed here."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM

from bench.engines.live.provision import postgresql, zookeeper
from bench.engines.live.provision.deployment import (
    LOOPBACK,
    Deployment,
    Lack,
    ProvisionError,
    Server,
    ServerSpec,
)
from bench.engines.live.provision.process import Process, stop_all
from bench.engines.live.provision.startup import ports, wait_until
from bench.interruption import Cleanup, postponed

INSTALL = "run containers/install-packages servers"
UNPRIVILEGED = "postgres"
"""PostgreSQL refuses to run as root; its package brings this user."""

INITDB_TIMEOUT = 60.0

_JARS = Path("/usr/share/java")
_CLASS_PATH = (_JARS / "slf4j-simple.jar", _JARS / "zookeeper.jar")
_VERSIONS = Path("/usr/lib/postgresql")


def missing(spec: ServerSpec) -> list[Lack]:
    """What has to be installed before these servers can run here."""
    lacks = []
    if shutil.which("setpriv") is None:
        lacks.append(
            Lack("setpriv", "it lets no server outlive the harness", "install util-linux"),
        )
    if spec.kind == "zookeeper":
        if shutil.which("java") is None:
            lacks.append(Lack("Java", "ZooKeeper needs it, and PATH has no java", INSTALL))
        if not all(jar.exists() for jar in _CLASS_PATH):
            lacks.append(Lack("ZooKeeper", f"its jars are not in {_JARS}", INSTALL))
    else:
        if _postgresql_binaries() is None:
            lacks.append(Lack("PostgreSQL", f"it is neither on PATH nor in {_VERSIONS}", INSTALL))
        if os.getuid() == 0 and _uid_gid(UNPRIVILEGED) is None:
            lacks.append(Lack(f"the user {UNPRIVILEGED}", "PostgreSQL won't run as root", INSTALL))
    return lacks


@contextmanager
def deploy(spec: ServerSpec, workdir: Path | None) -> Iterator[Deployment]:
    """The servers, up and serving; at the end they and their folder are gone.

    They also die with the thread that entered, even by SIGKILL: enter from one that lives on.
    """
    with Cleanup() as stack:
        # Whoever finds this folder when its owner is dead may remove it.
        with postponed():
            temporary = tempfile.TemporaryDirectory(
                prefix="heartbench-", dir=workdir, ignore_cleanup_errors=True
            )
            folder = Path(stack.enter_context(temporary))
        (folder / "owner.pid").write_text(f"{os.getpid()}\n")
        folder.chmod(0o711)
        processes: list[Process] = []
        stack.callback(stop_all, processes)
        start = _zookeeper if spec.kind == "zookeeper" else _postgresql
        yield start(spec, folder, processes)


def _zookeeper(spec: ServerSpec, folder: Path, processes: list[Process]) -> Deployment:
    ensemble = zookeeper.places(
        LOOPBACK, ports(zookeeper.Place.PORTS * spec.servers, first=spec.port)
    )
    settings = zookeeper.settings(spec) | zookeeper.members(ensemble)
    for number in range(1, spec.servers + 1):
        name = f"zk-{number}"
        home = folder / name
        home.mkdir()
        (home / "myid").write_text(f"{number}\n")
        lines = settings | {"dataDir": str(home)}
        (home / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        command = [
            "java",
            f"-Xmx{zookeeper.HEAP_MEGABYTES}m",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",  # it would leave a file outside the folder
            f"-Djava.io.tmpdir={home}",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
            "-cp",
            ":".join(map(str, _CLASS_PATH)),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(home / "zoo.cfg"),
        ]
        processes.append(
            Process.start(name, command, folder, stop_with=SIGTERM, die_with=SIGKILL),
        )

    addresses = [(place.host, place.client) for place in ensemble]
    wait_until(
        lambda: zookeeper.serving(addresses),
        check=lambda: _expect_running(processes),
        what="ZooKeeper",
    )
    servers = tuple(
        Server(
            kind="zookeeper",
            name=process.name,
            host=host,
            port=port,
            pids=(process.pid,),
            log=process.log,
            config=settings | zookeeper.configuration(host, port),
        )
        for process, (host, port) in zip(processes, addresses, strict=True)
    )
    return Deployment(url=zookeeper.url(addresses), servers=servers, where="local")


def _postgresql(spec: ServerSpec, folder: Path, processes: list[Process]) -> Deployment:
    binaries = _postgresql_binaries()
    assert binaries is not None, "missing() has looked"
    [port] = ports(1, first=spec.port)
    owner = _uid_gid(UNPRIVILEGED) if os.getuid() == 0 else None
    data = folder / "data"
    data.mkdir(mode=0o700)
    if owner is not None:
        os.chown(data, *owner)
        _expect_reachable(data, owner)

    initdb = [
        str(binaries / "initdb"),
        f"--pgdata={data}",
        f"--username={postgresql.USER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",  # the server itself does sync; this is only its first, empty state
        "--no-instructions",
    ]
    preparation = Process.start(
        "initdb", initdb, folder, stop_with=SIGTERM, die_with=SIGKILL, owner=owner
    )
    processes.append(preparation)
    try:
        if preparation.popen.wait(INITDB_TIMEOUT) != 0:
            raise preparation.failure()
    except subprocess.TimeoutExpired:
        raise ProvisionError(
            f"initdb was not done within {INITDB_TIMEOUT:.0f} s; is the disk full or overloaded?"
        ) from None

    settings = postgresql.settings(spec, LOOPBACK) | {
        "port": str(port),
        "unix_socket_directories": "",  # loopback only; and a deep folder's path would be too long
    }
    # SIGQUIT is an immediate shutdown, children included: the data goes the same moment.
    process = Process.start(
        "pg",
        [str(binaries / "postgres"), "-D", str(data), *postgresql.flags(settings)],
        folder,
        stop_with=SIGQUIT,
        die_with=SIGQUIT,
        owner=owner,
    )
    processes.append(process)
    wait_until(
        lambda: postgresql.refusal(postgresql.url(LOOPBACK, port, "postgres")) is None,
        check=lambda: _expect_running([process]),
        what="PostgreSQL",
    )
    url = postgresql.url(LOOPBACK, port)
    postgresql.create_database(LOOPBACK, port)
    postgresql.switch_on_statistics(url)
    server = Server(
        kind="sql",
        name=process.name,
        host=LOOPBACK,
        port=port,
        pids=(process.pid,),
        log=process.log,
        config=postgresql.configuration(url),
    )
    return Deployment(url=url, servers=(server,), where="local")


def _expect_running(processes: list[Process]) -> None:
    for process in processes:
        if process.popen.poll() is not None:
            raise process.failure()


def _expect_reachable(folder: Path, owner: tuple[int, int]) -> None:
    uid, gid = owner
    test = ["test", "-x", str(folder)]
    if subprocess.run(test, user=uid, group=gid, extra_groups=[], check=False).returncode != 0:
        raise ProvisionError(
            f"PostgreSQL runs as {UNPRIVILEGED}, who cannot enter {folder.parent.parent}; "
            "give a work folder that everybody may enter"
        )


def _postgresql_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: on PATH, else the newest that Debian installed."""
    if on_path := shutil.which("postgres"):
        return Path(on_path).resolve().parent
    installed = _VERSIONS.glob("*/bin/postgres")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    return newest.parent if newest else None


def _uid_gid(user: str) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
