"""Whose a thing is: the harness that made it, which a later process of that number is not."""

from __future__ import annotations

import os
from pathlib import Path


def stamp() -> str:
    """This process, as part of the name of whatever it makes: its number and when it started."""
    return f"{os.getpid()}-{_started(os.getpid()):x}"


def dead(stamped: str) -> int | None:
    """The number of the process that made this, if it has ended; None if it lives.

    What bears no stamp of ours counts as somebody's who lives.
    """
    pid, _, started = stamped.partition("-")
    try:
        number, then = int(pid), int(started, 16)
    except ValueError:
        return None
    return None if _started(number) == then else number


def _started(pid: int) -> int:
    """Clock ticks from the machine's start to the process's; -1 if there is none, or a zombie.

    Not a time of day, which somebody may set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    state, *fields = stat.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(fields[18])
