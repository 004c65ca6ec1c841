"""A server as a child of the harness: it starts, tells why it failed, and never outlives us."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, Signals

import psutil

from bench.engines.live.provision.deployment import ProvisionError
from bench.engines.live.provision.startup import PortTakenError

STOP_TIMEOUT = 3.0
"""Seconds for all servers together to end by themselves; whatever is left is killed."""


@dataclass(frozen=True)
class Process:
    name: str
    log: Path
    popen: subprocess.Popen[bytes]
    stop_with: Signals

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        stop_with: Signals,
        die_with: Signals,
        owner: tuple[int, int] | None = None,
    ) -> Process:
        """Runs the command in `folder`, as `owner` (user and group id), its output in a log there.

        The kernel sends `die_with` once the calling thread is dead. `setpriv` asks for that and
        becomes the command; it comes after the change of user, which would clear the request.
        The process leads a group of its own, so that Ctrl-C reaches the harness alone.
        """
        uid, gid = owner or (None, None)
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", die_with.name.removeprefix("SIG"), "--", *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=uid,
                group=gid,
                extra_groups=None if owner is None else [],
                process_group=0,
            )
        return cls(name, log, popen, stop_with)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def failure(self) -> ProvisionError:
        """What to raise for a process that ended before its time."""
        lines = self.log.read_text(errors="replace").splitlines()
        return died(self.name, self.popen.returncode, lines)


def died(name: str, code: int, log: Sequence[str]) -> ProvisionError:
    """The error for a server that ended while starting, told from the log that it left."""
    said = tail(log)
    if "already in use" in "\n".join(log):
        return PortTakenError(
            f"{name} found its port in use; stop the program that has it or choose another port:\n"
            f"{said}"
        )
    return ProvisionError(
        f"{name} ended with exit code {code} while starting; mend what its last lines say:\n{said}"
    )


def tail(log: Sequence[str]) -> str:
    """The last lines of a log, indented, for the end of a message."""
    return "\n".join(f"    {line}" for line in log[-15:])


def stop_all(processes: Sequence[Process]) -> None:
    """Ends them and everything that they started, within a few seconds; harmless to repeat."""
    roots = [process for process in processes if process.popen.poll() is None]
    offspring = [child for root in roots for child in _children(root.pid)]
    for root in roots:
        root.popen.send_signal(root.stop_with)
        root.popen.send_signal(SIGCONT)  # a fault may have frozen it
    for child in offspring:
        with suppress(psutil.NoSuchProcess):
            child.resume()
    deadline = time.monotonic() + STOP_TIMEOUT
    for root in roots:
        try:
            root.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            root.popen.kill()
            root.popen.wait()
    _, left = psutil.wait_procs(offspring, timeout=max(0.0, deadline - time.monotonic()))
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(left, timeout=1.0)


def _children(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []
