"""What a run cost the servers and the harness, from its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.measure.figures import Figure, mean
from bench.measure.window import Window, steady
from bench.result import Record

COUNTED: Mapping[str, tuple[str, ...]] = {
    "network_bytes": (
        "client_bytes_received",
        "client_bytes_sent",
        "peer_bytes_received",
        "peer_bytes_sent",
    ),
    "disk_write_bytes": ("disk_write_bytes",),
    "statements": ("statements",),
    "transactions": ("transactions",),
    "wal_bytes": ("wal_bytes",),
    "packets": ("packets_received", "packets_sent"),
}
"""The totals of a summary, and the servers' cumulative metrics that each is the sum of."""

MACHINE = ("network_bytes", "disk_write_bytes")
"""Those that are metered for the whole machine too: the only way where servers' can't be."""


def load(record: Record) -> dict[str, Figure]:
    """The summary's load figures, over the run less its ramp and settling; None: not measured.

    Bytes, statements, transactions and packets are totals of that time, cores are averages, and
    memory is the highest sum over the servers. Each is there once more for each service and
    second, so that runs of different sizes can be compared: cores are seconds a second already,
    and memory is no rate, so these two are for each service.

    `machine_…` is what the whole machine sent and wrote, whoever caused it; where the servers'
    own was not metered, the figures without that prefix are the same. `yardstick_seconds` is the
    mean CPU time of one fixed piece of work: how slow the machine was.
    """
    window = steady(record)
    servers = record.metrics[record.metrics["source"].isin(_servers(record))]
    machine = record.metrics[record.metrics["source"] == "machine"]

    rates = {name: rate(servers, metrics, window) for name, metrics in COUNTED.items()}
    for name in MACHINE:
        rates[f"machine_{name}"] = whole = rate(machine, (name,), window)
        rates[name] = whole if rates[name] is None else rates[name]
    seconds = window.seconds if window else 0.0
    figures = {name: _times(value, seconds) for name, value in rates.items()}
    cores = rate(servers, ("cpu_seconds",), window)
    memory = highest_sum(servers, "rss_bytes", window)
    figures |= {"server_cpu_cores": cores, "server_rss_max_bytes": memory}
    rates |= {"server_cpu_cores": cores, "server_rss_max_bytes": memory}
    for name, value in rates.items():
        figures[f"{name}_per_service_second"] = _times(value, 1 / record.services)
    return figures | {"yardstick_seconds": _gauged(machine, "yardstick", window)}


def harness_cpu_cores(record: Record) -> Figure:
    """Cores that the harness used on average, over the run less its ramp and settling."""
    harness = record.metrics[record.metrics["source"] == "harness"]
    return rate(harness, ("cpu_seconds",), steady(record))


def averaged(loads: Iterable[Mapping[str, Figure]]) -> dict[str, Figure]:
    """The mean of several runs, figure by figure, of those that have it."""
    rows = list(loads)
    return {name: mean([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _servers(record: Record) -> list[str]:
    """The sources that are servers; all others are ours."""
    return [str(server["name"]) for server in record.environment.get("servers", ())]


def rate(metrics: pd.DataFrame, names: Iterable[str], window: Window | None) -> Figure:
    """How fast these cumulative metrics grew in the window, a second, over all their sources.

    Meters don't sample at the window's edges: between two samples a counter is taken as linear.
    """
    if window is None:
        return None
    rates = []
    for _, series in metrics[metrics["metric"].isin(names)].groupby(["source", "metric"]):
        samples = series.sort_values("t")
        times = np.asarray(samples["t"], dtype=np.float64)
        start, end = max(window.start, times[0]), min(window.end, times[-1])
        if end > start:
            counted = _without_restarts(samples["value"])
            grown = np.interp([start, end], times, counted)
            rates.append(float(grown[1] - grown[0]) / (end - start))
    return sum(rates) if rates else None


def _without_restarts(counter: pd.Series[float]) -> NDArray[np.float64]:
    """A counter that falls belongs to a server that started again at zero: it goes on counting."""
    steps = counter.diff().fillna(0.0)
    return np.asarray(steps.where(steps >= 0, counter).cumsum(), dtype=np.float64)


def highest_sum(metrics: pd.DataFrame, name: str, window: Window | None) -> Figure:
    """The highest sum over the sources at one time; each holds its last sample until the next."""
    rows = metrics[metrics["metric"] == name]
    if window is not None:
        rows = rows[rows["t"] <= window.end]
    if window is None or rows.empty:
        return None
    held = rows.pivot_table(index="t", columns="source", values="value").sort_index().ffill()
    sums = held.sum(axis="columns")
    at_first = sums[sums.index <= window.start].iloc[-1:]
    return float(pd.concat([at_first, sums[sums.index > window.start]]).max())


def _gauged(metrics: pd.DataFrame, name: str, window: Window | None) -> Figure:
    """The mean of these readings in the window."""
    if window is None:
        return None
    inside = metrics["t"].between(window.start, window.end)
    rows = metrics[inside & (metrics["metric"] == name)]
    return None if rows.empty else float(rows["value"].mean())


def _times(value: Figure, factor: float) -> Figure:
    return None if value is None else value * factor
