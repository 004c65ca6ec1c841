"""Network namespaces: how to work in one, whose they are, and how to be rid of them.

Ours are named after the harness that made them, `hb-PID-STARTED-NUMBER-PART`: the process's id
together with its start tells it from another that was given the same id later.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.engines.live.leftovers import Leftover
from bench.errors import MachineError

FOLDER = Path("/run/netns")
"""Where `ip netns` keeps the names."""

UPLINK = "host"
"""The fabric's end of its link to the host: deleted with both ends."""

_CLONE_NEWNET = 0x40000000
_NAME = re.compile(r"hb-(?P<pid>\d+)-(?P<started>\d+)-\d+-(?:fabric|rack-\d+)")
_WHAT = "network namespace "
_PATIENCE = 5.0
"""How long what was killed in a namespace may take to end, in s."""

_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class CommandFailed(MachineError):
    """A command that sets up networks was refused. Its text is the command and what it said."""


def run(*command: str, text: str = "") -> str:
    """What the command, given ``text``, has to say. Ctrl-C reaches the harness alone.

    Raises: CommandFailed.
    """
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, process_group=0
    )
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise CommandFailed(f"`{' '.join(command)}` was refused: {said}")
    return done.stdout


@dataclass(frozen=True)
class Family:
    """The names of one fabric's parts; another one for every call of `mine`."""

    pid: int
    started: int
    number: int

    @classmethod
    def mine(cls) -> Family:
        pid = os.getpid()
        return cls(pid, _started(pid) or 0, next(_numbers))

    @property
    def fabric(self) -> str:
        return f"hb-{self.pid}-{self.started}-{self.number}-fabric"

    def rack(self, number: int) -> str:
        return f"hb-{self.pid}-{self.started}-{self.number}-rack-{number}"

    @property
    def device(self) -> str:
        """The host's end of its link to the fabric: 15 characters at most."""
        return f"hb-{self.pid}-{self.number % 1000}"


def inside(name: str) -> tuple[str, ...]:
    """The prefix of a command that is to run in the namespace."""
    return ("ip", "netns", "exec", name)


def within(name: str, call: Callable[[], T]) -> T:
    """The call's result, from a thread that is in the namespace. A socket or a device that it
    opens stays there for good."""

    def enter() -> int:
        with (FOLDER / name).open("rb") as namespace:
            result: int = _libc.setns(namespace.fileno(), _CLONE_NEWNET)
            return result

    return _elsewhere(enter, call)


def secluded(call: Callable[[], T]) -> T:
    """The call's result, from a thread in an empty namespace that is gone afterwards."""
    return _elsewhere(lambda: int(_libc.unshare(_CLONE_NEWNET)), call)


def forward() -> None:
    """Have the namespace of the calling thread pass on what is for others. Raises: OSError."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


def _elsewhere(enter: Callable[[], int], call: Callable[[], T]) -> T:
    def work() -> T:
        if enter() != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return call()

    # A thread of its own, since a thread that moved can't be given back to the others' work.
    with ThreadPoolExecutor(1, thread_name_prefix="heartbench-netns") as thread:
        return thread.submit(work).result()


def delete(name: str) -> None:
    """Be rid of a namespace, and of every device in it; harmless where there is none."""
    if (FOLDER / name).exists():
        # By itself the kernel removes devices some time later, and the host's end with them.
        with suppress(CommandFailed):
            run("ip", "-n", name, "link", "delete", UPLINK)
        with suppress(CommandFailed):
            run("ip", "netns", "delete", name)


def leftovers() -> list[Leftover]:
    """The namespaces of harnesses that are dead."""
    names = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
    ours = [match for name in names if (match := _NAME.fullmatch(name))]
    return [
        Leftover(f"{_WHAT}{match[0]}", int(match["pid"]))
        for match in ours
        if not _is_owner_alive(match)
    ]


def remove(leftover: Leftover) -> None:
    """Be rid of one, and of the processes that still run in it; harmless to repeat.

    Raises: ValueError for what is no leftover of ours; MachineError where it can't be removed.
    """
    name = leftover.what.removeprefix(_WHAT)
    match = _NAME.fullmatch(name)
    if match is None or _is_owner_alive(match):
        raise ValueError(f"{leftover.what} is not the namespace of a dead harness")
    deadline = time.monotonic() + _PATIENCE
    while (FOLDER / name).exists() and (pids := run("ip", "netns", "pids", name).split()):
        for pid in map(int, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise MachineError(f"{leftover.what}: the processes {' '.join(pids)} don't end")
        time.sleep(0.02)
    delete(name)
    if (FOLDER / name).exists():
        raise MachineError(f"{leftover.what} can't be removed; try: ip netns delete {name}")


def _is_owner_alive(name: re.Match[str]) -> bool:
    return _started(int(name["pid"])) == int(name["started"])


def _started(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()  # a command's name may hold anything
    return None if state in "ZX" else int(rest[18])
