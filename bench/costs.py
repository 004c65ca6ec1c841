"""What a server and its clients take, as numbers: each is a mechanism of the model.

Seconds, or CPU seconds where the name says so; `bench.calibration` says where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

OF_A_JOIN, OF_A_LEAVE = 2.0, 1.0
"""An ensemble's requests, and transactions: a session, and its node; the end of both."""
WARM_UP_RATE = 250.0
"""Sessions that come and go in a second, before a run."""

Amount = TypeVar("Amount", float, NDArray[np.float64])


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


def wakings(asked: Amount, awake: float) -> Amount:
    """How often in a second a server is woken that is asked so often, and sleeps again ``awake`` s
    after it woke."""
    return asked / (1 + asked * awake)


def warmed_up(sessions: int) -> tuple[float, float]:
    """How long the servers of an ensemble take to see so many sessions come and go before a run, in
    s, and for how many transactions."""
    return sessions / WARM_UP_RATE, (OF_A_JOIN + OF_A_LEAVE) * sessions
