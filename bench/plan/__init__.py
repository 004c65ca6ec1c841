"""From a scenario to a flat list of runs, with every random choice already made.

Pure: the same scenario gives the same runs, on any machine. What is drawn depends on the seed, the
repeat and what it is for, never on the backend: in one repeat every backend loses the same
services at the same offsets. numpy arrays, all read-only, so that a million services stay cheap.
"""

from bench.plan.cost import JOIN_CONNECTIONS, SHARD_SERVICES, Cost, cost, slowest_detection
from bench.plan.faults import Floats, Indexes, OnLinks, OnServers, OnServices, PlannedFault
from bench.plan.runs import PlannedPhase, Run, plan

__all__ = [
    "JOIN_CONNECTIONS",
    "SHARD_SERVICES",
    "Cost",
    "Floats",
    "Indexes",
    "OnLinks",
    "OnServers",
    "OnServices",
    "PlannedFault",
    "PlannedPhase",
    "Run",
    "cost",
    "plan",
    "slowest_detection",
]
