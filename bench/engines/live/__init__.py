"""The live engine: real servers, real services, real failures."""

from bench.engines.live.engine import execute

__all__ = ["execute"]
