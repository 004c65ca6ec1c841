"""How long after its cause an effect may still come. Seconds; each is stated with every figure
that rests on it."""

from __future__ import annotations

from bench.result import Parameters

DELIVERY = 1.0
"""From the servers' knowledge to an observer's event, at the latest, if all are well."""

ELECTION = 5.0
"""From the loss of a leader to the next one that serves; measured 1 to 3 s."""


def lag(parameters: Parameters) -> float:
    """So far an observer may be behind what happened: one poll, one tick and the delivery."""
    return DELIVERY + (parameters.poll or 0.0) + (parameters.tick or 0.0)


def patience(parameters: Parameters) -> float:
    """After this, whatever was doomed by then has expired, and every observer has been told."""
    return (parameters.timeout or 0.0) + lag(parameters)


def failover(parameters: Parameters) -> float:
    """So long a blow to a server is felt once it is over: an election, then every session that
    did not come back in time expires, having been given its whole timeout anew."""
    return ELECTION + patience(parameters)


def period(parameters: Parameters) -> float | None:
    """Between two renewals of one service, on average; None where it can't be said.

    ZooKeeper: kazoo's ping, a third of the timeout less 10 to 400 ms.
    """
    if parameters.kind == "zookeeper":
        return None if parameters.timeout is None else parameters.timeout / 3 - 0.205
    return parameters.interval


def longest_period(parameters: Parameters) -> float:
    """Between two renewals of one service, at the most; infinite where it can't be said."""
    if parameters.kind == "zookeeper":
        return (parameters.timeout or float("inf")) / 3
    return parameters.interval or float("inf")
