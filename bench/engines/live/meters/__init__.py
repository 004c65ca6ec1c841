"""What a run costs: one thread that reads every meter once a second.

A meter is a function that returns readings; counters are cumulative, so that a lost sample
loses resolution and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.engines.live.swarm.shard import monotonic


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one source; see `bench.result.METRICS`."""

    source: str
    metric: str
    value: float
    unit: str


Meter = Callable[[], Iterable[Reading]]
PERIOD = 1.0


@dataclass(slots=True)
class Readings:
    """What the meters have shown, each with its time on our clock."""

    taken: list[tuple[float, Reading]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Meter -> what it last said; a meter that fails leaves a gap, not an ended run."""


@contextmanager
def metered(meters: Iterable[Meter]) -> Iterator[Readings]:
    """Read the meters every second until the block ends, and once more then."""
    readings = Readings()
    ended = threading.Event()
    each = tuple(meters)

    def read() -> None:
        for meter in each:
            try:
                taken = [(monotonic(), reading) for reading in meter()]
            except Exception as error:  # noqa: BLE001  servers die here; that is the experiment
                readings.failures[repr(meter)] = f"{type(error).__name__}: {error}"
            else:
                readings.taken.extend(taken)

    def read_on() -> None:
        due = monotonic()
        while not ended.wait(max(0.0, due - monotonic())):
            read()
            due += PERIOD

    thread = threading.Thread(target=read_on, name="meters", daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        ended.set()
        thread.join()
        read()
