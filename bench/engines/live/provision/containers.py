"""Servers in Docker containers on the host's network, from our own images or the official ones."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from signal import SIGKILL

from docker.errors import NotFound
from docker.models.containers import Container

from bench.engines.live.provision import postgresql, zookeeper
from bench.engines.live.provision.deployment import Deployment, Server
from bench.engines.live.provision.images import OUR_IMAGES, engine, missing_engine
from bench.engines.live.provision.owner import dead, stamp
from bench.engines.live.provision.process import STOP_TIMEOUT, died
from bench.engines.live.provision.spec import ServerSpec
from bench.engines.live.provision.startup import ports, wait_until
from bench.errors import InvalidRun
from bench.interruption import Cleanup

RUN_LABEL = "heartbench.run"
OWNER_LABEL = "heartbench.owner"
STAMP_LABEL = "heartbench.owner-stamp"


@dataclass
class Contained:
    """A container. Its verbs are those of `control.Body`."""

    name: str
    id: str
    _pids: tuple[int, ...] = ()
    """Kept, because a question to the engine costs more than a meter may."""

    def pids(self) -> tuple[int, ...]:
        return self._pids

    def launch(self) -> None:
        with self._container() as container:
            container.start()
            container.reload()
            # 0 for one that has ended already
            self._pids = tuple(pid for pid in (int(container.attrs["State"]["Pid"]),) if pid)

    def expect_running(self) -> None:
        with self._container() as container:
            if container.status in ("exited", "dead"):
                log = container.logs(tail=50).decode("utf-8", "replace").splitlines()
                raise died(self.name, container.attrs["State"]["ExitCode"], log)

    def kill(self) -> None:
        with self._container() as container:
            if container.status in ("running", "paused"):
                container.kill(SIGKILL)
                container.wait()
        self._pids = ()

    def stop(self) -> None:
        with self._container() as container:
            container.stop(timeout=int(STOP_TIMEOUT))
            container.reload()
            code = container.attrs["State"]["ExitCode"]
        self._pids = ()
        if code == 128 + SIGKILL:
            raise InvalidRun(f"{self.name} was told to stop, and ran on for {STOP_TIMEOUT:g} s")

    def pause(self) -> None:
        with self._container() as container:
            if container.status == "running":
                container.pause()
            container.reload()
            if container.status != "paused":
                raise InvalidRun(f"{self.name} was not stopped: it is {container.status}")

    def go_on(self) -> None:
        with self._container() as container:
            if container.status == "paused":
                container.unpause()

    @contextmanager
    def _container(self) -> Iterator[Container]:
        with engine() as client:
            yield client.containers.get(self.id)


@contextmanager
def deploy(spec: ServerSpec) -> Iterator[Deployment]:
    """The servers, up and serving; at the end their containers and volumes are gone.

    The image stays. The containers of a killed harness are found by their labels:
    `heartbench.owner` is its process id.
    """
    run = uuid.uuid4().hex[:12]
    start = _zookeeper if spec.kind == "zookeeper" else _postgresql
    with Cleanup() as stack:
        stack.callback(_remove_all, run)
        yield start(spec, run)


def abandoned() -> Iterator[tuple[str, int]]:
    """The containers of dead harnesses, each with its owner; none where no engine answers."""
    if missing_engine():
        return
    with engine() as client:
        ours: dict[str, str | list[str] | bool] = {"label": STAMP_LABEL}
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            owner = dead(container.labels[STAMP_LABEL])
            if owner is not None and container.name:
                yield container.name, owner


def remove(name: str) -> None:
    """Take a container away, and its volumes."""
    with engine() as client, suppress(NotFound):
        client.containers.get(name).remove(v=True, force=True)


def _zookeeper(spec: ServerSpec, run: str) -> Deployment:
    ensemble = zookeeper.sockets(spec)
    members = zookeeper.members(ensemble)
    settings = zookeeper.settings(spec)
    heap = zookeeper.heap_megabytes(spec)
    memory = f"{heap + 536}m"
    containers = []
    for number in range(1, spec.servers + 1):
        environment = {
            "ZOO_MY_ID": str(number),
            "ZOO_SERVERS": " ".join(f"{key}={value}" for key, value in members.items()),
            "ZK_SERVER_HEAP": str(heap),
            **_official_zookeeper(settings),
        }
        containers.append(_start(spec, run, f"zk-{number}", environment, memory=memory))
    addresses = [(sockets.host, sockets.client) for sockets in ensemble]
    wait_until(
        lambda: zookeeper.serving(addresses),
        check=lambda: _expect_running(containers),
        what="ZooKeeper",
    )
    servers = tuple(
        Server(
            kind="zookeeper",
            name=container.name,
            host=sockets.host,
            port=sockets.client,
            config=settings
            | members
            | zookeeper.configuration(sockets.host, sockets.client)
            | _container_configuration(container, memory),
            control=zookeeper.control(container, sockets),
        )
        for container, sockets in zip(containers, ensemble, strict=True)
    )
    return Deployment(url=zookeeper.url(addresses), servers=servers, where="docker")


def _official_zookeeper(settings: dict[str, str]) -> dict[str, str]:
    """The settings under the names that the official image gives them."""
    names = {
        "tickTime": "ZOO_TICK_TIME",
        "initLimit": "ZOO_INIT_LIMIT",
        "syncLimit": "ZOO_SYNC_LIMIT",
        "maxClientCnxns": "ZOO_MAX_CLIENT_CNXNS",
        "standaloneEnabled": "ZOO_STANDALONE_ENABLED",
        "admin.enableServer": "ZOO_ADMINSERVER_ENABLED",
        "4lw.commands.whitelist": "ZOO_4LW_COMMANDS_WHITELIST",
    }
    extra = [f"{key}={value}" for key, value in settings.items() if key not in names]
    return {names[key]: value for key, value in settings.items() if key in names} | {
        "ZOO_CFG_EXTRA": " ".join(extra)
    }


def _postgresql(spec: ServerSpec, run: str) -> Deployment:
    [port] = ports(1, first=spec.port, host=spec.host)
    environment = {
        "POSTGRES_USER": postgresql.USER,
        "POSTGRES_DB": postgresql.DATABASE,
        "POSTGRES_HOST_AUTH_METHOD": "trust",
        "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C",
        # Not a flag: the official image's preparatory server and its psql want to agree on it.
        "PGPORT": str(port),
    }
    command = ["postgres", *postgresql.flags(postgresql.settings(spec))]
    memory = f"{postgresql.memory_megabytes(spec)}m"
    container = _start(spec, run, "pg", environment, command=command, memory=memory)
    url = postgresql.url(spec.host, port)
    wait_until(
        lambda: postgresql.refusal(url) is None,
        check=container.expect_running,
        what="PostgreSQL",
    )
    postgresql.switch_on_statistics(url)
    server = Server(
        kind="sql",
        name=container.name,
        host=spec.host,
        port=port,
        config=postgresql.configuration(url) | _container_configuration(container, memory),
        control=postgresql.control(container, url),
    )
    return Deployment(url=url, servers=(server,), where="docker")


def _start(
    spec: ServerSpec,
    run: str,
    name: str,
    environment: dict[str, str],
    *,
    memory: str,
    command: list[str] | None = None,
) -> Contained:
    """Not removed automatically: it may start again, and the log of one that dies is wanted."""
    with engine() as client:
        container = client.containers.create(
            spec.image or OUR_IMAGES[spec.kind],
            command,
            name=f"heartbench-{run}-{name}",
            detach=True,
            environment=environment,
            labels={RUN_LABEL: run, OWNER_LABEL: str(os.getpid()), STAMP_LABEL: stamp()},
            mem_limit=memory,
            network_mode="host",
            shm_size="256m",
        )
    contained = Contained(name, str(container.id))
    contained.launch()
    return contained


def _expect_running(containers: Sequence[Contained]) -> None:
    for container in containers:
        container.expect_running()


def _container_configuration(contained: Contained, memory: str) -> dict[str, str]:
    with engine() as client:
        image = client.containers.get(contained.id).image
    return {
        "container.image": ", ".join(image.tags) if image else "",
        "container.image_id": str(image.id) if image else "",
        "container.memory_limit": memory,
    }


def _remove_all(run: str) -> None:
    with engine() as client:
        label = f"{RUN_LABEL}={run}"
        for container in client.containers.list(all=True, filters={"label": label}):
            with suppress(NotFound):
                container.remove(v=True, force=True)
