"""What this machine lacks for a plan, and the command that mends it."""

import importlib.util
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.plan import Cost, OnLinks, OnServers, Run, cost

MODULES = (
    "asyncpg",
    "docker",
    "jinja2",
    "kazoo",
    "matplotlib",
    "pandas",
    "psutil",
    "psycopg",
    "pyarrow",
    "rich",
    "scipy",
    "simpy",
    "sqlalchemy",
    "uvloop",
)
"""What `heartbench[bench]` installs, by import name."""

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Lack:
    """Something that this machine hasn't got, why it is needed, and the command that mends it."""

    what: str
    why: str
    command: str


@dataclass(frozen=True)
class Machine:
    """What there is of each thing that a plan needs."""

    open_files: int
    """A process may have open, as things are."""
    open_files_limit: int
    """To which a process may raise that by itself."""
    ports: int
    """For connections to one server's port."""
    memory: int
    """Bytes available now."""
    cores: int

    @classmethod
    def here(cls) -> "Machine":
        """This machine, now. Needs psutil."""
        import psutil

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = resource.RLIM_INFINITY
        first, last = 32_768, 60_999  # Linux's own default
        if PORT_RANGE.exists():
            first, last = map(int, PORT_RANGE.read_text().split())
        return cls(
            open_files=2**31 if soft == unlimited else soft,
            open_files_limit=2**31 if hard == unlimited else hard,
            ports=last - first + 1,
            memory=psutil.virtual_memory().available,
            cores=len(os.sched_getaffinity(0)),
        )


def examine(runs: Sequence[Run], servers: Sequence[str] = ("auto",)) -> tuple[Lack, ...]:
    """Everything that is lacking for these runs; empty if they can be tried.

    `servers` is `auto`, `local`, `docker`, or the URLs of servers that already run.
    """
    if lacks := tuple(packages()):
        return lacks  # without them the rest cannot even be looked at
    return (
        *resources(runs, Machine.here()),
        *for_servers(runs, servers),
        *for_faults(runs, servers),
    )


def packages() -> Iterator[Lack]:
    """The Python packages that are not installed."""
    absent = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if absent:
        yield Lack(
            f"Python packages: {', '.join(absent)}",
            "the harness needs them for every run",
            "pip install 'heartbench[bench]'",
        )


def resources(runs: Sequence[Run], machine: Machine) -> Iterator[Lack]:
    """What is too small of a machine, each for the run that needs most of it. Pure."""
    costs = [(cost(run), run) for run in runs]

    def most(field: str) -> tuple[Cost, Run]:
        return max(costs, key=lambda it: float(getattr(it[0], field)))

    need, run = most("open_files")
    if need.open_files > machine.open_files:
        raise_it = f"ulimit -n {need.open_files}"
        if need.open_files > machine.open_files_limit:
            raise_it = f"sudo prlimit --pid $$ --nofile={need.open_files}:{need.open_files}"
        yield Lack(
            f"open files: {machine.open_files:,} a process, {need.open_files:,} needed",
            f"{_named(run)} keeps a socket for each of its wire services",
            raise_it,
        )
    need, run = most("ports")
    if need.ports > machine.ports:
        widen = 'sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"'
        yield Lack(
            f"local ports: {machine.ports:,}, {need.ports:,} needed",
            f"{_named(run)} opens so many connections to one server",
            widen if need.ports <= 64_512 else _fewer(run, machine.ports / need.ports),
        )
    need, run = most("memory")
    if need.memory > machine.memory:
        yield Lack(
            f"memory: {machine.memory / 1e9:.1f} GB available, {need.memory / 1e9:.1f} GB needed",
            f"{_named(run)} has {need.processes} processes, servers included",
            _fewer(run, machine.memory / need.memory),
        )
    # A scenario may drive a server past what it can take: its beats needn't all go out then.
    cores, run = max(
        ((need.cores * run.scenario.audit.rate_reached, run) for need, run in costs),
        key=lambda it: it[0],
    )
    if cores > machine.cores:
        yield Lack(
            f"processor cores: {machine.cores}, {cores:.1f} needed",
            f"{_named(run)} would be late with its own beats, and the run invalid",
            _fewer(run, machine.cores / cores),
        )


def for_servers(runs: Sequence[Run], servers: Sequence[str]) -> Iterator[Lack]:
    """What is lacking to start the servers that the runs need, each told once."""
    from bench.engines.live.engine import server_spec
    from bench.engines.live.provision import kind_of, missing

    found: dict[Lack, None] = {}
    for run in runs:
        spec = server_spec(run)
        where = servers[0]
        if where not in ("auto", "local", "docker"):
            where = next((url for url in servers if kind_of(url) == spec.kind), "")
        if where:
            lacks = [Lack(each.what, each.why, each.command) for each in missing(spec, where)]
        else:
            why = f"none of the URLs given is of a {spec.kind} server"
            mend = "give its URL with another --servers, or use --servers auto"
            lacks = [Lack(f"a server for {run.backend_name}", why, mend)]
        found |= dict.fromkeys(lacks)
    yield from found


def for_faults(runs: Sequence[Run], servers: Sequence[str]) -> Iterator[Lack]:
    """What is lacking to inflict the faults of the runs, each told once."""
    from bench.engines.live import racks
    from bench.engines.live.provision import kind_of, lacks_control
    from bench.engines.live.swarm import skew

    found: dict[Lack, None] = {}
    for run in runs:
        where = servers[0]
        if where not in ("auto", "local", "docker"):
            where = next((url for url in servers if kind_of(url) == run.backend.kind), where)
        lacks = []
        if links := [fault for fault in run.faults if isinstance(fault, OnLinks)]:
            lacks += racks.missing(delayed=any(fault.kind == "delay" for fault in links))
        if hits := [fault for fault in run.faults if isinstance(fault, OnServers)]:
            lacks += lacks_control(where, cut=any(fault.kind == "cut" for fault in hits))
        if run.skews_library:
            lacks += skew.missing()
        found |= dict.fromkeys(Lack(each.what, each.why, each.command) for each in lacks)
    yield from found


def _named(run: Run) -> str:
    point = "".join(f", {field}={value}" for field, value in run.point.items())
    return f"{run.backend_name}{point}"


def _fewer(run: Run, share: float) -> str:
    return f"add --set services.count={max(1, int(run.scenario.services.count * share * 0.9))}"
