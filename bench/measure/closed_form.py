"""When each victim should have been declared dead, given its own last renewal.

What is left between that and the observation is what the closed form doesn't know of: a busy
server, delivery, the harness itself. Every instant is in seconds of the run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.measure.detection import first_and_every
from bench.measure.figures import Figure, quantile
from bench.result import Kind, Parameters, Record
from membership.liveness import zookeeper_expiry

TRANSIT = 0.02
"""Seconds that a ping may take until the server counts it. Near the edge of a bucket that decides
which one it falls into, so there both are admissible."""

EARLY = 0.005
"""Seconds by which an event may come before its cause, by the errors of clocks."""

DIRECT = ("leader", "standalone")
"""The roles of servers that see their sessions' pings in the clock that expires them."""

Instants = NDArray[np.float64]


def roles(record: Record) -> dict[str, str]:
    """The part that each server plays by name, as far as the record tells."""
    return {
        str(server["name"]): str(server["role"])
        for server in record.environment.get("servers", ())
        if server.get("role")
    }


def residuals(
    victims: pd.DataFrame, parameters: Parameters, roles: Mapping[str, str]
) -> pd.DataFrame:
    """The crashed and frozen victims, one row each, with expected, latest and residual.

    `expected` and `latest` are the first and last admissible instants; NaN without a renewal.
    `residual` is how far (s) the first observer's event lies from what is admissible; negative:
    too early; NaN: nothing to compare.

    SQL: any instant from expected to latest is as good as another. A reader that reads each row
    again at its expiry has one instant, renewed + timeout. A reader that polls every Q notices up
    to Q later; and so does the tuned profile's, which counts from when it saw the beat itself.

    ZooKeeper: sessions expire at the edges of the server's buckets, which its clock gives
    (`Parameters.epoch`): expected or latest, nothing between. A follower tells the leader of its
    sessions' pings up to half a tick late, which may cost them a bucket. Where the clock can't be
    known, any instant within a bucket is admissible.
    """
    rows = first_and_every(victims)
    rows = rows[rows["fault"].isin([Kind.CRASHED, Kind.FROZEN])].reset_index(drop=True)
    renewed = np.asarray(rows["renewed"], dtype=np.float64)
    detected = np.asarray(rows["onset"] + rows["first"], dtype=np.float64)
    if parameters.kind == "zookeeper":
        delay = TRANSIT + _reporting(rows["server"], parameters, roles)
        expected, latest = _buckets(renewed, delay, parameters)
        stepwise = parameters.epoch is not None
    else:
        expected, latest = _reads(renewed, parameters)
        stepwise = False
    if stepwise:
        nearest = np.where(detected >= latest - EARLY, latest, expected)
    else:
        nearest = np.clip(detected, expected, latest)
    return rows.assign(expected=expected, latest=latest, residual=detected - nearest)


def model_error(residuals: pd.DataFrame) -> dict[str, Figure]:
    """The summary's figures of crashed victims: how far, early or late, each lay from its form."""
    crashed = residuals.loc[residuals["fault"] == Kind.CRASHED, "residual"]
    off = crashed.dropna().abs()
    return {"model_error_p50": quantile(off, 0.50), "model_error_p99": quantile(off, 0.99)}


def _reads(renewed: Instants, parameters: Parameters) -> tuple[Instants, Instants]:
    expected = renewed + _given(parameters.timeout, "timeout")
    return expected, expected + (parameters.poll or 0.0)


def _buckets(
    renewed: Instants, delay: Instants, parameters: Parameters
) -> tuple[Instants, Instants]:
    timeout = _given(parameters.timeout, "timeout")
    tick = _given(parameters.tick, "tick")
    if parameters.epoch is None:
        return renewed + timeout, renewed + delay + timeout + tick
    epoch = parameters.epoch

    def expiry(touched: Instants) -> Instants:
        return np.array(
            [
                np.nan if np.isnan(t) else zookeeper_expiry(epoch + t, timeout, tick) - epoch
                for t in touched
            ]
        )

    return expiry(renewed), expiry(renewed + delay)


def _reporting(
    server: pd.Series[str], parameters: Parameters, roles: Mapping[str, str]
) -> Instants:
    """How late (s) the leader may learn of a ping. A server of unknown role may be a follower."""
    if parameters.servers == 1:
        return np.zeros(len(server))
    direct = server.isin([name for name, role in roles.items() if role in DIRECT]).fillna(False)
    return np.where(direct.astype(bool), 0.0, _given(parameters.tick, "tick") / 2)


def _given(value: float | None, name: str) -> float:
    if value is None:
        raise ValueError(f"the closed form needs the backend's {name}")
    return value
