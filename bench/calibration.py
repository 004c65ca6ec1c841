"""What a simulation knows of real servers: measured costs, the machine, and how far they hold.

A calibration is one JSON file. It states what was measured (seconds, unless a name says
otherwise), on which machine, and the largest load that was: what lies beyond is extrapolated, and
whoever simulates it is told so.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.errors import HarnessError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA = 5

OF_A_JOIN, OF_A_LEAVE = 2.0, 1.0
"""An ensemble's requests, and transactions: a session, and its node; the end of both."""
WARM_UP_RATE = 250.0
"""Sessions that come and go in a second, before a run."""

Amount = TypeVar("Amount", float, NDArray[np.float64])


class CalibrationError(HarnessError):
    """A calibration that can't be used; the text says why and what to do."""

    exit_code = 2


@dataclass(frozen=True)
class Machine:
    """What the costs depend on; two of these that differ make a warning."""

    cpu: str
    cores: int
    memory_gib: int
    system: str

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        return cls(
            cpu=_cpu(),
            cores=psutil.cpu_count() or 1,
            memory_gib=round(psutil.virtual_memory().total / 2**30),
            system=platform.system(),
        )


@dataclass(frozen=True)
class BeatCosts:
    """One beat of one profile."""

    exchanges: int
    """Round trips that it takes."""
    client_cpu: float
    """Of the loop that beats for all wire services."""
    client_waking_cpu: float
    """What that loop takes besides where it slept."""
    server_cpu: float
    waking_cpu: float
    """What a server that was asleep takes for it besides."""
    wal_bytes: float
    network_bytes: float
    row_bytes: float
    """On the network, of each row that a reader reads."""


@dataclass(frozen=True)
class SqlCosts:
    """PostgreSQL, and the clients on the same machine."""

    cores: float
    """That the server and its clients share."""
    round_trip: float
    """One exchange with an idle server, its work apart."""
    commit: float
    """One flush of the log, which all commits that wait for it share."""
    flush_cpu: float
    """CPU of such a flush: a server that is asked more often shares more of them."""
    awake: float
    """A server sleeps again so long after it woke: no beat that comes meanwhile wakes it."""
    nova: BeatCosts
    tuned: BeatCosts
    join: float
    """Between two joins, where many wait."""
    join_latency: float
    read: float
    """A read of an empty group."""
    read_row: float
    """What each row adds, to the reader."""
    read_cpu: float
    """What such a read takes of the server's CPU."""
    read_row_cpu: float
    """What each row costs the server."""
    start: float
    """From the start of a stopped server until it answers."""
    recovery: float
    """The same of a killed one."""
    idle_cores: float
    rss_bytes: float
    rss_connection_bytes: float
    yardstick: float | None = None
    """CPU of the meters' fixed piece of work meanwhile; None: unknown."""


