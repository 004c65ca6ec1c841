"""What a run costs: each meter is read once a second or so, in a thread of its own.

Counters are cumulative, so that a lost sample loses resolution and nothing else; after a server's
restart they begin at zero again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.engines.live.swarm.shard import monotonic

LAST_WORD = 3.0
"""Seconds that all meters have for their last reading, once the run is over."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one source; see `bench.result.METRICS`."""

    source: str
    metric: str
    value: float
    unit: str


@dataclass(frozen=True)
class Meter:
    """Something that can be read from time to time."""

    name: str
    read: Callable[[], Iterable[Reading]]
    """May raise, or take long: that is a gap in this meter's readings, and in no other's. What is
    down yields nothing."""
    period: float = 1.0
    """Seconds from one reading to the next."""


@dataclass(slots=True)
class Readings:
    """What the meters have shown, each with its time on our clock."""

    taken: list[tuple[float, Reading]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Meter -> what it last said; a meter that fails leaves a gap, not an ended run."""

    def drain(self) -> list[tuple[float, Reading]]:
        """What was taken so far, which is forgotten here. The meters may go on meanwhile."""
        drained = self.taken[:]
        del self.taken[: len(drained)]
        return drained


@contextmanager
def metered(meters: Iterable[Meter]) -> Iterator[Readings]:
    """Read the meters until the block ends, and once more then."""
    readings = Readings()
    ended = threading.Event()

    def read(meter: Meter) -> None:
        try:
            taken = [(monotonic(), reading) for reading in meter.read()]
        except Exception as error:  # noqa: BLE001  servers die here; that is the experiment
            said = str(error).partition("\n")[0]
            readings.failures[meter.name] = f"{type(error).__name__}: {said}"
        else:
            readings.taken.extend(taken)

    def read_on(meter: Meter) -> None:
        due = monotonic()
        while not ended.wait(max(0.0, due - monotonic())):
            read(meter)
            due = max(due + meter.period, monotonic())
        read(meter)

    threads = {
        meter.name: threading.Thread(target=read_on, args=(meter,), name="meter", daemon=True)
        for meter in meters
    }
    for thread in threads.values():
        thread.start()
    try:
        yield readings
    finally:
        ended.set()
        deadline = monotonic() + LAST_WORD
        for name, thread in threads.items():
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                readings.failures[name] = f"it gave no answer for {LAST_WORD:g} s at the end"
