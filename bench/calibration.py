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

import psutil

from bench.costs import BeatCosts, SqlCosts, ZooKeeperCosts
from bench.errors import HarnessError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA = 5


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


OPTIONAL = "float | None"
DIVISORS = {"cores", "youth", "youth_transactions"}
"""What the model divides by: 0 of them would be no number at all."""

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
        elif name in DIVISORS and not given[name]:
            yield f"{path}{name}: {given[name]!r} is not above 0"


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
