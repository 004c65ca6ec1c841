"""Runs in a model of the servers, for sizes that no test machine holds."""

from bench.engines.sim.engine import simulated
from bench.engines.sim.sweep import execute_all, on_all_cores

__all__ = ["execute_all", "on_all_cores", "simulated"]
