"""Runs in a model of the servers, for sizes that no test machine holds."""

from bench.engines.sim.engine import execute, simulated
from bench.engines.sim.sweep import execute_all

__all__ = ["execute", "execute_all", "simulated"]
