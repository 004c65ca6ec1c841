"""Wall clocks that can be set off, for processes that run the library: libfaketime.

It is preloaded by `environment`, and reads each process's offset from a file in memory whenever
that process asks for the time. Clocks that only count, such as CLOCK_MONOTONIC, stay right.
"""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from bench.errors import MachineError

if TYPE_CHECKING:
    from bench.engines.live.provision import Lack

_PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/*")
_LIBRARY = "libfaketimeMT.so.1"
_FILE = "FAKETIME_TIMESTAMP_FILE"


def missing() -> list[Lack]:
    """What this machine lacks to set clocks off."""
    if _library() is not None:
        return []
    from bench.engines.live.provision import Lack  # not at import: no shard needs all of that

    why = "a fault sets the clocks of library services off, by libfaketime"
    return [Lack(_LIBRARY, why, "sudo apt-get install faketime")]


def environment() -> dict[str, str]:
    """The variables for a process whose members' clocks are to be set off.

    Raises: MachineError where libfaketime is missing.
    """
    if (library := _library()) is None:
        [lack] = missing()
        raise MachineError(f"{lack.what} is missing: {lack.why}; {lack.command}")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        _FILE: os.devnull,  # right, until `follow`
    }


def _library() -> Path | None:
    found = (path for place in _PLACES for path in Path("/").glob(f"{place[1:]}/{_LIBRARY}"))
    return next(found, None)


def prepare() -> None:
    """Make this process, started with `environment`, fit for use; before it imports anything that
    keeps a reference to `time.sleep`."""
    # libfaketime 0.9.10 garbles the instants of clock_nanosleep, by which Python sleeps.
    time.sleep = _sleep
    for variable in ("LD_PRELOAD", "FAKETIME_SHARED"):  # not for what this process starts
        os.environ.pop(variable, None)
    tidy(os.getpid())


def tidy(process: int) -> None:
    """Remove what libfaketime leaves behind of a killed process. One that lives keeps it mapped."""
    for name in (f"faketime_shm_{process}", f"sem.faketime_sem_{process}"):
        Path("/dev/shm", name).unlink(missing_ok=True)  # noqa: S108


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select((), (), (), float(seconds))


class Clock:
    """How far one process's wall clock is off."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("clock")
        self.set(0.0)

    def set(self, offset: float) -> None:
        """Set it off by so many s, from the process's next look at it on."""
        os.pwrite(self.fd, f"{offset:+020.6f}\n".encode(), 0)

    def close(self) -> None:
        os.close(self.fd)


def follow(clock: int) -> None:
    """From now on this process goes by the `Clock` of this file descriptor, which it inherited."""
    os.environ[_FILE] = f"/proc/self/fd/{clock}"
