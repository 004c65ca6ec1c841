"""How many files a shard's process may have open."""

from __future__ import annotations

import resource

from bench.errors import MachineError

OWN_FILES = 100
"""Files that the shard has open besides its services' sockets."""


def make_room(sockets: int) -> None:
    """Let this process have so many sockets. Raises: MachineError where it may not."""
    need = sockets + OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= need:
        return
    if hard != resource.RLIM_INFINITY and hard < need:
        raise MachineError(
            f"{sockets:,} wire services want a socket each, and a process may have {hard:,} files "
            f"open here: sudo prlimit --pid $$ --nofile={need}:{need}, or fewer services"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
