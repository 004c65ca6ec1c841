"""What is done to servers: killed, paused, restarted, cut off from each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager

from bench.engines.live.faults.stage import Stage
from bench.engines.live.faults.timed import timed
from bench.engines.live.provision import Control, Role, Server
from bench.engines.live.swarm.shard import Event, monotonic
from bench.errors import InvalidRun
from bench.kind import Kind
from bench.plan import OnServers

CHOOSING = 30.0
"""Seconds for an ensemble to have one leader, where a fault wants to know which that is."""

ANSWER = 1.0
"""Seconds for a server to say what it is."""

RETURNING = 120.0
"""Seconds for a server to serve again once it may."""

PERIOD = 0.02

LEADING = frozenset(("leader", "standalone", "primary"))

_ONSETS = {
    "kill": Kind.SERVER_KILLED,
    "pause": Kind.SERVER_PAUSED,
    "restart": Kind.SERVER_STOPPED,
    "cut": Kind.SERVER_CUT,
}


@contextmanager
def inflict(fault: OnServers, stage: Stage) -> Iterator[None]:
    """Hit the fault's servers at its instant; on leaving they are healed, and serve again.

    Which ones they are shows at that instant, by what they say they are. Each onset is told once
    it is confirmed, with the server's role and the s that it took; each return once the server
    has served, in one role, for a tick: it is when that tick began. At the end the block
    raises what went wrong: InvalidRun where it had no effect, ProvisionError where a server
    didn't come back.
    """
    [at] = fault.at.tolist()
    with timed(stage.t0 + at, fault.duration, _hit(fault, stage)):
        yield


@contextmanager
def _hit(fault: OnServers, stage: Stage) -> Iterator[None]:
    servers = {server.name: server for server in stage.deployment.servers}
    roles, names = _choose(fault, stage.deployment.servers)
    hits: dict[str, float] = {}
    with ExitStack() as healing:
        for name in names:
            control = stage.deployment.control(name)
            if not control.pids():
                raise InvalidRun(f"{name} was to be hit by a {fault.kind}, but it was down already")
            others = [stage.deployment.control(other) for other in servers if other != name]
            before = monotonic()
            since = healing.enter_context(_GUARDS[fault.kind](control, others))
            hits[name] = since
            stage.tell(
                Event(since, _ONSETS[fault.kind], name, value=since - before, detail=roles[name])
            )
        yield
    # All are healed by now: it may take several of them for one to serve.
    everyone = stage.deployment.servers
    with ThreadPoolExecutor(len(hits)) as pool:
        returns = pool.map(lambda name: _back(servers[name], everyone), hits)
        for name, (since, role) in zip(hits, returns, strict=True):
            value = since - hits[name]
            stage.tell(Event(since, Kind.SERVER_BACK, name, value=value, detail=role))


def chosen(
    servers: str | Sequence[int], roles: Mapping[str, Role | None], choice: float
) -> list[str]:
    """The names that a fault's `servers` means; empty if nobody has that role. Pure.

    ``roles``: all servers in their order, None for those that don't serve. ``choice``: from 0 to
    1, which of several. One that stands alone is its own leader.
    """
    names = list(roles)
    if not isinstance(servers, str):
        return [names[number - 1] for number in servers]
    if servers == "all":
        return names
    if servers == "majority":
        first = int(choice * len(names))
        return (names[first:] + names[:first])[: len(names) // 2 + 1]
    if servers == "leader":
        leading = [name for name, role in roles.items() if role in LEADING]
        return leading if len(leading) == 1 else []  # one that is deposed may not know it yet
    fit = names if servers == "any" else [name for name in names if roles[name] == "follower"]
    return [fit[int(choice * len(fit))]] if fit else []


def _choose(
    fault: OnServers, servers: Sequence[Server]
) -> tuple[Mapping[str, Role | None], list[str]]:
    deadline = monotonic() + CHOOSING
    with ThreadPoolExecutor(len(servers)) as pool:
        while True:
            said = pool.map(_role, servers)
            roles = {server.name: role for server, role in zip(servers, said, strict=True)}
            if names := chosen(fault.servers, roles, fault.choice):
                return roles, names
            if monotonic() > deadline:
                raise InvalidRun(
                    f"no server was the {fault.servers} for {CHOOSING:g} s, so that none could be "
                    f"hit by a {fault.kind}"
                )
            time.sleep(PERIOD)


def _role(server: Server) -> Role | None:
    try:
        return server.role(ANSWER)
    except ConnectionError:
        return None


def _back(server: Server, servers: Sequence[Server]) -> tuple[float, Role]:
    """Since when it serves, in one role throughout a tick, and which."""
    assert server.control is not None, "it was hit through it"
    tick = float(server.config.get("tickTime", 0)) / 1000
    deadline = monotonic() + RETURNING
    since, role = monotonic(), None
    while role is None or monotonic() < since + tick:
        server.control.expect_running()
        asked = monotonic()
        found = _part(server, servers) if server.control.serves() else None
        if found != role:
            since, role = asked, found
        if monotonic() > deadline:
            raise InvalidRun(f"{server.name} didn't serve again within {RETURNING:g} s")
        time.sleep(PERIOD)
    return since, role


def _part(server: Server, servers: Sequence[Server]) -> Role | None:
    """Its role; None too for one that takes itself for the leader beside another.

    A server that stood still, or was cut off, is what it was until it looks around.
    """
    role = _role(server)
    rest = (other for other in servers if other.name != server.name)
    return None if role == "leader" and "leader" in map(_role, rest) else role


@contextmanager
def _killed(control: Control, _others: Sequence[Control]) -> Iterator[float]:
    control.kill()
    try:
        yield monotonic()
    finally:
        control.launch()


@contextmanager
def _stopped(control: Control, _others: Sequence[Control]) -> Iterator[float]:
    control.stop()
    try:
        yield monotonic()
    finally:
        control.launch()


@contextmanager
def _paused(control: Control, _others: Sequence[Control]) -> Iterator[float]:
    try:
        control.pause()
        yield monotonic()
    finally:
        control.go_on()


_GUARDS: Mapping[str, Callable[[Control, Sequence[Control]], AbstractContextManager[float]]] = {
    "kill": _killed,
    "pause": _paused,
    "restart": _stopped,
    "cut": Control.cut,
}
