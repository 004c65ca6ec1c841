"""What can be done to real servers: stopped, killed and started again on their data, cut apart."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from bench.engines.live.provision import Deployment


@dataclass
class Mortal:
    """One server's process, which may be another one later."""

    address: str
    pid: int
    command: list[str]
    folder: str
    uid: int
    popen: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return psutil.pid_exists(self.pid) and (
            psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        )

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> None:
        """Have it stand still; its kernel goes on taking connections."""
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):  # one of its short-lived children
                process.suspend()

    def go_on(self) -> None:
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self) -> None:
        """End it at once: PostgreSQL by an immediate shutdown, which saves nothing either."""
        family = self.tree()
        postgres = "postgres" in self.command[0]
        os.kill(self.pid, signal.SIGQUIT if postgres else signal.SIGKILL)
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)
        if self.popen is not None:
            self.popen.wait(10)

    def start(self) -> None:
        """Start it again, on the data that it left. It dies with the calling thread."""
        self.popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
            cwd=self.folder,
            user=self.uid,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        self.pid = self.popen.pid


@contextmanager
def mortal(deployment: Deployment) -> Iterator[list[Mortal]]:
    """The deployment's servers; those started again here end with the block."""
    servers = []
    for server in deployment.servers:
        process = psutil.Process(server.pids[0])
        servers.append(
            Mortal(
                f"{server.host}:{server.port}",
                process.pid,
                process.cmdline(),
                process.cwd(),
                process.uids().real,
            )
        )
    try:
        yield servers
    finally:
        for each in servers:
            if each.popen is not None and each.alive:
                with suppress(psutil.NoSuchProcess):
                    each.go_on()
                each.kill()


def can_cut() -> bool:
    """Whether connections of this machine can be cut here."""
    try:
        listed = subprocess.run(
            ["iptables", "-w", "-L", "INPUT", "-n"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return listed.returncode == 0


@contextmanager
def cut(one: Mortal, other: Mortal) -> Iterator[int]:
    """No packet arrives any more on the connections that the two have now; how many those are."""
    theirs = set(_established(other))
    shared = [(near, far) for near, far in _established(one) if (far, near) in theirs]
    rules = [
        ["-p", "tcp", "-i", "lo", "--sport", str(sport), "--dport", str(dport), "-j", "DROP"]
        for near, far in shared
        for sport, dport in ((near, far), (far, near))
    ]
    done = []
    try:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-I", "INPUT", *rule], check=True)
            done.append(rule)
        yield len(shared)
    finally:
        for rule in done:
            subprocess.run(["iptables", "-w", "-D", "INPUT", *rule], check=True)


def _established(server: Mortal) -> list[tuple[int, int]]:
    """Local and remote port of each connection that the server has."""
    return [
        (each.laddr.port, each.raddr.port)
        for each in psutil.Process(server.pid).net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED
    ]
