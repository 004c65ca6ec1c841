"""What is done to services themselves, each by orders that their shards carry out and confirm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench.engines.live.faults.stage import Stage
from bench.engines.live.swarm.process import ShardDied
from bench.engines.live.swarm.shard import Action, Order, monotonic
from bench.plan import OnServices


@contextmanager
def inflict(fault: OnServices, stage: Stage) -> Iterator[None]:
    """Give the orders for one fault; each shard carries out what concerns its own services.

    The shards confirm each by an event. On leaving, whoever is still stopped goes on, and clocks
    are right again.
    """
    victims = tuple(stage.run.service_name(int(index)) for index in fault.victims)
    at = tuple(stage.t0 + float(offset) for offset in fault.at)
    back = tuple(t + float(s) for t, s in zip(at, fault.duration, strict=True))
    try:
        for order in _orders(fault, victims, at, back):
            for shard in stage.shards:
                shard.carry_out(order)
        yield
    finally:
        now = monotonic()
        for order in _healing(fault, victims, now):
            for shard in stage.shards:
                with suppress(ShardDied):  # with its shard, a stopped service is gone
                    shard.carry_out(order)


def _orders(
    fault: OnServices, victims: tuple[str, ...], at: tuple[float, ...], back: tuple[float, ...]
) -> Iterator[Order]:
    match fault.kind:
        case "freeze" | "flap":
            turns = [float(s) + fault.up for s in fault.duration]
            for turn in range(fault.times):
                shift = [turn * each for each in turns]
                stops = tuple(t + by for t, by in zip(at, shift, strict=True))
                goings = tuple(t + by for t, by in zip(back, shift, strict=True))
                yield Order(Action.FREEZE, victims, stops)
                yield Order(Action.RESUME, victims, goings)
        case "restart":
            yield Order(Action.LEAVE if fault.orderly else Action.CRASH, victims, at)
            yield Order(Action.START, victims, back)
        case "skew":
            yield Order(Action.SKEW, victims, at, fault.offset)
            lasting = [(name, t) for name, t in zip(victims, back, strict=True) if t < math.inf]
            if lasting:
                names, ends = zip(*lasting, strict=True)
                yield Order(Action.SKEW, names, ends)
        case "crash" | "power-loss" | "leave":
            yield Order(Action(fault.kind), victims, at)


def _healing(fault: OnServices, victims: tuple[str, ...], now: float) -> Iterator[Order]:
    if fault.kind in ("freeze", "flap"):
        yield Order(Action.RESUME, victims, (now,) * len(victims))
    elif fault.kind == "skew":
        yield Order(Action.SKEW, victims, (now,) * len(victims))
