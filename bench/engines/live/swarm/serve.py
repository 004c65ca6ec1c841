"""The inside of a shard's process: it makes the worker, and answers calls until nobody calls."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection

from bench.engines.live.swarm import skew
from bench.engines.live.swarm.shard import Shard, ShardPlan
from bench.errors import HarnessError

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def serve(pipe: Connection) -> None:
    worker, plan = pipe.recv()
    try:
        shard = _make(worker, plan)
    except HarnessError as error:
        pipe.send((False, error))
        return
    pipe.send((True, None))
    while True:
        try:
            method, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, getattr(shard, method)(*args, **kwargs))
        except Exception:  # noqa: BLE001  whatever it is, the parent has to be told
            answer = (False, traceback.format_exc())
        pipe.send(answer)


def _make(worker: str, plan: ShardPlan) -> Shard:
    if plan.skewable:
        skew.prepare()
    module, _, name = worker.partition(":")
    made: Shard = getattr(importlib.import_module(module), name)(plan)
    return made


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    serve(Connection(int(sys.argv[1])))
    os._exit(0)  # a shard's threads don't hold up its end
