"""A server as a child of the harness: started, stopped, frozen, killed; it never outlives us."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

import psutil

from bench.engines.live.provision.cgroup import Group
from bench.engines.live.provision.spec import ProvisionError
from bench.engines.live.provision.startup import PortTakenError
from bench.errors import InvalidRun

END_TIMEOUT = 3.0
"""Seconds for all servers together to end by themselves; whatever is left is killed."""

STOP_TIMEOUT = 60.0
"""Seconds for an orderly stop; PostgreSQL writes a checkpoint in them."""

CONFIRMATION = 10.0
"""Seconds for a signal that can't be caught to take effect."""

_SHARED_MEMORY = re.compile(r"^\S+ \S+ \S+ \S+ ([0-9]+) +(/SYSV\S+|/dev/shm/PostgreSQL\.[0-9]+)")


@dataclass(frozen=True)
class Command:
    """How a server is run."""

    name: str
    words: Sequence[str]
    folder: Path
    """Where it runs, and where its output is kept."""
    owner: tuple[int, int] | None = None
    """User and group id; None is ours."""
    stop_with: Signals = SIGTERM
    """Ends it in order."""
    die_with: Signals = SIGKILL
    """Ends it at once, with all that it holds of the system: what it gets when we end."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"


@dataclass
class Process:
    """A process that runs a command, and another one each time that it is launched.

    Its verbs are those of `control.Body`.
    """

    command: Command
    launcher: Executor
    """One thread that lives for as long as the servers: the kernel ends them when it does."""
    group: Group = field(default_factory=lambda: Group(()))
    _popen: subprocess.Popen[bytes] | None = None
    _left: frozenset[tuple[str, str]] = frozenset()
    """Shared memory that a killed one had: inode and path."""

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def log(self) -> Path:
        return self.command.log

    def pids(self) -> tuple[int, ...]:
        return (self._popen.pid,) if self._popen and self._popen.poll() is None else ()

    def launch(self) -> None:
        if not self.pids():
            self.launcher.submit(self._launch).result()

    def _launch(self) -> None:
        """The kernel sends `die_with` once the calling thread is dead. `setpriv` asks for that and
        becomes the command; it comes after the change of user, which would clear the request.
        The process leads a group of its own, so that Ctrl-C reaches the harness alone.
        """
        command = self.command
        uid, gid = command.owner or (None, None)
        signal = command.die_with.name.removeprefix("SIG")
        with command.log.open("ab") as output:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", signal, "--", *command.words],
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=uid,
                group=gid,
                extra_groups=None if command.owner is None else [],
                process_group=0,
            )
        with suppress(ProcessLookupError):  # it has ended already, which others will notice
            self.group.add(self._popen.pid)

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended; `subprocess.TimeoutExpired` if it goes on."""
        assert self._popen is not None, "it was launched"
        return self._popen.wait(timeout)

    def expect_running(self) -> None:
        if not self.pids():
            raise self.failure()

    def failure(self) -> ProvisionError:
        """What to raise for a process that ended before its time."""
        code = self._popen.returncode if self._popen else 0
        return died(self.name, code, self.log.read_text(errors="replace").splitlines())

    def kill(self) -> None:
        for pid in self.pids():
            family = self._halt(pid)
            self._left = frozenset(each for one in family for each in _shared_memory(one.pid))
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._expect(family, lambda each: not _runs(each), "killed")
            self.wait(CONFIRMATION)

    def stop(self) -> None:
        for pid in self.pids():
            family = _family(pid)
            family[0].send_signal(self.command.stop_with)
            try:
                self.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise InvalidRun(
                    f"{self.name} was told to stop, and ran on for {STOP_TIMEOUT:g} s"
                ) from None
            self._expect(family, lambda each: not _runs(each), "stopped")

    def pause(self) -> None:
        for pid in self.pids():
            self._halt(pid)

    def go_on(self) -> None:
        for pid in self.pids():
            family = _family(pid)
            for process in reversed(family):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(SIGCONT)
            self._expect(family, lambda each: not _stands_still(each), "resumed")

    def _halt(self, pid: int) -> list[psutil.Process]:
        """Stop the root, so that there will be no more children, then them; all of them."""
        root = psutil.Process(pid)
        root.send_signal(SIGSTOP)
        self._expect([root], _stands_still, "stopped")
        family = _family(pid)
        for process in family[1:]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(SIGSTOP)
        self._expect(family, lambda each: _stands_still(each) or not _runs(each), "stopped")
        return family

    def _expect(
        self, family: Sequence[psutil.Process], so: Callable[[psutil.Process], bool], what: str
    ) -> None:
        """Returns once it is so with all of them."""
        deadline = time.monotonic() + CONFIRMATION
        while not all(map(so, family)):
            if time.monotonic() > deadline:
                raise InvalidRun(f"{self.name} was not {what} within {CONFIRMATION:g} s")
            time.sleep(0.001)

    def release(self) -> None:
        """Free what a killed process, which wasn't launched again, still holds of the system."""
        if self.pids():
            return
        for inode, path in self._left:
            if path.startswith("/SYSV"):
                subprocess.run(["ipcrm", "-m", inode], capture_output=True, check=False)
            else:
                Path(path).unlink(missing_ok=True)
        self._left = frozenset()


def died(name: str, code: int, log: Sequence[str]) -> ProvisionError:
    """The error for a server that ended while starting, told from the log that it left."""
    said = tail(log)
    # Of this start alone, as far as one can tell.
    if "already in use" in "\n".join(log[-100:]):
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


def end_all(processes: Sequence[Process]) -> None:
    """Ends them and everything that they started, within a few seconds; harmless to repeat."""
    everybody = []
    for process in processes:
        for pid in process.pids():
            with suppress(psutil.NoSuchProcess):
                everybody += _family(pid)
                os.kill(pid, process.command.die_with)
    for each in everybody:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(SIGCONT)  # a fault may have frozen it
    _, left = psutil.wait_procs(everybody, timeout=END_TIMEOUT)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, timeout=END_TIMEOUT)
    for process in processes:
        process.release()


def _family(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it, the oldest first."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stands_still(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _shared_memory(pid: int) -> Iterator[tuple[str, str]]:
    """What PostgreSQL shares by name: a killed one leaves it for its next start to clear away."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        for line in lines:
            if found := _SHARED_MEMORY.match(line):
                yield found[1], found[2]
