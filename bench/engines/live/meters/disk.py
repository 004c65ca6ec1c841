"""What a server has the disks write, by the account that the kernel keeps for its control group.

The account of a process, `/proc/PID/io`, won't do: since Linux has large folios, it shows up to
2 MiB for a write of 8 KiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from bench.engines.live.meters import Meter, Reading
from bench.engines.live.meters.processes import Pids, current
from bench.engines.live.provision import cgroup

PERIOD = 2.0

UNLIMITED = 1 << 50
"""Bytes a second. Since Linux 6.9 the older hierarchy counts only where there is a limit."""


def disk(source: str, pids: Pids) -> Meter:
    """A meter of ``disk_write_bytes``: what the processes' control group had written.

    Without readings where they have no group of their own, or nobody counts. These are the writes
    that a program itself waits for, such as those of a log before a commit; what the kernel
    writes out later isn't told apart by all kernels, so the machine's own figure may be higher.
    """
    now = current(pids)
    counting: set[Path] = set()

    def read() -> Iterator[Reading]:
        written = []
        for pid in now():
            group = cgroup.own_folder(pid, "blkio") or cgroup.own_folder(pid, "")
            if group is None:
                continue
            if group not in counting:
                counting.add(group)
                _have_it_count(group)
            if (octets := _written(group)) is not None:
                written.append(octets)
        if written:
            yield Reading(source, "disk_write_bytes", sum(written), "bytes")

    return Meter(f"{source} disk", read, PERIOD)


def _have_it_count(group: Path) -> None:
    for disk in _disks():
        with suppress(OSError):
            limits = group / "blkio.throttle.write_bps_device"
            if limits.exists():
                limits.write_text(f"{disk} {UNLIMITED}")


def _written(group: Path) -> float | None:
    """Bytes so far, on all disks; None if nobody counts."""
    disks = _disks()
    with suppress(OSError):
        # "254:0 Write 1318912"
        lines = map(str.split, (group / "blkio.throttle.io_service_bytes").read_text().splitlines())
        return sum(float(line[2]) for line in lines if line[0] in disks and line[1] == "Write")
    with suppress(OSError):
        # "254:0 rbytes=0 wbytes=1318912 rios=0 wios=24 dbytes=0 dios=0"
        lines = map(str.split, (group / "io.stat").read_text().splitlines())
        return sum(float(line[2].partition("=")[2]) for line in lines if line[0] in disks)
    return None


@cache
def _disks() -> frozenset[str]:
    """Their numbers; without what is only made up of other ones."""
    physical = (each for each in Path("/sys/block").iterdir() if (each / "device").exists())
    return frozenset((each / "dev").read_text().strip() for each in physical)
