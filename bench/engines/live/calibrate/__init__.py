"""What this machine's servers cost: short runs of small scenarios, and what their records give.

A cost of a beat or a ping is what several loads have in common, so that what a server uses anyhow
falls out. What no run shows (a client's own pauses, how fast servers take sessions back) keeps the
stated value, or is derived from what is nearest to it; `KEPT` says which.
"""

from __future__ import annotations

from datetime import UTC, datetime

from bench.calibration import Calibration, Machine, Validity
from bench.engines.live.calibrate import sql, zookeeper
from bench.progress import Listener

KEPT = (
    "sql.*.exchanges",
    "sql.*.row_bytes",
    "sql.awake",
    "zookeeper.awake",
    "zookeeper.noticing",
    "zookeeper.accept",
    "zookeeper.retry_*",
    "zookeeper.read_member",
)
"""Costs as stated: the clients' own, not the servers', or none that these runs show."""


def calibrate(where: str, listen: Listener) -> Calibration:
    """Measure this machine's servers; takes some minutes, and wants the machine for itself.

    Raises: MachineError and InvalidRun as any live run; InvalidRun where a cost can't be told from
    what else this machine did.
    """
    return Calibration(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=Machine.here(),
        sql=sql.measure(where, listen),
        zookeeper=zookeeper.measure(where, listen),
        valid=Validity(
            beats_per_second=max(load.rate for load in sql.LOADS),
            sessions=zookeeper.MANY,
            rows=max(load.services for load in sql.LOADS),
            pings_per_second=zookeeper.MANY / zookeeper.PING_PERIOD,
        ),
    )