@dataclass(frozen=True)
class ZooKeeperCosts:
    """One ensemble on one machine."""

    round_trip: float
    """A ping, or a request that changes nothing."""
    write: float
    """A transaction on an idle standalone server, answered; an ensemble's takes a third more."""
    join: float
    """Between two joins (a session and its node), where many wait."""
    close: float
    """Between two sessions of one bucket that are closed."""
    expiry: float
    """From a bucket's edge until the first observer is told."""
    event: float
    """Between two events to one observer, where many come."""
    noticing: float
    """The longest that a connection takes to end when the leader has died."""
    election_low: float
    election_high: float
    """From the death of a leader until the new one serves, uniformly, where there are hardly any
    sessions."""
    election_session: float
    """What each session adds to that."""
    election_cpu: float
    """CPU of a server that lives to see an election, apart from what its clients ask of it."""
    start: float
    """From the start of a stopped server until it serves in its ensemble."""
    accept: float
    """Between two sessions that come back, where many do, for each server."""
    retry_low: float
    retry_high: float
    """The first and the longest pause of a client between two rounds over the servers."""
    client_cpu: float
    """Of the loop that pings for all wire services, for one ping."""
    ping_cpu: float
    """CPU of one server for a request, once it has compiled what it does for it."""
    waking_cpu: float
    """What a server that was asleep takes for a request or a transaction besides."""
    awake: float
    """A server sleeps again so long after it woke: what comes meanwhile wakes nobody."""
    write_cpu: float
    """CPU of one server for a transaction."""
    flush_cpu: float
    """CPU of one server for writing its log, which the transactions of one `awake` share."""
    young: float
    """By how many times all this is more for a new server: it interprets, and compiles what is
    asked often."""
    youth: float
    """In which time that falls by a factor of e."""
    youth_transactions: float
    """In how many transactions it does, besides."""
    idle_cores: float
    """Of one server."""
    start_cpu: float
    """CPU of a new server until it serves."""
    read_member: float
    """What each member adds when an observer reads the group anew."""
    rss_bytes: float
    rss_session_bytes: float
    ping_bytes: float
    """On the wire, both ways."""
    yardstick: float | None = None
    """As of `SqlCosts`."""

    def slowness(
        self, seconds: NDArray[np.float64], transactions: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How many times as much a server of that age takes for what it is asked as an old one."""
        aged = seconds / self.youth + transactions / self.youth_transactions
        slow: NDArray[np.float64] = 1 + self.young * np.exp(-aged)
        return slow


@dataclass(frozen=True)
class Validity:
    """The largest loads that were measured."""

    beats_per_second: float
    sessions: int
    rows: int
    pings_per_second: float


@dataclass(frozen=True)
class Calibration:
    """All of it."""

    made: str
    """When, or from what."""
    machine: Machine
    sql: SqlCosts
    zookeeper: ZooKeeperCosts
    valid: Validity

    def dump(self) -> str:
        """As the file has it: without what isn't known."""
        known = asdict(self, dict_factory=lambda items: {k: v for k, v in items if v is not None})
        return json.dumps({"schema": SCHEMA, **known}, indent=2) + "\n"

    @property
    def digest(self) -> str:
        """Tells it from any other."""
        return hashlib.sha256(self.dump().encode()).hexdigest()[:16]

    def warnings(self, machine: Machine | None = None) -> tuple[str, ...]:
        """What in it doesn't fit this machine (or the given one)."""
        ours = asdict(machine or Machine.here())
        theirs = asdict(self.machine)
        return tuple(
            f"the calibration was made with {key} {theirs[key]}, here it is {ours[key]}: costs and "
            "limits may differ (run `heartbench calibrate`)"
            for key in ours
            if ours[key] != theirs[key]
        )


def load(path: Path) -> Calibration:
    """The calibration in a file.

    Raises: CalibrationError where it can't be read, is no calibration, or holds a value that no
    measurement gives.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(
            f"the calibration {path} can't be read: {error.strerror} (`heartbench calibrate` "
            "makes one)"
        ) from error
    except ValueError as error:
        raise CalibrationError(
            f"{path} is no JSON: {error}; make it anew with `heartbench calibrate`"
        ) from error
    return read(data, str(path))


def read(data: object, where: str) -> Calibration:
    """The calibration that this JSON value is. Raises: CalibrationError, all problems at once."""
    if not isinstance(data, dict):
        raise CalibrationError(f"{where} holds no calibration: an object is expected")
    if data.get("schema") != SCHEMA:
        raise CalibrationError(
            f"{where} has schema {data.get('schema')!r}, this version reads {SCHEMA}: make it anew "
            "with `heartbench calibrate`"
        )
    given = {key: value for key, value in data.items() if key != "schema"}
    problems = list(_problems(Calibration, given, ""))
    if problems:
        raise CalibrationError(
            f"{where} can't be used (`heartbench calibrate` makes a new one):\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    return _built(Calibration, given)


def wakings(asked: Amount, awake: float) -> Amount:
    """How often in a second a server is woken that is asked so often, and sleeps again ``awake`` s
    after it woke."""
    return asked / (1 + asked * awake)


def warmed_up(sessions: int) -> tuple[float, float]:
    """How long the servers of an ensemble take to see so many sessions come and go before a run, in
    s, and for how many transactions."""
    return sessions / WARM_UP_RATE, (OF_A_JOIN + OF_A_LEAVE) * sessions


OPTIONAL = "float | None"

_PARTS: Mapping[str, type] = {
    part.__name__: part
    for part in (Machine, BeatCosts, SqlCosts, ZooKeeperCosts, Validity, Calibration)
}


def _problems(part: type, given: object, path: str) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"{path or 'the file'}: an object is expected"
        return
    known = {field.name: str(field.type) for field in fields(part)}
    for name in given.keys() - known.keys():
        yield f"{path}{name}: unknown"
    for name, kind in known.items():
        if name not in given:
            if kind != OPTIONAL:
                yield f"{path}{name}: missing"
        elif kind in _PARTS:
            yield from _problems(_PARTS[kind], given[name], f"{path}{name}.")
        elif kind == "str":
            if not isinstance(given[name], str):
                yield f"{path}{name}: {given[name]!r} is no text"
        elif not _is_measured(given[name], kind):
            what = "a whole number" if kind == "int" else "a number"
            yield f"{path}{name}: {given[name]!r} is not {what}, 0 or more"


def _is_measured(value: object, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (kind != "int" or isinstance(value, int)) and math.isfinite(value) and value >= 0


Part = TypeVar("Part", bound="DataclassInstance")


def _built(part: type[Part], given: Mapping[str, Any]) -> Part:
    kinds = {field.name: str(field.type) for field in fields(part)}
    return part(
        **{
            name: _built(_PARTS[kinds[name]], value) if kinds[name] in _PARTS else value
            for name, value in given.items()
        }
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


STATED = Calibration(
    made="stated: figures of the project's own measurements, ZooKeeper 3.8 and PostgreSQL 15",
    machine=Machine(cpu="unstated", cores=2, memory_gib=24, system="Linux"),
    sql=SqlCosts(
        cores=2.0,
        round_trip=100e-6,
        commit=1.0e-3,
        flush_cpu=60e-6,
        awake=5e-3,
        nova=BeatCosts(
            exchanges=4,
            client_cpu=375e-6,
            client_waking_cpu=290e-6,
            server_cpu=260e-6,
            waking_cpu=150e-6,
            wal_bytes=250.0,
            network_bytes=850.0,
            row_bytes=110.0,
        ),
        tuned=BeatCosts(
            exchanges=1,
            client_cpu=110e-6,
            client_waking_cpu=180e-6,
            server_cpu=125e-6,
            waking_cpu=150e-6,
            wal_bytes=150.0,
            network_bytes=200.0,
            row_bytes=48.0,
        ),
        join=1.0e-3,
        join_latency=4e-3,
        read=1.0e-3,
        read_row=12e-6,
        read_cpu=40e-6,
        read_row_cpu=0.7e-6,
        start=0.2,
        recovery=1.5,
        idle_cores=0.005,
        rss_bytes=45e6,
        rss_connection_bytes=1.7e6,
    ),
    zookeeper=ZooKeeperCosts(
        round_trip=0.6e-3,
        write=2.5e-3,
        join=2.0e-3,
        close=20e-6,
        expiry=4.0e-3,
        event=15e-6,
        noticing=0.7,
        election_low=0.4,
        election_high=1.3,
        election_session=40e-6,
        election_cpu=0.8,
        start=3.0,
        accept=0.9e-3,
        retry_low=0.1,
        retry_high=0.7,
        client_cpu=18e-6,
        ping_cpu=47e-6,
        waking_cpu=400e-6,
        awake=10e-3,
        write_cpu=75e-6,
        flush_cpu=1.4e-3,
        young=1.0,
        youth=100.0,
        youth_transactions=25_000.0,
        idle_cores=0.004,
        start_cpu=1.0,
        read_member=8e-6,
        rss_bytes=90e6,
        rss_session_bytes=70e3,
        ping_bytes=160.0,
    ),
    valid=Validity(
        beats_per_second=1_000.0, sessions=10_000, rows=10_000, pings_per_second=3_400.0
    ),
)
"""Used where nothing was measured: the shape of the answer, on a machine like the project's own."""
