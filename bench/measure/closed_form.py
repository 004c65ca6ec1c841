"""When an onset should have been noticed, given the victim's own last renewal.

What is left between that and the observation is what the closed form doesn't know of: a busy
server, delivery, the harness itself. Every instant is in seconds of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.measure.delays import lag, longest_period
from bench.measure.impairments import LINKS
from bench.measure.lives import ENDS
from bench.measure.onsets import FLAPPED
from bench.measure.spans import Instants
from bench.result import Kind, Parameters, Record
from membership.liveness import zookeeper_expiry

TRANSIT = 0.02
"""Seconds that a ping may take until the server counts it. Near the edge of a bucket that decides
which one it falls into, so there both are admissible."""

EARLY = 0.005
"""Seconds by which an event may come before its cause, by the errors of clocks."""

DIRECT = ("leader", "standalone")
"""The roles of servers that see their sessions' pings in the clock that expires them."""

SILENCES = (str(Kind.CRASHED), str(Kind.POWER_LOST), str(Kind.FROZEN), FLAPPED)
"""The faults after which nothing is heard of a service, so that it expires by the closed form."""

Roles = Mapping[str, str]


@dataclass(frozen=True)
class Expiry:
    """The first and the last admissible instant of each onset's expiry; NaN without a renewal."""

    expected: Instants
    latest: Instants
    stepwise: bool
    """Nothing between the two is admissible."""

    def nearest(self, noticed: Instants) -> Instants:
        """The admissible instant that each is to be held against."""
        if self.stepwise:
            return np.where(noticed >= self.latest - EARLY, self.latest, self.expected)
        return np.clip(noticed, self.expected, self.latest)


def roles(record: Record) -> dict[str, str]:
    """The part that each server plays by name, as far as the record tells."""
    return {
        str(server["name"]): str(server["role"])
        for server in record.environment.get("servers", ())
        if server.get("role")
    }


def expiry(
    renewed: Instants, servers: pd.Series[str], parameters: Parameters, roles: Roles
) -> Expiry:
    """When those whose last renewal was sent then expire, each on its server.

    SQL: any instant from expected to latest is as good as another. A reader that reads each row
    again at its expiry has one instant, renewed + timeout. A reader that polls every Q notices up
    to Q later; and so does the tuned profile's, which counts from when it saw the beat itself.

    ZooKeeper: sessions expire at the edges of the server's buckets, which its clock gives
    (`Parameters.epoch`): expected or latest, nothing between. A follower tells the leader of its
    sessions' pings up to half a tick late, which may cost them a bucket. Where the clock can't be
    known, any instant within a bucket is admissible.
    """
    timeout = _given(parameters.timeout, "timeout")
    if parameters.kind != "zookeeper":
        expected = renewed + timeout
        return Expiry(expected, expected + (parameters.poll or 0.0), stepwise=False)
    tick = _given(parameters.tick, "tick")
    delay = TRANSIT + _reporting(servers, parameters, roles)
    if parameters.epoch is None:
        return Expiry(renewed + timeout, renewed + delay + timeout + tick, stepwise=False)
    epoch = parameters.epoch

    def edge(touched: Instants) -> Instants:
        return np.array(
            [
                np.nan if np.isnan(t) else zookeeper_expiry(epoch + t, timeout, tick) - epoch
                for t in touched
            ]
        )

    return Expiry(edge(renewed), edge(renewed + delay), stepwise=True)


def due(onsets: pd.DataFrame, parameters: Parameters, roles: Roles, end: float) -> pd.Series[bool]:
    """Whether each onset had to be noticed (true), must not be (false), or may be (null).

    Every end of a life has to be. A stop, or a cut that stops a service's own packets, must not
    be where the service was heard of again before it could expire, and has to be where it
    wasn't until after the last instant for that. Without a known renewal that is said for any
    renewal that is possible. What loss, delay, a wrong clock and a cut of the packets towards a
    service alone lead to is nobody's promise.
    """
    onset, healed, recovered = (
        np.asarray(onsets[name], dtype=np.float64) for name in ("onset", "healed", "recovered")
    )
    healed = np.minimum(healed, end)
    renewed = np.asarray(onsets["renewed"], dtype=np.float64)
    unknown = np.isnan(renewed)
    first = np.where(unknown, onset - longest_period(parameters), renewed)
    expected = expiry(first, onsets["server"], parameters, roles).expected
    last = np.where(unknown, onset, renewed)
    latest = expiry(last, onsets["server"], parameters, roles).latest + lag(parameters)

    ended = onsets["fault"].isin([*map(str, ENDS), str(Kind.RESTARTED)])
    cut = (onsets["fault"] == Kind.CUT) & onsets["direction"].isin(["out", "both"])
    silent = onsets["fault"].isin([Kind.FROZEN, FLAPPED]) | cut
    # TCP sends again after pauses that double: what a cut held up may come so much later.
    heard = np.where(onsets["fault"].isin(LINKS), 2 * healed - onset, recovered)
    answer = pd.Series(pd.NA, index=onsets.index, dtype="boolean")
    answer[silent & (heard < expected)] = False
    answer[silent & (healed > latest)] = True
    answer[ended] = True
    return answer


def _reporting(server: pd.Series[str], parameters: Parameters, roles: Roles) -> Instants:
    """How late (s) the leader may learn of a ping. A server of unknown role may be a follower."""
    if parameters.servers == 1:
        return np.zeros(len(server))
    direct = server.isin([name for name, role in roles.items() if role in DIRECT]).fillna(False)
    return np.where(direct.astype(bool), 0.0, _given(parameters.tick, "tick") / 2)


def _given(value: float | None, name: str) -> float:
    if value is None:
        raise ValueError(f"the closed form needs the backend's {name}")
    return value
