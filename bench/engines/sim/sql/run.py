"""One run of a database: its services beat, then its observers read what they left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.calibration import Calibration
from bench.costs import wakings
from bench.engines.sim.ledger import Ledger
from bench.engines.sim.meters import Meters, by_second
from bench.engines.sim.noise import Noise
from bench.engines.sim.outcome import Outcome, observer_names
from bench.engines.sim.sql.batched import BatchedSqlServices
from bench.engines.sim.sql.plain import PlainSqlServices
from bench.engines.sim.sql.profiles import NovaReader, TunedReader
from bench.engines.sim.sql.readers import Reader, Table
from bench.engines.sim.sql.services import SERVER, SqlServices
from bench.plan import Run
from bench.result import Parameters

SPARE = 3
"""Connections of each observer."""
OWN = 2
"""Connections of a service that is the library in a process of its own."""


def simulate(run: Run, calibration: Calibration, *, plain: bool) -> Outcome:
    """The whole run. ``plain``: one process a service."""
    ledger = Ledger()
    speed = PlainSqlServices if plain else BatchedSqlServices
    services = speed(run, calibration.sql, ledger)
    services.simulate()
    table = Table.of(services.rows.births, services.rows.episodes, services.outages)
    phases = Noise(run.scenario.seed, run.backend_name, run.repeat, "readers")
    kind = NovaReader if services.backend.profile == "nova" else TunedReader
    readers = [
        kind(
            number=number,
            name=name,
            table=table,
            backend=services.backend,
            costs=calibration.sql,
            ledger=ledger,
            phase=phases.at(number, 0),
        )
        for number, name in enumerate(observer_names(run))
    ]
    for reader in readers:
        reader.run(services.end)
    backend = services.backend
    return Outcome(
        ledger=ledger,
        meters=_meters(run, services, readers),
        servers=(SERVER,),
        roles=("primary",),
        parameters=Parameters(
            kind="sql",
            profile=backend.profile,
            interval=backend.interval,
            timeout=backend.timeout,
            poll=None if backend.poll == "read" else backend.poll,
        ),
        t0=services.t0,
        end=services.end,
        extrapolated=tuple(_beyond(run, calibration, services)),
        events=services.events if isinstance(services, PlainSqlServices) else 0,
    )


def _meters(run: Run, services: SqlServices, readers: Sequence[Reader]) -> Meters:
    costs = services.costs
    beat = costs.nova if services.backend.profile == "nova" else costs.tuned
    meters = Meters(run, services.end)
    beats = services.beats_by_second
    rows = sum(
        (by_second(reader.rows_read, services.end) for reader in readers), np.zeros(len(beats))
    )
    reads = sum(
        (by_second([(t, 1.0) for t, _ in reader.rows_read], services.end) for reader in readers),
        np.zeros(len(beats)),
    )
    flushes = beats * (services.queue.flushes / max(float(beats.sum()), 1.0))
    cpu = costs.idle_cores + beats * beat.server_cpu + flushes * costs.flush_cpu
    cpu += reads * costs.read_cpu + rows * costs.read_row_cpu
    cpu += wakings(beats + reads, costs.awake) * beat.waking_cpu
    connections = services.backend.connections + SPARE * len(readers) + OWN * int(run.library.sum())
    meters.rate(SERVER, "cpu_seconds", cpu, "s")
    meters.rate(SERVER, "transactions", beats + reads, "transactions")
    meters.rate(SERVER, "statements", beats * beat.exchanges + reads, "statements")
    meters.rate(SERVER, "updates", beats, "rows")
    meters.rate(SERVER, "wal_syncs", flushes, "fsyncs")
    meters.rate(SERVER, "wal_bytes", beats * beat.wal_bytes, "bytes")
    meters.gauge(
        SERVER, "rss_bytes", costs.rss_bytes + connections * costs.rss_connection_bytes, "bytes"
    )
    network = beats * beat.network_bytes + rows * beat.row_bytes
    meters.rate("machine", "network_bytes", network, "bytes")
    meters.yardstick(costs.yardstick)
    client = beats * beat.client_cpu + wakings(beats, costs.awake) * beat.client_waking_cpu
    meters.rate("harness", "cpu_seconds", client, "s")
    meters.samples("lateness", services.lateness, "s")
    for reader in readers:
        meters.rate(reader.name, "rows_read", by_second(reader.rows_read, services.end), "rows")
    return meters


def _beyond(run: Run, calibration: Calibration, services: SqlServices) -> list[str]:
    valid, count = calibration.valid, run.scenario.services.count
    rate = count / services.interval
    found = []
    if rate > valid.beats_per_second:
        found.append(f"{rate:,.0f} beats a second (measured: {valid.beats_per_second:,.0f})")
    if count > valid.rows:
        found.append(f"{count:,} rows (measured: {valid.rows:,})")
    return found
