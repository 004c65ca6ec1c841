"""Which servers, where, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from bench.engines.live.provision import cgroup, containers, external, firewall, images, local
from bench.engines.live.provision.deployment import Deployment
from bench.engines.live.provision.spec import Lack, ProvisionError, ServerSpec
from bench.engines.live.provision.startup import PortTakenError

ATTEMPTS = 3
"""Between finding a free port and listening on it, another program may take it."""


def missing(spec: ServerSpec, where: str = "auto") -> list[Lack]:
    """What this machine lacks for these servers; empty if `provision` can be tried.

    For `auto` one way is enough. The servers at a URL need nothing here and are not asked.
    """
    match where:
        case "local":
            return local.missing(spec)
        case "docker":
            return images.missing(spec)
        case "auto":
            by_docker = images.missing(spec)
            installed = local.missing(spec) if by_docker else []
            return by_docker + installed if installed else []
        case url:
            _expect_kind(spec, url)
            return []


def lacks_control(where: str, *, cut: bool = False) -> list[Lack]:
    """What keeps the servers there from being killed, paused and restarted; with `cut`, from
    being cut off from each other.

    `where` is as for `provision`.
    """
    if where not in ("auto", "docker", "local"):
        why = "the scenario has faults of servers, and those at a URL are somebody else's"
        return [Lack("servers of our own", why, "use --servers auto")]
    return firewall.missing() + cgroup.missing() if cut else []


def _unheard(_words: str) -> None: ...


@contextmanager
def provision(
    spec: ServerSpec,
    *,
    where: str = "auto",
    workdir: Path | None = None,
    tell: Callable[[str], None] = _unheard,
) -> Iterator[Deployment]:
    """Servers for as long as the block runs; when it is entered, all of them serve.

    `where` is `docker`, `local`, `auto` (Docker if it can be used, else local), or the membership
    URL of servers that already run; those are left alone at the end. Ours are stopped and wiped
    within a few seconds, whatever ends the block, with all that they wrote in a folder of their
    own below `workdir` (by default the system's temporary folder). `tell` hears of an image that
    has to be pulled or built first.

    Raises `ProvisionError`, with nothing left behind.
    """
    if where == "auto":
        where = _usable(spec, tell)
    elif lacks := missing(spec, where):
        raise _lacking(lacks)
    with ExitStack() as stack:
        if where == "docker":
            images.prepare(spec, tell)
        yield _enter(stack, spec, where, workdir)


def _enter(stack: ExitStack, spec: ServerSpec, where: str, workdir: Path | None) -> Deployment:
    if where not in ("docker", "local"):
        return external.deployment(where)
    for _ in range(ATTEMPTS - 1):
        with suppress(PortTakenError):
            return stack.enter_context(_servers(spec, where, workdir))
        if spec.port is not None:
            break
    return stack.enter_context(_servers(spec, where, workdir))


def _servers(
    spec: ServerSpec, where: str, workdir: Path | None
) -> AbstractContextManager[Deployment]:
    return containers.deploy(spec) if where == "docker" else local.deploy(spec, workdir)


def _usable(spec: ServerSpec, tell: Callable[[str], None]) -> str:
    """Docker, if its image is here or can be made so; else what is installed."""
    by_docker = images.missing(spec)
    if not by_docker:
        try:
            images.prepare(spec, tell)
        except ProvisionError as error:
            by_docker = [Lack("a Docker image", str(error), "choose --servers local")]
        else:
            return "docker"
    if installed := local.missing(spec):
        raise _lacking(by_docker + installed)
    return "local"


def _lacking(lacks: list[Lack]) -> ProvisionError:
    return ProvisionError("\n".join(f"{lack.what}: {lack.why}; {lack.command}" for lack in lacks))


def _expect_kind(spec: ServerSpec, url: str) -> None:
    if external.kind_of(url) != spec.kind:
        raise ProvisionError(
            f"{url.partition('://')[0]}:// is not the kind of server wanted here ({spec.kind}); "
            "give one URL for each kind"
        )
