"""What the simulated servers would have been metered at, once a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.engines.sim.ledger import CLOCK
from bench.plan import Floats, Run
from bench.result import METRICS, frame

LONGEST = 3600
"""So many samples a meter at most; of a longer run they lie further apart."""


@dataclass
class Meters:
    """Collects the metrics of one run that ends at ``end``."""

    run: Run
    end: float
    times: Floats = field(init=False)
    _parts: list[pd.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        steps = min(int(self.end) + 1, LONGEST)
        self.times = np.linspace(0.0, self.end, steps + 1)

    def gauge(self, source: str, metric: str, values: Floats | float, unit: str) -> None:
        """A value at each of `times`."""
        self._add(self.times, source, metric, np.broadcast_to(values, len(self.times)), unit)

    def yardstick(self, value: float | None) -> None:
        """The calibration's own: the simulated machine is always as fast as it was then."""
        if value:
            self.gauge("machine", "yardstick", value, "s")

    def rate(
        self, source: str, metric: str, by_second: Floats, unit: str, *, before: float = 0.0
    ) -> None:
        """A counter: what came ``before`` the run and in each second of it adds up."""
        counted = np.cumsum([before, *by_second])
        seconds = np.arange(len(counted), dtype=np.float64)
        self.gauge(source, metric, np.interp(self.times, seconds, counted), unit)

    def samples(
        self, metric: str, samples: Iterable[tuple[float, float]], unit: str, source: str = CLOCK
    ) -> None:
        """Single measurements: time and value."""
        if rows := list(samples):
            times, values = np.array(rows, dtype=np.float64).T
            self._add(times, source, metric, values, unit)

    def _add(self, times: Floats, source: str, metric: str, values: Floats, unit: str) -> None:
        columns = {"t": times, "source": source, "metric": metric, "value": values, "unit": unit}
        self._parts.append(pd.DataFrame(columns))

    def frame(self) -> pd.DataFrame:
        """All of it, in order of time, in the columns of `METRICS`."""
        planned = float(sum(fault.onsets for fault in self.run.faults))
        self.samples("faults_planned", [(0.0, planned)], "faults", source="harness")
        table = pd.concat(self._parts, ignore_index=True).sort_values("t", kind="stable")
        own = table.assign(backend=self.run.backend_name, repeat=self.run.repeat)
        return frame(METRICS, own)


def by_second(instants: Sequence[tuple[float, float]], end: float) -> Floats:
    """What came in each second, of amounts at instants."""
    seconds = int(end) + 2
    if not instants:
        return np.zeros(seconds)
    times, amounts = np.array(instants, dtype=np.float64).T
    places = np.clip(times, 0, seconds - 1).astype(np.int64)
    return np.bincount(places, amounts, minlength=seconds).astype(np.float64)
