"""Which services live in which shard, and where that shard's process is put. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.plan import SHARD_SERVICES, Run
from bench.scenario import SqlBackend


@dataclass(frozen=True, slots=True)
class Allotment:
    """One shard of a run."""

    name: str
    client: Literal["wire", "library"]
    members: tuple[int, ...]
    """Its services, by index."""
    rack: int | None = None
    """The rack whose network its process lives in; None: the host's."""
    source: str = ""
    """The loopback address that it connects from; empty: any."""
    connections: int = 0
    """Database connections that its wire services share."""


def allot(run: Run) -> tuple[Allotment, ...]:
    """The shards of a run: one for each kind of client, more where there are too many services
    for one process, and one of its own for each rack whose links are to fail.

    Each of several shards on the host has a source address of its own, so that none runs out of
    ports towards one server.
    """
    return tuple(_allotments(run))


def _allotments(run: Run) -> Iterator[Allotment]:
    linked = np.isin(run.rack, run.linked_racks)
    clients: tuple[Literal["wire", "library"], ...] = ("wire", "library")
    for client in clients:
        chosen = run.library if client == "library" else ~run.library
        here = np.flatnonzero(chosen & ~linked)
        chunks = np.array_split(here, -(-len(here) // SHARD_SERVICES)) if len(here) else []
        for number, chunk in enumerate(chunks):
            yield Allotment(
                name=f"{client}-{number}",
                client=client,
                members=tuple(chunk.tolist()),
                source=f"127.0.0.{2 + number}" if len(chunks) > 1 else "",
                connections=_connections(run, client, len(chunk), share=len(chunk) / len(here)),
            )
        for rack in run.linked_racks:
            if members := tuple(np.flatnonzero(chosen & (run.rack == rack)).tolist()):
                yield Allotment(
                    name=f"{client}-rack-{rack}",
                    client=client,
                    members=members,
                    rack=rack,
                    connections=_connections(run, client, len(members)),
                )


def _connections(run: Run, client: str, members: int, share: float = 1.0) -> int:
    """A rack of its own has all of them too, since its services can't use the others'; but none
    has more than it has services."""
    if client != "wire" or not isinstance(run.backend, SqlBackend):
        return 0
    return min(members, max(1, round(run.backend.connections * share)))
