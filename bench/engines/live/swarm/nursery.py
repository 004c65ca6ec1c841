"""A process that never has a thread, so that members can be forked from it at any time.

It is forked from the shard's before that has any, with all imports done: a member costs some
milliseconds and little memory of its own. Members end with it, and it ends with the shard.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bench.engines.live.swarm.serve import die_with_parent

PATIENCE = 5.0
"""No process takes this long, in s, to be forked, to stop or to end, unless the machine hangs."""

Work = Callable[[int, Sequence[int]], None]
"""What a member does, given its number and its files."""


class Child:
    """A member's process. Not a child in the system's sense: nothing has to be reaped."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = os.pidfd_open(pid)
        """Readable once it has ended."""

    def kill(self) -> None:
        """End it; return once it has. Raises: TimeoutError."""
        self._signal(signal.SIGKILL)
        ended = select.poll()  # its files may have any number, unlike those of `select.select`
        ended.register(self.fd, select.POLLIN)
        if not ended.poll(PATIENCE * 1e3):
            raise TimeoutError(f"process {self.pid} doesn't end")

    def stop(self) -> None:
        """Stop all its threads; return once they stand. Raises: TimeoutError."""
        self._signal(signal.SIGSTOP)
        for _ in range(int(PATIENCE / 0.001)):
            if self._stands():
                return
            select.select((), (), (), 0.001)
        raise TimeoutError(f"process {self.pid} doesn't stop")

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        os.close(self.fd)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, number)

    def _stands(self) -> bool:
        """Whether the kernel says of every thread that it is stopped; or there is none."""
        try:
            threads = list(Path(f"/proc/{self.pid}/task").iterdir())
            states = [(thread / "stat").read_text().rpartition(") ")[2][:1] for thread in threads]
        except (FileNotFoundError, ProcessLookupError):
            return not Path(f"/proc/{self.pid}").exists()
        return all(state in "TZX" for state in states)


class Nursery:
    """Forks members that do ``work``; ``kept`` are the files that all of them share."""

    def __init__(self, work: Work, kept: Sequence[int]) -> None:
        self._socket, theirs = socket.socketpair()
        parent = os.getpid()
        if os.fork() == 0:
            try:
                die_with_parent(parent)
                close_all_but(theirs.fileno(), *kept)
                _tend(theirs, work, kept)
            finally:
                os._exit(0)
        theirs.close()
        self._socket.settimeout(PATIENCE)

    def bear(self, number: int, files: Sequence[int]) -> Child:
        """A new process that does the work. Raises: OSError."""
        socket.send_fds(self._socket, [number.to_bytes(8)], list(files))
        pid = int.from_bytes(self._socket.recv(8))
        if not pid:
            raise OSError("the process that members are forked from has ended")
        return Child(pid)

    def close(self) -> None:
        """End it, and whoever was forked from it and lives on."""
        self._socket.close()


def _tend(orders: socket.socket, work: Work, kept: Sequence[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own = os.getpid()
    while True:
        number, files, _, _ = socket.recv_fds(orders, 8, 16)
        if not number:
            return
        if (pid := os.fork()) == 0:
            die_with_parent(own)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            close_all_but(*files, *kept)
            work(int.from_bytes(number), files)
            os._exit(0)
        for file in files:
            os.close(file)
        orders.send(pid.to_bytes(8))


def close_all_but(*kept: int) -> None:
    """Close every file from 3 on that isn't named."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
