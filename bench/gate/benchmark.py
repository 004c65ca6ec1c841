"""A result in the form of pytest-benchmark, for its `compare` and the tools built on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.gate.measured import Measured

FIGURES = (
    "detection.mean",
    "detection.p99",
    "convergence.seconds",
    "join.ramp_seconds",
    "load.server_cpu_cores_per_service_second",
)
"""Those in seconds: CPU is seconds for each second and service."""

FORMAT = "5.0.0"
"""The version of pytest-benchmark's that this is written as."""


def benchmark(measured: Measured) -> dict[str, Any]:
    """As plain JSON values; one benchmark for each figure of each backend, its rounds the runs."""
    now = datetime.now(UTC).isoformat()
    return {
        "machine_info": {
            "node": "",
            "processor": str(measured.machine.get("cpu", "")),
            "machine": str(measured.machine.get("cpu", "")),
            "python_compiler": "",
            "python_implementation": "CPython",
            "python_implementation_version": "",
            "python_version": "",
            "python_build": [],
            "release": str(measured.machine.get("kernel", "")),
            "system": str(measured.machine.get("system", "")),
            "cpu": {"brand_raw": str(measured.machine.get("cpu", ""))},
        },
        "commit_info": {
            "id": measured.commit or "unversioned",
            "time": now,
            "author_time": now,
            "dirty": False,
            "project": "heartbench",
            "branch": "(unknown)",
        },
        "benchmarks": list(_benchmarks(measured)),
        "datetime": now,
        "version": FORMAT,
    }


def _benchmarks(measured: Measured) -> Iterator[Mapping[str, Any]]:
    scenario = str(measured.scenario.get("name", "scenario"))
    for backend in measured.backends:
        for figure in FIGURES:
            values = [v for v in measured.values(backend, figure) if v is not None and v > 0]
            if values:
                name = f"{scenario}[{backend}-{figure}]"
                yield {
                    "group": figure,
                    "name": name,
                    "fullname": f"heartbench::{name}",
                    "params": {"backend": backend, "figure": figure},
                    "param": f"{backend}-{figure}",
                    "extra_info": {"run": measured.run},
                    "options": {
                        "disable_gc": False,
                        "timer": "perf_counter",
                        "min_rounds": 1,
                        "max_time": 1.0,
                        "min_time": 0.0,
                        "warmup": False,
                    },
                    "stats": _stats(values),
                }


def _stats(values: Sequence[float]) -> dict[str, Any]:
    data = np.sort(np.asarray(values, dtype=np.float64))
    q1, middle, q3 = (float(np.quantile(data, q)) for q in (0.25, 0.5, 0.75))
    mean = float(data.mean())
    spread = float(data.std(ddof=1)) if len(data) > 1 else 0.0
    far = 1.5 * (q3 - q1)
    inside = data[(data >= q1 - far) & (data <= q3 + far)]
    by_spread = int((np.abs(data - mean) > spread).sum())
    by_quartile = len(data) - len(inside)
    return {
        "min": float(data[0]),
        "max": float(data[-1]),
        "mean": mean,
        "stddev": spread,
        "rounds": len(data),
        "median": middle,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": by_quartile,
        "stddev_outliers": by_spread,
        "outliers": f"{by_spread};{by_quartile}",
        "ld15iqr": float(inside[0]),
        "hd15iqr": float(inside[-1]),
        "ops": 1 / mean,
        "total": float(data.sum()),
        "iterations": 1,
        "data": data.tolist(),
    }
