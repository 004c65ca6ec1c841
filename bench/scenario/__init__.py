"""Scenarios: from YAML to a frozen value, with every error at its position."""

from bench.scenario.load import dump, find, load, loads
from bench.scenario.model import Scenario, schema
from bench.scenario.parts import (
    Audit,
    Backend,
    Fault,
    Phase,
    Select,
    Services,
    SqlBackend,
    ZooKeeperBackend,
)
from bench.scenario.slo import Slo
from bench.scenario.sweep import at, points

__all__ = [
    "Audit",
    "Backend",
    "Fault",
    "Phase",
    "Scenario",
    "Select",
    "Services",
    "Slo",
    "SqlBackend",
    "ZooKeeperBackend",
    "at",
    "dump",
    "find",
    "load",
    "loads",
    "points",
    "schema",
]
