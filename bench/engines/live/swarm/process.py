"""A shard in a process of its own: the host that this machine offers.

The process speaks pickled calls over a socket pair, dies with its parent, and is deaf to the
terminal's signals: the parent decides when it ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from bench.engines.live.clocks import measure
from bench.engines.live.swarm import skew
from bench.engines.live.swarm.shard import Log, Order, ShardPlan, Status
from bench.errors import HarnessError

PATIENCE = 60.0
"""No call of a shard takes this long, in s, unless its process hangs."""

SERVE = "bench.engines.live.swarm.serve"


class ShardDied(HarnessError):
    """A shard's process ended, or hangs: its part of the run is lost."""


class HostedShard:
    """A `shard.Shard` elsewhere. Its methods take our times; what it logs is on its own clock."""

    def __init__(self, plan: ShardPlan, pid: int, pipe: Connection) -> None:
        self.plan = plan
        self.name = plan.name
        self.pid = pid
        self._pipe = pipe
        self._answer("being made")
        self.offset = measure(self.clock)

    def begin(self, epoch: float) -> None:
        self._call("begin", epoch - self.offset.seconds)

    def carry_out(self, order: Order) -> None:
        at = tuple(t - self.offset.seconds for t in order.at)
        self._call("carry_out", replace(order, at=at))

    def status(self) -> Status:
        status: Status = self._call("status")
        return status

    def drain(self) -> Log:
        log: Log = self._call("drain")
        return log

    def clock(self) -> float:
        t: float = self._call("clock")
        return t

    def close(self, *, goodbye: bool) -> None:
        self._call("close", goodbye=goodbye)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            self._pipe.send((method, args, kwargs))
        except OSError as error:
            raise ShardDied(f"{self.name}'s process ended before {method}") from error
        return self._answer(method)

    def _answer(self, doing: str) -> Any:
        try:
            if not self._pipe.poll(PATIENCE):
                raise ShardDied(f"{self.name} has not answered for {PATIENCE:.0f} s: {doing}")
            good, value = self._pipe.recv()
        except (OSError, EOFError) as error:
            raise ShardDied(f"{self.name}'s process ended: {doing}") from error
        if good:
            return value
        if isinstance(value, HarnessError):
            raise value
        raise ShardDied(f"{self.name} failed: {doing}\n{value}")


@contextmanager
def hosted(worker: str, plan: ShardPlan, inside: Sequence[str] = ()) -> Iterator[HostedShard]:
    """Run ``worker`` (``module:class``, made from the plan) in a process that ends with the block.

    ``inside``: a command that runs the one that follows it elsewhere, such as in a network
    namespace; it has to become that one, keeping its process and its open files.

    Raises: MachineError where this machine isn't up to the plan; ShardDied where it can't be made,
    what it said is on the standard error.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", SERVE, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=os.environ | skew.environment() if plan.skewable else None,
            start_new_session=True,
        )
        theirs.close()
        with Connection(os.dup(ours.fileno())) as pipe:
            try:
                pipe.send((worker, plan))
                yield HostedShard(plan, process.pid, pipe)
            finally:
                process.kill()
                process.wait()
                if plan.skewable:
                    skew.tidy(process.pid)
