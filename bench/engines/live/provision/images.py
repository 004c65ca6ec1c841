"""The Docker engine and its images: pulled, or built from `containers/`, when first wanted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from bench import shipped
from bench.engines.live.provision import zookeeper
from bench.engines.live.provision.process import tail
from bench.engines.live.provision.spec import Kind, Lack, ProvisionError, ServerSpec

OUR_IMAGES: dict[Kind, str] = {"sql": "heartbench/postgres", "zookeeper": "heartbench/zookeeper"}
BASE_IMAGE = "debian:bookworm-slim"
DEFAULT_HOST = "unix:///var/run/docker.sock"

ENGINE_TIMEOUT = 120
"""Seconds for one answer of the engine; the build of an image streams, so each step counts."""

_SOURCES = shipped.folder("containers")
_FOLDERS: dict[Kind, str] = {"sql": "postgres", "zookeeper": "zookeeper"}


def missing(spec: ServerSpec) -> list[Lack]:
    """What stands between this machine and the containers; nothing is pulled or built to find out.

    For an image that is not here, the engine asks its registry whether it can be had.
    """
    if lacks := missing_engine():
        return lacks
    with engine() as client:
        lacks = _missing_image(client, spec)
    return lacks + zookeeper.missing(spec) if spec.kind == "zookeeper" else lacks


def missing_engine() -> list[Lack]:
    """What stands between this machine and a Docker engine of its own."""
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
            return [Lack("a Docker engine", why, f"run {shipped.command('start-engine')}")]
    with engine() as client:
        # Docker Desktop's engine has a socket here, but runs in a virtual machine.
        here = client.info().get("KernelVersion") == os.uname().release
        return [] if here else [elsewhere]


def _missing_image(client: docker.DockerClient, spec: ServerSpec) -> list[Lack]:
    name = spec.image or OUR_IMAGES[spec.kind]
    if _here(client, name):
        return []
    if spec.image is not None:
        if _obtainable(client, name):
            return []
        why = "it is not on this machine and cannot be pulled"
        return [Lack(f"the image {name}", why, f"see what docker pull {name} says")]
    if not (_SOURCES / _FOLDERS[spec.kind]).is_dir():
        why = "it is built from containers/, which this installation lacks"
        return [Lack(f"the image {name}", why, "install heartbench again, or name another image")]
    if _here(client, BASE_IMAGE) or _obtainable(client, BASE_IMAGE):
        return []
    why = f"{name} is built on it; it is not on this machine and cannot be pulled"
    return [Lack(f"the image {BASE_IMAGE}", why, f"run {shipped.command('make-base-image')}")]


def prepare(spec: ServerSpec, tell: Callable[[str], None]) -> None:
    """Pulls the image, or builds it from `containers/`, unless it is on this machine already.

    `tell` hears of it beforehand: it takes half a minute, or as long as the network takes.
    """
    with engine() as client:
        name = spec.image or OUR_IMAGES[spec.kind]
        if _here(client, name):
            return
        if spec.image is not None:
            tell(f"pulling the image {name}")
            client.images.pull(name)
        else:
            tell(f"building the image {name}, once")
            _build(client, name, _SOURCES / _FOLDERS[spec.kind])


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """A connection for a few requests; what the engine refuses is an error of provisioning."""
    try:
        with closing(docker.from_env(timeout=ENGINE_TIMEOUT)) as client:
            yield client
    except DockerException as error:
        raise ProvisionError(
            f"the Docker engine said: {_said(error)}; mend that, or choose --servers local"
        ) from error


def _build(client: docker.DockerClient, image: str, sources: Path) -> None:
    try:
        client.images.build(
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
        client.images.prune(filters={"dangling": True, "label": "heartbench.image"})


def _here(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _obtainable(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get_registry_data(image)
    except APIError:
        return False
    return True


def _said(error: BaseException) -> str:
    """The reason at the bottom of the chain, which the SDK wraps several times."""
    while not isinstance(error, APIError) and (inner := error.__cause__ or error.__context__):
        error = inner
    return str(error.explanation or error) if isinstance(error, APIError) else str(error)
