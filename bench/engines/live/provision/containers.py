"""Servers in Docker containers on the host's network, from our own images or the official ones."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from bench.engines.live.provision import postgresql, zookeeper
from bench.engines.live.provision.deployment import (
    LOOPBACK,
    Deployment,
    Kind,
    Lack,
    ProvisionError,
    Server,
    ServerSpec,
)
from bench.engines.live.provision.process import died, tail
from bench.engines.live.provision.startup import ports, wait_until
from bench.interruption import Cleanup

OUR_IMAGES: dict[Kind, str] = {"sql": "heartbench/postgres", "zookeeper": "heartbench/zookeeper"}
BASE_IMAGE = "debian:bookworm-slim"
DEFAULT_HOST = "unix:///var/run/docker.sock"
RUN_LABEL = "heartbench.run"
OWNER_LABEL = "heartbench.owner"

ZOOKEEPER_MEMORY = f"{zookeeper.HEAP_MEGABYTES + 536}m"
POSTGRESQL_MEMORY = "2g"
"""Limits, stated in each server's configuration. PostgreSQL's counts its page cache."""

ENGINE_TIMEOUT = 120
"""Seconds for one answer of the engine; the build of an image streams, so each step counts."""

_SOURCES = Path(__file__).parents[4] / "containers"
_FOLDERS: dict[Kind, str] = {"sql": "postgres", "zookeeper": "zookeeper"}


def missing(spec: ServerSpec) -> list[Lack]:
    """What stands between this machine and the containers; nothing is pulled or built to find out.

    For an image that is not here, the engine asks its registry whether it can be had.
    """
    host = os.environ.get("DOCKER_HOST", DEFAULT_HOST)
    elsewhere = Lack(
        "a Docker engine on this machine",
        f"the one at {host} runs elsewhere, its servers could be neither reached nor metered",
        "unset DOCKER_HOST",
    )
    if not host.startswith("unix://"):
        return [elsewhere]
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except PermissionError:
            why = f"this user may not use the one at {host}"
            return [Lack("a Docker engine", why, "join the group docker")]
        except OSError as error:
            why = f"none answers at {host} ({error.strerror})"
            return [Lack("a Docker engine", why, "run containers/start-engine")]
    with _engine() as engine:
        # Docker Desktop's engine has a socket here, but runs in a virtual machine.
        if engine.info().get("KernelVersion") != os.uname().release:
            return [elsewhere]
        return _missing_image(engine, spec)


def _missing_image(engine: docker.DockerClient, spec: ServerSpec) -> list[Lack]:
    name = spec.image or OUR_IMAGES[spec.kind]
    if _here(engine, name):
        return []
    if spec.image is not None:
        if _obtainable(engine, name):
            return []
        why = "it is not on this machine and cannot be pulled"
        return [Lack(f"the image {name}", why, f"see what docker pull {name} says")]
    if not (_SOURCES / _FOLDERS[spec.kind]).is_dir():
        why = "it is built from the source tree's containers/, which this installation lacks"
        return [Lack(f"the image {name}", why, "build it there, or name another image")]
    if _here(engine, BASE_IMAGE) or _obtainable(engine, BASE_IMAGE):
        return []
    why = f"{name} is built on it; it is not on this machine and cannot be pulled"
    return [Lack(f"the image {BASE_IMAGE}", why, "run containers/make-base-image")]


def prepare(spec: ServerSpec) -> None:
    """Pulls the image, or builds it from `containers/`, unless it is on this machine already."""
    with _engine() as engine:
        name = spec.image or OUR_IMAGES[spec.kind]
        if _here(engine, name):
            return
        if spec.image is not None:
            engine.images.pull(name)
        else:
            _build(engine, name, _SOURCES / _FOLDERS[spec.kind])


@contextmanager
def deploy(spec: ServerSpec) -> Iterator[Deployment]:
    """The servers, up and serving; at the end their containers and volumes are gone.

    The image stays. The containers of a killed harness are found by their labels:
    `heartbench.owner` is its process id.
    """
    run = uuid.uuid4().hex[:12]
    start = _zookeeper if spec.kind == "zookeeper" else _postgresql
    with Cleanup() as stack:
        with _engine() as engine:
            stack.callback(_remove, run)
            deployment = start(engine, spec, run)
        yield deployment


def _zookeeper(engine: docker.DockerClient, spec: ServerSpec, run: str) -> Deployment:
    ensemble = zookeeper.places(
        LOOPBACK, ports(zookeeper.Place.PORTS * spec.servers, first=spec.port)
    )
    members = zookeeper.members(ensemble)
    settings = zookeeper.settings(spec)
    containers = []
    for number in range(1, spec.servers + 1):
        environment = {
            "ZOO_MY_ID": str(number),
            "ZOO_SERVERS": " ".join(f"{key}={value}" for key, value in members.items()),
            "ZK_SERVER_HEAP": str(zookeeper.HEAP_MEGABYTES),
            **_official_zookeeper(settings),
        }
        name = f"zk-{number}"
        containers.append(
            _start(engine, spec, run, name, environment, memory=ZOOKEEPER_MEMORY),
        )
    addresses = [(place.host, place.client) for place in ensemble]
    wait_until(
        lambda: zookeeper.serving(addresses),
        check=lambda: _expect_running(containers),
        what="ZooKeeper",
    )
    servers = tuple(
        Server(
            kind="zookeeper",
            name=f"zk-{number}",
            host=host,
            port=port,
            pids=(_pid(container),),
            config=settings
            | members
            | zookeeper.configuration(host, port)
            | _container_configuration(container, ZOOKEEPER_MEMORY),
        )
        for number, (container, (host, port)) in enumerate(
            zip(containers, addresses, strict=True), start=1
        )
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


def _postgresql(engine: docker.DockerClient, spec: ServerSpec, run: str) -> Deployment:
    [port] = ports(1, first=spec.port)
    environment = {
        "POSTGRES_USER": postgresql.USER,
        "POSTGRES_DB": postgresql.DATABASE,
        "POSTGRES_HOST_AUTH_METHOD": "trust",
        "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C",
        # Not a flag: the official image's preparatory server and its psql want to agree on it.
        "PGPORT": str(port),
    }
    command = ["postgres", *postgresql.flags(postgresql.settings(spec, LOOPBACK))]
    container = _start(
        engine, spec, run, "pg", environment, command=command, memory=POSTGRESQL_MEMORY
    )
    url = postgresql.url(LOOPBACK, port)
    wait_until(
        lambda: postgresql.refusal(url) is None,
        check=lambda: _expect_running([container]),
        what="PostgreSQL",
    )
    postgresql.switch_on_statistics(url)
    server = Server(
        kind="sql",
        name="pg",
        host=LOOPBACK,
        port=port,
        pids=(_pid(container),),
        config=postgresql.configuration(url)
        | _container_configuration(container, POSTGRESQL_MEMORY),
    )
    return Deployment(url=url, servers=(server,), where="docker")


def _start(
    engine: docker.DockerClient,
    spec: ServerSpec,
    run: str,
    name: str,
    environment: dict[str, str],
    *,
    memory: str,
    command: list[str] | None = None,
) -> Container:
    """Not removed automatically: the log of one that dies at once is wanted for the message."""
    return engine.containers.run(
        spec.image or OUR_IMAGES[spec.kind],
        command,
        name=f"heartbench-{run}-{name}",
        detach=True,
        environment=environment,
        labels={RUN_LABEL: run, OWNER_LABEL: str(os.getpid())},
        mem_limit=memory,
        network_mode="host",
        shm_size="256m",
    )


def _expect_running(containers: list[Container]) -> None:
    for container in containers:
        container.reload()
        if container.status in ("exited", "dead"):
            name = (container.name or "the server").rpartition("heartbench-")[2]
            log = container.logs(tail=50).decode("utf-8", "replace").splitlines()
            raise died(name.partition("-")[2], container.attrs["State"]["ExitCode"], log)


def _pid(container: Container) -> int:
    container.reload()
    return int(container.attrs["State"]["Pid"])


def _container_configuration(container: Container, memory: str) -> dict[str, str]:
    image = container.image
    return {
        "container.image": ", ".join(image.tags) if image else "",
        "container.image_id": str(image.id) if image else "",
        "container.memory_limit": memory,
    }


def _remove(run: str) -> None:
    with _engine() as engine:
        label = f"{RUN_LABEL}={run}"
        for container in engine.containers.list(all=True, filters={"label": label}):
            with suppress(NotFound):
                container.remove(v=True, force=True)


def _build(engine: docker.DockerClient, image: str, sources: Path) -> None:
    try:
        engine.images.build(
            path=str(sources),
            tag=image,
            network_mode="host",  # the build reaches Debian's packages the way the host does
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        output = "".join(str(part.get("stream") or part.get("error")) for part in error.build_log)
        raise ProvisionError(
            f"the image {image} could not be built; mend what the last lines say:\n"
            + tail(output.splitlines())
        ) from None
    finally:  # what a broken build, or an image replaced, leaves unnamed
        engine.images.prune(filters={"dangling": True, "label": "heartbench.image"})


def _here(engine: docker.DockerClient, image: str) -> bool:
    try:
        engine.images.get(image)
    except ImageNotFound:
        return False
    return True


def _obtainable(engine: docker.DockerClient, image: str) -> bool:
    try:
        engine.images.get_registry_data(image)
    except APIError:
        return False
    return True


@contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    """A connection for a few requests; what the engine refuses is an error of provisioning."""
    try:
        with closing(docker.from_env(timeout=ENGINE_TIMEOUT)) as client:
            yield client
    except DockerException as error:
        raise ProvisionError(
            f"the Docker engine said: {_said(error)}; mend that, or choose --servers local"
        ) from error


def _said(error: BaseException) -> str:
    """The reason at the bottom of the chain, which the SDK wraps several times."""
    while not isinstance(error, APIError) and (inner := error.__cause__ or error.__context__):
        error = inner
    return str(error.explanation or error) if isinstance(error, APIError) else str(error)
