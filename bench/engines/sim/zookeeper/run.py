"""One run of an ensemble: its sessions live, then its observers are told what they did."""

from __future__ import annotations

import numpy as np

from bench.calibration import Calibration
from bench.engines.sim.ledger import CLOCK, Ledger
from bench.engines.sim.meters import Meters
from bench.engines.sim.noise import Noise
from bench.engines.sim.outcome import Outcome, observer_names
from bench.engines.sim.zookeeper.ensemble import Ensemble
from bench.engines.sim.zookeeper.failover import Failover, server_name
from bench.engines.sim.zookeeper.sessions import Sessions
from bench.engines.sim.zookeeper.troubles import Troubles
from bench.engines.sim.zookeeper.watchers import Changes, Watcher
from bench.plan import Floats, Run
from bench.result import Parameters


def simulate(run: Run, calibration: Calibration, *, plain: bool) -> Outcome:
    """The whole run. ``plain``: one process a session."""
    ledger = Ledger()
    sessions = Sessions(run, calibration.zookeeper, ledger, plain=plain)
    ensemble = sessions.ensemble
    sessions.begin()
    troubles = Troubles(sessions)
    for service, hits in sessions.spells.items():
        sessions.environment.process(troubles.suffer(service, hits))
    Failover(sessions).begin()
    sessions.finish()
    changes = Changes.of(sessions.born, sessions.died, sessions.end)
    seed, name, repeat = run.scenario.seed, run.backend_name, run.repeat
    for number, observer in enumerate(observer_names(run)):
        noise = Noise(seed, name, repeat, "watcher", number)
        Watcher(number, observer, ensemble, calibration.zookeeper, ledger, noise).watch(
            changes, sessions.end
        )
    return Outcome(
        ledger=ledger,
        meters=_meters(run, sessions, changes, calibration.sql.cores),
        servers=tuple(server_name(server) for server in range(ensemble.count)),
        roles=tuple(ensemble.role(server, sessions.t0) for server in range(ensemble.count)),
        parameters=Parameters(
            kind="zookeeper",
            timeout=ensemble.timeout,
            tick=ensemble.tick,
            servers=ensemble.count,
            epoch=ensemble.epoch,
        ),
        t0=sessions.t0,
        end=sessions.end,
        extrapolated=tuple(_beyond(run, calibration, sessions)),
        events=sessions.events,
    )


def _meters(run: Run, sessions: Sessions, changes: Changes, cores: float) -> Meters:
    costs, ensemble = sessions.costs, sessions.ensemble
    meters = Meters(run, sessions.end)
    seconds = int(sessions.end) + 2
    second = np.clip(changes.t, 0, seconds - 1).astype(np.int64)
    written = np.bincount(second, minlength=seconds).astype(np.float64)
    living = np.cumsum(np.bincount(second, np.where(changes.came, 1.0, -1.0), minlength=seconds))
    pings: Floats = living.astype(np.float64) * sessions.pings.rate
    for server in range(ensemble.count):
        up = _up(ensemble, server, seconds)
        share: Floats = up / ensemble.count
        name = server_name(server)
        cpu = costs.idle_cores + share * pings * costs.ping_cpu + written * costs.write_cpu
        cpu += up * _warming_up(ensemble, server, seconds)
        packets = share * pings + written
        meters.rate(name, "cpu_seconds", cpu, "s")
        meters.rate(name, "packets_received", packets, "packets")
        meters.rate(name, "packets_sent", packets, "packets")
        memory = costs.rss_bytes + living.max() * costs.rss_session_bytes / ensemble.count
        meters.gauge(name, "rss_bytes", memory, "bytes")
    meters.rate("machine", "network_bytes", pings * costs.ping_bytes, "bytes")
    meters.rate("harness", "cpu_seconds", pings * costs.client_cpu, "s")
    joins = np.bincount(second[changes.came], minlength=seconds)
    work = pings * costs.ping_cpu + joins * (ensemble.count * costs.write_cpu)
    late = _lateness(work, cores, costs.ping_cpu)[: seconds - 1]
    meters.samples("lateness", enumerate(late.tolist()), "s", source=CLOCK)
    return meters


def _lateness(work: Floats, cores: float, each: float) -> Floats:
    """How late pings of each second are answered, in which so much ``work`` (CPU seconds) comes and
    a ping takes ``each``: they wait for the processors, and what these can't do is left to do."""
    left = np.cumsum(work - cores)
    backlog = left - np.minimum.accumulate(np.minimum(left, 0.0))
    busy = np.minimum(work / cores, 0.999)
    waiting: Floats = backlog / cores + each / cores * busy / (2 * (1 - busy))
    return waiting


def _up(ensemble: Ensemble, server: int, seconds: int) -> Floats:
    """Whether the server is up, 0 or 1, in each second."""
    up = np.ones(seconds)
    for blow in ensemble.blows:
        if blow.server == server and blow.kind != "cut":
            up[int(blow.start) : int(min(blow.end, seconds))] = 0.0
    return up


def _warming_up(ensemble: Ensemble, server: int, seconds: int) -> Floats:
    """CPU of a server that hasn't run for long, in each second: less and less."""
    costs, second = ensemble.costs, np.arange(seconds, dtype=np.float64)
    cpu = np.zeros(seconds)
    begun = [b.end for b in ensemble.blows if b.server == server and b.kind in ("kill", "restart")]
    for start in (0.0, *begun):
        since = second - start
        running = since >= 0
        cpu[running] += costs.warmup_cpu / costs.warmup * np.exp(-since[running] / costs.warmup)
    return cpu


def _beyond(run: Run, calibration: Calibration, sessions: Sessions) -> list[str]:
    valid, count = calibration.valid, run.scenario.services.count
    rate = count * sessions.pings.rate
    found = []
    if count > valid.sessions:
        found.append(f"{count:,} sessions (measured: {valid.sessions:,})")
    if rate > valid.pings_per_second:
        found.append(f"{rate:,.0f} pings a second (measured: {valid.pings_per_second:,.0f})")
    busy = rate * calibration.zookeeper.ping_cpu / calibration.sql.cores
    if busy > 1:
        found.append(
            f"pings for {busy:.1f} times the processors: they are late, but that clients give up "
            "for it is not simulated"
        )
    return found
