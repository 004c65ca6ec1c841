"""Servers as processes of this machine, from the binaries that are installed here."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT, SIGQUIT

from bench import shipped
from bench.engines.live.provision import postgresql, zookeeper
from bench.engines.live.provision.cgroup import Group, group
from bench.engines.live.provision.deployment import Deployment, Server
from bench.engines.live.provision.owner import stamp
from bench.engines.live.provision.process import Command, Process, end_all
from bench.engines.live.provision.spec import LOOPBACK, Lack, ProvisionError, ServerSpec
from bench.engines.live.provision.startup import ports, wait_until
from bench.interruption import Cleanup, postponed

INSTALL = f"run {shipped.command('install-packages servers')}"
UNPRIVILEGED = "postgres"
"""PostgreSQL refuses to run as root; its package brings this user."""

PREFIX = "heartbench-"
OWNER = "owner.pid"
"""The folder of a run, and the file in it that says whose it is."""

OWN_FILES = 200
"""Those that a ZooKeeper server has open besides its clients' connections."""

INITDB_TIMEOUT = 60.0
JAVA_TIMEOUT = 30.0
"""Seconds for it to say its version."""

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
        if (why := _without_java()) is not None:
            lacks.append(Lack("Java", f"ZooKeeper needs it, and {why}", INSTALL))
        if not all(jar.exists() for jar in _CLASS_PATH):
            lacks.append(Lack("ZooKeeper", f"its jars are not in {_JARS}", INSTALL))
        lacks += zookeeper.missing(spec)
        lacks += _too_few_files(spec)
    else:
        if _postgresql_binaries() is None:
            lacks.append(Lack("PostgreSQL", f"it is neither on PATH nor in {_VERSIONS}", INSTALL))
        if os.getuid() == 0 and _uid_gid(UNPRIVILEGED) is None:
            lacks.append(Lack(f"the user {UNPRIVILEGED}", "PostgreSQL won't run as root", INSTALL))
    return lacks


def _too_few_files(spec: ServerSpec) -> list[Lack]:
    """Java raises its limit itself, as far as it may."""
    wanted = spec.sessions + OWN_FILES
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= wanted:
        return []
    return [
        Lack(
            f"open files: {allowed:,} a process, {wanted:,} needed",
            f"one ZooKeeper server alone may come to hold all {spec.sessions:,} sessions",
            f"sudo prlimit --pid $$ --nofile={wanted}:{wanted}",
        )
    ]


def _without_java() -> str | None:
    """Why there is no Java; None if there is one."""
    if (java := shutil.which("java")) is None:
        return "PATH has no java"
    try:
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, check=False, timeout=JAVA_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the java on PATH doesn't run: {error}"
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        return f"the java on PATH doesn't run: {said[-1] if said else done.returncode}"
    return None


@contextmanager
def deploy(spec: ServerSpec, workdir: Path | None) -> Iterator[Deployment]:
    """The servers, up and serving; at the end they and their folder are gone.

    They die with this process, even by SIGKILL.
    """
    with Cleanup() as stack:
        # Whoever finds this folder when its owner is dead may remove it.
        with postponed():
            temporary = tempfile.TemporaryDirectory(
                prefix=PREFIX, dir=workdir, ignore_cleanup_errors=True
            )
            folder = Path(stack.enter_context(temporary))
        (folder / OWNER).write_text(f"{stamp()}\n")
        folder.chmod(0o711)
        place = _Place(folder, stack)
        start = _zookeeper if spec.kind == "zookeeper" else _postgresql
        yield start(spec, place)


class _Place:
    """Where processes run: a folder, and the thread that they are the children of."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._groups = stack.enter_context(ExitStack())
        self._launcher = stack.enter_context(ThreadPoolExecutor(1, "heartbench-servers"))
        self._processes: list[Process] = []
        # By that thread, so that one that it has just started is among them.
        stack.callback(lambda: self._launcher.submit(end_all, self._processes).result())

    def start(self, command: Command, group: Group | None = None) -> Process:
        process = Process(command, self._launcher, group or Group(()))
        self._processes.append(process)
        process.launch()
        return process

    def group(self, name: str) -> Group:
        """For the processes of a server of that name."""
        return self._groups.enter_context(group(name))


def _zookeeper(spec: ServerSpec, place: _Place) -> Deployment:
    ensemble = zookeeper.sockets(spec)
    settings = zookeeper.settings(spec) | zookeeper.members(ensemble)
    processes = []
    for number in range(1, spec.servers + 1):
        name = f"zk-{number}"
        home = place.folder / name
        home.mkdir()
        (home / "myid").write_text(f"{number}\n")
        lines = settings | {"dataDir": str(home)}
        (home / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        words = [
            "java",
            f"-Xmx{zookeeper.heap_megabytes(spec)}m",
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
        processes.append(place.start(Command(name, words, place.folder), place.group(name)))

    addresses = [(sockets.host, sockets.client) for sockets in ensemble]
    wait_until(
        lambda: zookeeper.serving(addresses),
        check=lambda: _expect_running(processes),
        what="ZooKeeper",
    )
    servers = tuple(
        Server(
            kind="zookeeper",
            name=process.name,
            host=sockets.host,
            port=sockets.client,
            log=process.log,
            config=settings | zookeeper.configuration(sockets.host, sockets.client),
            control=zookeeper.control(process, sockets),
        )
        for process, sockets in zip(processes, ensemble, strict=True)
    )
    return Deployment(url=zookeeper.url(addresses), servers=servers, where="local")


def _postgresql(spec: ServerSpec, place: _Place) -> Deployment:
    binaries = _postgresql_binaries()
    assert binaries is not None, "missing() has looked"
    [port] = ports(1, first=spec.port, host=spec.host)
    owner = _uid_gid(UNPRIVILEGED) if os.getuid() == 0 else None
    data = place.folder / "data"
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
    preparation = place.start(Command("initdb", initdb, place.folder, owner))
    try:
        if preparation.wait(INITDB_TIMEOUT) != 0:
            raise preparation.failure()
    except subprocess.TimeoutExpired:
        raise ProvisionError(
            f"initdb was not done within {INITDB_TIMEOUT:.0f} s; is the disk full or overloaded?"
        ) from None
    if spec.host != LOOPBACK:
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {postgresql.neighbours(spec.host)} trust\n")

    settings = postgresql.settings(spec) | {
        "port": str(port),
        "unix_socket_directories": "",  # loopback only; and a deep folder's path would be too long
    }
    words = [str(binaries / "postgres"), "-D", str(data), *postgresql.flags(settings)]
    # SIGQUIT is an immediate shutdown, children included: the data goes the same moment.
    command = Command("pg", words, place.folder, owner, stop_with=SIGINT, die_with=SIGQUIT)
    process = place.start(command, place.group("pg"))
    wait_until(
        lambda: postgresql.refusal(postgresql.url(spec.host, port, "postgres")) is None,
        check=process.expect_running,
        what="PostgreSQL",
    )
    url = postgresql.url(spec.host, port)
    postgresql.create_database(spec.host, port)
    postgresql.switch_on_statistics(url)
    server = Server(
        kind="sql",
        name=process.name,
        host=spec.host,
        port=port,
        log=process.log,
        config=postgresql.configuration(url),
        control=postgresql.control(process, url),
    )
    return Deployment(url=url, servers=(server,), where="local")


def _expect_running(processes: Sequence[Process]) -> None:
    for process in processes:
        process.expect_running()


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
