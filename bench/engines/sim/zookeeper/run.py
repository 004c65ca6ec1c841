"""One run of an ensemble: its sessions live, then its observers are told what they did."""

from __future__ import annotations

from bench.calibration import Calibration
from bench.engines.sim.ledger import Ledger
from bench.engines.sim.noise import Noise
from bench.engines.sim.outcome import Outcome, observer_names
from bench.engines.sim.zookeeper.failover import Failover, server_name
from bench.engines.sim.zookeeper.load import metered
from bench.engines.sim.zookeeper.sessions import Sessions
from bench.engines.sim.zookeeper.troubles import Troubles
from bench.engines.sim.zookeeper.watchers import Changes, Watcher
from bench.plan import Run
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
        meters=metered(run, sessions, changes, calibration.sql.cores),
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


def _beyond(run: Run, calibration: Calibration, sessions: Sessions) -> list[str]:
    valid, count = calibration.valid, run.scenario.services.count
    rate = count * sessions.pings.rate
    found = []
    if count > valid.sessions:
        found.append(f"{count:,} sessions (measured: {valid.sessions:,})")
    if round(rate) > round(valid.pings_per_second):  # the mean period is known to no more
        found.append(f"{rate:,.0f} pings a second (measured: {valid.pings_per_second:,.0f})")
    busy = rate * calibration.zookeeper.ping_cpu / calibration.sql.cores
    if busy > 1:
        found.append(
            f"pings for {busy:.1f} times the processors: they are late, but that clients give up "
            "for it is not simulated"
        )
    return found
