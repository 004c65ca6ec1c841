"""What a run is expected to take of the machine, from what was measured on small ones."""

import math
from dataclasses import dataclass

from bench.plan.faults import OnLinks, OnServers, OnServices
from bench.plan.runs import Run
from bench.scenario import Backend, SqlBackend


@dataclass(frozen=True)
class Cost:
    """What a run is expected to take, from what was measured on small machines."""

    seconds: float
    """By the clock, with starting and stopping the servers."""
    connections: int
    """To the servers, all told."""
    open_files: int
    """Of the one process that needs most: the one that holds the wire services."""
    ports: int
    """Local ports towards one server."""
    processes: int
    memory: int
    """Bytes, servers included."""
    cores: float
    """Processor cores in the steady state, servers included."""
    unseen: float
    """Seconds that the run ends too early for the slowest detection of a death or a cut; 0 is as
    it ought to be. Victims not detected by then count as missed."""


MB = 1_000_000
OWN_FILES = 128
"""Files that a process of the harness has open besides its connections."""
LIBRARY_CONNECTIONS = 2
"""Database connections of one member that is the library: one to beat, one to read."""
JOIN_CONNECTIONS = 4
"""Database connections that a shard's wire services have for joins and leaves alone, which always
wait for the disk."""
SHARD_SERVICES = 12_000
"""The most wire services in one process: it may have 20,000 files open on many machines, and one
event loop pings more than these in time."""
RACK_PROCESSES = 2
"""For each rack with a network of its own: the shards of its wire and of its library services."""


def cost(run: Run) -> Cost:
    """An estimate, for `heartbench plan` and for checks beforehand. Errs upwards."""
    services, observers, backend = run.scenario.services, run.scenario.observers, run.backend
    count, library = services.count, services.library
    wire = count - library
    if backend.kind == "sql":
        connections = _database_connections(run, backend)
        ports, files = connections, min(backend.connections, wire) + JOIN_CONNECTIONS
        servers = 1
        start = 5.0
        memory = 150 * MB + connections * 10 * MB + wire * 2_000
        statement = 350e-6 if backend.profile == "nova" else 140e-6
        read_every = max(backend.timeout - backend.interval / 2, 0.001)
        reads = 1 / read_every * 200e-6 if backend.poll == "read" else 2e-6 / backend.poll
        cores = count * (statement / backend.interval + observers * reads)
    else:
        connections = count + observers
        servers = backend.servers
        # While others are down one server may have them all. Each shard has ports of its own.
        left = 1 if any(isinstance(fault, OnServers) for fault in run.faults) else servers
        shards = math.ceil(max(wire, 1) / SHARD_SERVICES)
        ports, files = math.ceil(connections / shards / left), math.ceil(wire / shards)
        start = 4.0 if servers == 1 else 8.0
        memory = servers * (350 * MB + math.ceil(count / servers) * 25_000) + wire * 5_000
        pings = 3 / backend.session_timeout
        cores = count * pings * 130e-6
    return Cost(
        seconds=start + library * 0.02 + run.duration + 2.0,
        connections=connections,
        open_files=files + OWN_FILES,
        ports=ports,
        processes=4 + observers + library + servers + RACK_PROCESSES * len(run.linked_racks),
        memory=memory + 300 * MB + library * 12 * MB + observers * count * 1_000,
        cores=cores,
        unseen=_unseen(run),
    )


def _database_connections(run: Run, backend: SqlBackend) -> int:
    """Those of a linked rack twice: a server that hasn't heard of a cut keeps its end of them."""
    services = run.scenario.services
    wire, members = services.count - services.library, services.library + run.scenario.observers
    pools = min(backend.connections, wire) + JOIN_CONNECTIONS * math.ceil(wire / SHARD_SERVICES)
    for rack in run.linked_racks:
        library = run.library[run.rack == rack]
        pools += 2 * (min(backend.connections, int((~library).sum())) + JOIN_CONNECTIONS)
        members += int(library.sum())
    return pools + LIBRARY_CONNECTIONS * members


def slowest_detection(backend: Backend) -> float:
    """Seconds from a crash to its detection at the latest, by the closed form, on idle servers."""
    if backend.kind == "sql":
        # A tuned reader counts from when it saw the last beat itself, one poll late, to a poll.
        polls = 2 if backend.profile == "tuned" else 1
        return backend.timeout + (0.0 if backend.poll == "read" else polls * backend.poll)
    follower = 0.0 if backend.servers == 1 else backend.tick / 2
    return backend.session_timeout + backend.tick + follower


def forgiven(backend: Backend) -> float:
    """Seconds for which a service may be silent without fail, by the closed form."""
    if backend.kind == "sql":
        return backend.timeout - backend.interval
    return backend.session_timeout * 2 / 3


def _unseen(run: Run) -> float:
    """Deaths, and what cuts services off for longer than that is forgiven."""
    silent = [
        float(fault.at[-1])
        for fault in run.faults
        if (isinstance(fault, OnServices) and fault.kind in ("crash", "power-loss"))
        or (
            isinstance(fault, OnLinks)
            and fault.kind == "cut"
            and fault.duration > forgiven(run.backend)
        )
    ]
    if not silent:
        return 0.0
    return max(0.0, max(silent) + slowest_detection(run.backend) - run.phases[-1].end)
