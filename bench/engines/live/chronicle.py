"""What happened in a run, put together from all its clocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

import pandas as pd

from bench.engines.live.meters import Reading, Readings
from bench.engines.live.provision import Deployment
from bench.engines.live.spool import Spool
from bench.engines.live.swarm.process import HostedShard
from bench.engines.live.swarm.shard import Event, Measurement
from bench.plan import Run
from bench.result import EVENTS, METRICS, Kind, Parameters, Record, frame

_EVENT = ("t", "kind", "subject", "observer", "incarnation", "client", "server", "value", "detail")
_READING = ("source", "metric", "value", "unit")
_MEASUREMENT = ("t", "metric", "value", "unit", "count")


class Chronicle:
    """Collects events and measurements while the run lasts; times become seconds since epoch."""

    def __init__(self, run: Run, deployment: Deployment, parameters: Parameters) -> None:
        self._run = run
        self._where = deployment.where
        self._parameters = parameters
        self._servers = [
            {
                "name": server.name,
                "kind": server.kind,
                "role": server.role(),
                "config": dict(server.config),
            }
            for server in deployment.servers
        ]
        self._epoch = 0.0
        self._complete = False
        self._shards: Sequence[HostedShard] = ()
        self._readings = Readings()
        self._events = Spool[Event]()
        self._measurements = Spool[Measurement]()
        self._read = Spool[tuple[float, Reading]]()
        self._told: list[Event] = []

    def attach(self, shards: Sequence[HostedShard], readings: Readings) -> None:
        """From now on, these are the ones to listen to."""
        self._shards, self._readings = shards, readings

    def begin(self, epoch: float) -> None:
        """The run's t = 0, on our clock."""
        self._epoch = epoch

    def tell(self, event: Event) -> None:
        """What was done to links and servers, on our clock; from any thread."""
        self._told.append(event)

    def phase(self, name: str, start: float, length: float) -> None:
        """A phase of the scenario begins then, and is planned to last so long (s)."""
        self._told.append(Event(start, Kind.PHASE, name, value=length))

    def end(self, t: float) -> None:
        """The last phase is over, as planned."""
        self._told.append(Event(t, Kind.END, "run"))
        self._complete = True

    def collect(self) -> None:
        """Take over what the shards have to tell, and what the meters have shown."""
        for shard in self._shards:
            log = shard.drain()
            self._events.add(shard.name, log.events)
            self._measurements.add(shard.name, log.measurements)
        self._read.add("meters", self._readings.drain())

    def record(self) -> Record:
        """Everything so far."""
        self._read.add("meters", self._readings.drain())
        observed = self._where != "external"
        return Record(
            index=self._run.index,
            backend=self._run.backend_name,
            repeat=self._run.repeat,
            services=self._run.scenario.services.count,
            observers=tuple(f"observer-{n}" for n in range(self._run.scenario.observers)),
            parameters=replace(self._parameters, epoch=self._epoch if observed else None),
            events=self._event_frame(),
            metrics=self._metric_frame(),
            environment={
                "where": self._where,
                "servers": self._servers,
                "meters_failed": dict(self._readings.failures),
            },
            point=dict(self._run.point),
            complete=self._complete,
        )

    def _event_frame(self) -> pd.DataFrame:
        offsets = {shard.name: shard.offset for shard in self._shards}
        parts = []
        for name, events in [("engine", self._told), *self._events.chunks()]:
            part = _columns(events, _EVENT)
            offset = offsets.get(name)
            part["clock"] = name
            part["clock_offset"] = offset.seconds if offset else 0.0
            part["clock_error"] = offset.error if offset else 0.0
            part["t"] += part["clock_offset"] - self._epoch
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        return frame(EVENTS, self._ours(table).sort_values("t", kind="stable"))

    def _metric_frame(self) -> pd.DataFrame:
        offsets = {shard.name: shard.offset.seconds for shard in self._shards}
        parts = []
        for name, measurements in self._measurements.chunks():
            part = _columns(measurements, _MEASUREMENT)
            part["source"] = name
            part["t"] += offsets[name] - self._epoch
            parts.append(part)
        for _, taken in self._read.chunks():
            part = _columns([reading for _, reading in taken], _READING)
            part["t"] = [t - self._epoch for t, _ in taken]
            parts.append(part)
        planned = float(sum(fault.onsets for fault in self._run.faults))
        own = pd.DataFrame(
            {
                "t": [0.0],
                "source": ["harness"],
                "metric": ["faults_planned"],
                "value": [planned],
                "unit": ["faults"],
            }
        )
        table = pd.concat([*parts, own], ignore_index=True)
        return frame(METRICS, self._ours(table).sort_values("t", kind="stable"))

    def _ours(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(backend=self._run.backend_name, repeat=self._run.repeat)


def _columns(rows: Sequence[object], names: tuple[str, ...]) -> pd.DataFrame:
    values = zip(*map(attrgetter(*names), rows), strict=True) if rows else ((),) * len(names)
    # Objects, so that no integer turns into a float on its way into a typed column.
    columns = {
        name: pd.Series(column, dtype=object) for name, column in zip(names, values, strict=True)
    }
    table = pd.DataFrame(columns)
    return table.astype({"t": float}) if "t" in names else table
