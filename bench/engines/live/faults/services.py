"""What is done to services themselves: crash, leave, freeze."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from bench.engines.live.swarm.process import HostedShard, ShardDied
from bench.engines.live.swarm.shard import Action, Order, monotonic
from bench.plan import PlannedFault, Run


@contextmanager
def inflict(
    fault: PlannedFault, run: Run, t0: float, shards: Sequence[HostedShard]
) -> Iterator[None]:
    """Give the orders for one fault; each shard carries out what concerns its own services.

    The shards confirm each by an event. On leaving, whoever is still frozen goes on.
    """
    victims = tuple(run.service_name(int(index)) for index in fault.victims)
    at = tuple(t0 + float(offset) for offset in fault.at)
    orders = [Order(Action(fault.kind), victims, at)]
    if fault.kind == "freeze":
        orders.append(Order(Action.RESUME, victims, tuple(t + fault.duration for t in at)))
    for shard in shards:
        for order in orders:
            shard.carry_out(order)
    try:
        yield
    finally:
        if fault.kind == "freeze":
            now = monotonic()
            for shard in shards:
                with suppress(ShardDied):  # with its shard, a frozen service is gone
                    shard.carry_out(Order(Action.RESUME, victims, (now,) * len(victims)))
