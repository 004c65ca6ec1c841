"""What dead harnesses have left of their servers: found by whose it is, and removed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from bench.engines.live.leftovers import Leftover
from bench.engines.live.provision import cgroup, containers, firewall, local
from bench.engines.live.provision.owner import dead


def leftovers() -> list[Leftover]:
    """Containers, packet rules, folders with the processes in them, control groups.

    In this order they can be removed. Those of living harnesses are not among them, nor is what
    this user may not see.
    """
    return [
        Leftover(f"{kind} {name}", owner)
        for kind, (find, _) in _KINDS.items()
        for name, owner in find()
    ]


def remove(leftover: Leftover) -> None:
    """Take it away; one that is gone by now is no error. Raises MachineError, or OSError."""
    kind, _, name = leftover.what.partition(" ")
    _, take_away = _KINDS[kind]
    take_away(name)


def _folders() -> Iterator[tuple[str, int]]:
    for folder in Path(tempfile.gettempdir()).glob(f"{local.PREFIX}*"):
        with suppress(OSError):  # not one of ours, or gone meanwhile
            owner = dead((folder / local.OWNER).read_text().strip())
            if owner is not None:
                yield str(folder), owner


def _remove_folder(name: str) -> None:
    """And whatever still runs in it."""
    inside = [process for process in psutil.process_iter() if _runs_in(process, name)]
    for process in inside:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(inside, timeout=10)
    with suppress(FileNotFoundError):
        shutil.rmtree(name)


def _runs_in(process: psutil.Process, folder: str) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except (psutil.Error, OSError):
        return False


_KINDS = {
    "container": (containers.abandoned, containers.remove),
    "chain": (firewall.abandoned, firewall.remove),
    "folder": (_folders, _remove_folder),
    "cgroup": (cgroup.abandoned, cgroup.remove),
}
