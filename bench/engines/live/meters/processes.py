"""What processes and the machine use, read from /proc by psutil."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

from bench.engines.live.meters import Meter, Reading

MEMORY_EVERY = 5
"""Memory is read at every fifth reading: the kernel walks all pages for it."""


def tree(source: str, pids: Iterable[int], *, children: bool = True) -> Meter:
    """A meter of these processes and (with ``children``) all that descend from them.

    ``cpu_seconds``: user and system, those of ended and reaped children included.
    ``rss_bytes``: resident memory, what processes share counted once (the kernel's PSS).
    """
    roots = tuple(pids)
    count = 0

    def read() -> Iterator[Reading]:
        nonlocal count
        cpu = 0.0
        memory: float | None = 0.0 if count % MEMORY_EVERY == 0 else None
        count += 1
        for process in _processes(roots, children):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                times = process.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                if memory is not None:
                    memory += _memory(process)
        yield Reading(source, "cpu_seconds", cpu, "s")
        if memory is not None:
            yield Reading(source, "rss_bytes", memory, "bytes")

    return read


def _processes(roots: Iterable[int], children: bool) -> Iterator[psutil.Process]:
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            yield root
            if children:
                yield from root.children(recursive=True)


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return float(process.memory_info().rss)


def machine() -> Iterator[Reading]:
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
