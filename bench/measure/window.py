"""The spans of a run that are judged: what went before them is the ramp."""

from __future__ import annotations

from dataclasses import dataclass

from bench.result import Kind, Record


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end`, in seconds of the run."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def observed(record: Record) -> Window | None:
    """From the first phase to the end; None where the run broke off before its first phase.

    A run without an `end` event ends with its last event.
    """
    return _from_phase(record, skip_settling=False)


def steady(record: Record) -> Window | None:
    """As `observed`, but from the first phase that is no settling: what costs are averaged over."""
    return _from_phase(record, skip_settling=True) or observed(record)


def _from_phase(record: Record, *, skip_settling: bool) -> Window | None:
    events = record.events
    phases = events[events["kind"] == Kind.PHASE]
    if skip_settling:
        phases = phases[~phases["subject"].fillna("").str.startswith("settle")]
    if phases.empty:
        return None
    ends = events.loc[events["kind"] == Kind.END, "t"]
    end = ends.max() if len(ends) else events["t"].max()
    return Window(float(phases["t"].min()), float(end))
