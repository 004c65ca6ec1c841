"""Scenarios: from YAML to a frozen value, with every error at its position."""

from bench.scenario.faults import Fault, LinkFault, ServerFault, ServiceFault
from bench.scenario.load import dump, find, load, loads, shipped
from bench.scenario.model import Scenario, schema
from bench.scenario.parts import Audit, Backend, Services, SqlBackend, ZooKeeperBackend
from bench.scenario.phases import Phase
from bench.scenario.select import RackSelect, Select
from bench.scenario.slo import Slo
from bench.scenario.spread import Spread
from bench.scenario.sweep import at, points

__all__ = [
    "Audit",
    "Backend",
    "Fault",
    "LinkFault",
    "Phase",
    "RackSelect",
    "Scenario",
    "Select",
    "ServerFault",
    "ServiceFault",
    "Services",
    "Slo",
    "Spread",
    "SqlBackend",
    "ZooKeeperBackend",
    "at",
    "dump",
    "find",
    "load",
    "loads",
    "points",
    "schema",
    "shipped",
]
