"""Control groups: by its own, a server's packets and its writes to disk can be told.

A container has one anyway. A local server is given one below the harness's, without any limits,
where that is permitted: in the unified hierarchy, which packet rules know, and in the older one
that accounts for disks, where there is one.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from bench.engines.live.provision.owner import dead, stamp
from bench.engines.live.provision.spec import Lack

_PREFIX = "heartbench-"
_numbers = count(1)
"""A harness may run several servers of one name."""

ENDING = 5.0
"""Seconds for the last traces of a killed process to go."""


def missing() -> list[Lack]:
    """What keeps us from giving a server a group that packet rules know."""
    mounted = _mounts().get("")
    with group("trial") as made:
        if mounted and any(each.is_relative_to(mounted) for each in made.folders):
            return []
    why = "by it a server's packets are told from those of others"
    if mounted is None:
        mend = "mount the unified hierarchy: mount -t cgroup2 none /mnt"
        return [Lack("control groups", why, mend)]
    return [Lack("permission to make control groups", why, "run as root")]


@dataclass(frozen=True)
class Group:
    """The folders of one control group, one in each hierarchy that counts."""

    folders: tuple[Path, ...]

    def add(self, pid: int) -> None:
        """From now on, what the process opens and writes, and what its children do, is its."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))


@contextmanager
def group(name: str) -> Iterator[Group]:
    """A group of our own, gone at the end; its processes must have ended by then.

    Without any folder where this user may not make one.
    """
    made = []
    with ExitStack() as stack:
        for controller in ("", "blkio"):
            with suppress(OSError):
                if (parent := folder(os.getpid(), controller)) is not None:
                    own = parent / f"{_PREFIX}{stamp()}-{next(_numbers)}-{name}"
                    own.mkdir()
                    stack.callback(remove, str(own))
                    made.append(own)
        yield Group(tuple(made))


def path(pid: int) -> str | None:
    """The process's group in the unified hierarchy, as packet rules name it."""
    found = _paths(pid).get("")
    return None if found is None else found.strip("/")


def folder(pid: int, controller: str) -> Path | None:
    """Where the process's group in a hierarchy is; `""` is the unified one."""
    mounted, found = _mounts().get(controller), _paths(pid).get(controller)
    return None if mounted is None or found is None else mounted / found.strip("/")


def own_folder(pid: int, controller: str) -> Path | None:
    """The same, if it is a group of its own: not the one that this process is in."""
    found = folder(pid, controller)
    return None if found == folder(os.getpid(), controller) else found


def abandoned() -> Iterator[tuple[str, int]]:
    """The groups of dead harnesses, each with its owner."""
    for mounted in _mounts().values():
        for parent, names, _ in os.walk(mounted):  # unlike rglob it bears that groups vanish
            for name in names:
                stamped = "-".join(name.removeprefix(_PREFIX).split("-")[:2])
                if name.startswith(_PREFIX) and (owner := dead(stamped)) is not None:
                    yield str(Path(parent, name)), owner


def remove(name: str) -> None:
    """Take a group of ours away, whose processes have ended; harmless if it is gone."""
    deadline = time.monotonic() + ENDING
    while True:
        try:
            Path(name).rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _paths(pid: int) -> dict[str, str]:
    """Controller -> the process's group; empty once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return {}
    return {
        controller: place
        for _, controllers, place in (line.split(":", 2) for line in lines)
        for controller in controllers.split(",")
    }


@cache
def _mounts() -> dict[str, Path]:
    """Controller -> where its hierarchy is mounted; the unified one under `""` ."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[""] = Path(place)
        elif kind == "cgroup" and "blkio" in options.split(","):
            found["blkio"] = Path(place)
    return found
