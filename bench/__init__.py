"""The harness: runs the `membership` library at scale, breaks things, and measures."""

from bench.store import load

__all__ = ["load"]
