"""The harness: runs the `membership` library at scale, breaks things, and measures."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.frames import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import `load` when it is asked for: each process of a run imports this package, and one
    that hosts a shard needs none of pandas and scipy."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from bench.frames import load
    except ModuleNotFoundError as error:
        if (error.name or "bench").startswith("bench"):
            raise
        raise ImportError(
            f"bench.load needs {error.name}: pip install 'heartbench[bench]'", name=error.name
        ) from error
    return load
