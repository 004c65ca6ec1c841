"""What is done to racks' links: cut, loss, delay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.engines.live.faults.stage import Stage
from bench.engines.live.faults.timed import timed
from bench.engines.live.swarm.shard import Event
from bench.kind import Kind
from bench.plan import OnLinks

_ONSETS = {"cut": Kind.CUT, "loss": Kind.LOSSY, "delay": Kind.DELAYED}


@contextmanager
def inflict(fault: OnLinks, stage: Stage) -> Iterator[None]:
    """Impair the links of the fault's racks, all at its instant; on leaving they are healed.

    Each victim's onset and healing are told once packets have confirmed them. At the end the block
    raises what went wrong with any rack: `racks.Unconfirmed`.
    """
    [at] = fault.at.tolist()
    with ExitStack() as guards:
        for rack in fault.racks:
            guards.enter_context(
                timed(stage.t0 + at, fault.duration, _impaired(fault, rack, stage))
            )
        yield


@contextmanager
def _impaired(fault: OnLinks, rack: int, stage: Stage) -> Iterator[float]:
    run = stage.run
    victims = [index for index in fault.victims.tolist() if run.rack[index] == rack]

    def tell(t: float, kind: Kind, value: float | None = None) -> None:
        for index in victims:
            client = "library" if run.library[index] else "wire"
            subject = run.service_name(index)
            stage.tell(Event(t, kind, subject, client, value=value, detail=fault.direction))

    impairment = stage.fabric.impair(
        rack,
        fault.kind,
        fault.direction,
        rate=fault.rate,
        delay=fault.delay,
        jitter=fault.jitter,
    )
    with impairment as episode:
        value = {"cut": None, "loss": fault.rate, "delay": fault.delay}[fault.kind]
        tell(episode.began, _ONSETS[fault.kind], value)
        yield episode.began
    if episode.ended is not None:
        tell(episode.ended, Kind.HEALED)
