"""What processes and the machine use, by the accounts of the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

import psutil

from bench.engines.live.meters import Meter, Reading
from bench.engines.live.provision import cgroup

MEMORY_PERIOD = 5.0
MEMORY_SHARE = 1 / 200
"""Memory is read so seldom, in s, and at most for this share of one core: the kernel walks all
pages for it."""

Pids = Iterable[int] | Callable[[], Iterable[int]]
"""Some processes; or what tells which they are now, since a server may be started again."""


def tree(source: str, pids: Pids, *, children: bool = True) -> Meter:
    """A meter of these processes and (with ``children``) all that descend from them.

    ``cpu_seconds``: user and system, those of ended children included.
    ``rss_bytes``: resident memory, what processes share counted once (the kernel's PSS).
    Without readings while there is no such process.
    """
    now = current(pids)
    due = 0.0

    def read() -> Iterator[Reading]:
        nonlocal due
        roots = list(now())
        if (cpu := _accounted(roots)) is None:
            cpu = _added_up(_processes(roots, children))
        if cpu is not None:
            yield Reading(source, "cpu_seconds", cpu, "s")
        start, before = time.monotonic(), time.thread_time()
        if start >= due and (memory := _memory(_processes(roots, children))):
            took = time.thread_time() - before
            due = start + max(MEMORY_PERIOD, took / MEMORY_SHARE)
            yield Reading(source, "rss_bytes", memory, "bytes")

    return Meter(f"{source} processes", read)


def memory(processes: Mapping[str, int]) -> Meter:
    """A meter of ``rss_bytes``, as of `tree`, of each of these processes alone, by its name.

    Without readings of what has ended.
    """

    def read() -> Iterator[Reading]:
        for source, pid in processes.items():
            if octets := _memory(_processes([pid], children=False)):
                yield Reading(source, "rss_bytes", octets, "bytes")

    return Meter("memory of processes", read, MEMORY_PERIOD)


def current(pids: Pids) -> Callable[[], Iterable[int]]:
    """What tells which they are now."""
    if callable(pids):
        return pids
    fixed = tuple(pids)
    return lambda: fixed


def _processes(roots: Iterable[int], children: bool) -> Iterator[psutil.Process]:
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            yield root
            if children:
                yield from root.children(recursive=True)


def _accounted(roots: Iterable[int]) -> float | None:
    """What the kernel has accounted for their control groups; None unless these are their own."""
    groups = {cgroup.own_folder(pid, "") for pid in roots}
    total = 0.0
    for group in groups:
        if group is None:
            return None
        try:
            words = (group / "cpu.stat").read_text().split()
        except OSError:
            return None
        total += int(words[words.index("usage_usec") + 1]) / 1e6
    return total if groups else None


def _added_up(processes: Iterable[psutil.Process]) -> float | None:
    """What each has used, and those of its children that it has collected."""
    used = None
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            times = process.cpu_times()
            used = (used or 0.0) + sum((times.user, times.system))
            used += times.children_user + times.children_system
    return used


def _memory(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            try:
                total += process.memory_full_info().pss
            except psutil.AccessDenied:
                total += process.memory_info().rss
    return total


def _machine() -> Iterator[Reading]:
    """What goes over the loopback interface and to the disks, whoever causes it.

    Servers, services and observers speak over loopback (headers included, each byte counted
    once); the harness's own parts speak over pipes. Disks are read at the device: what the kernel
    accounts to a process are whole pages, of up to 2 MiB, for each write of 8 KiB.
    """
    for name, counters in psutil.net_io_counters(pernic=True).items():
        if name == "lo":
            yield Reading("machine", "network_bytes", counters.bytes_recv, "bytes")
    if (disks := psutil.disk_io_counters()) is not None:
        yield Reading("machine", "disk_write_bytes", disks.write_bytes, "bytes")


machine = Meter("machine", _machine)
