"""Meters that are ready to use, for `membership.connect`'s ``meter``: see `membership.Meter`.

    connect(url, meter=warn_late(prometheus(), threshold=1.0))

One meter serves any number of connections.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from membership.api import Meter
from membership.errors import MissingDriver

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter as OpenTelemetryMeter
    from prometheus_client import CollectorRegistry

_logger = logging.getLogger("membership.metrics")

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds: from a renewal on an idle network to one that has outlived most timeouts."""


def prometheus(registry: CollectorRegistry | None = None) -> Meter:
    """Timings as histograms ``membership_…_seconds``, in that registry (default: the global one).

    Make one: a registry refuses a second that measures the same. Raises: MissingDriver.
    """
    try:
        from prometheus_client import REGISTRY, Histogram
    except ImportError as error:
        raise _missing("prometheus-client", "prometheus") from error
    register = REGISTRY if registry is None else registry

    def histogram(name: str) -> Callable[[float], None]:
        about = f"{name.removesuffix('_seconds').replace('_', ' ')}, in seconds"
        return Histogram(f"membership_{name}", about, registry=register, buckets=_BUCKETS).observe

    return _by_name(histogram)


def opentelemetry(meter: OpenTelemetryMeter | None = None) -> Meter:
    """Timings as histograms ``membership.…`` in s, of that meter (default: the global provider's).

    Raises: MissingDriver.
    """
    try:
        from opentelemetry.metrics import get_meter
    except ImportError as error:
        raise _missing("opentelemetry-api", "opentelemetry") from error
    made = get_meter("membership") if meter is None else meter

    def histogram(name: str) -> Callable[[float], None]:
        return made.create_histogram(f"membership.{name.removesuffix('_seconds')}", unit="s").record

    return _by_name(histogram)


def warn_late(meter: Meter | None = None, *, threshold: float, every: float = 60.0) -> Meter:
    """Log a warning when renewals are sent more than ``threshold`` seconds late.

    Something starves the library's threads then: a computation that holds the interpreter, a
    process without enough of a processor, a machine that swaps. A member that is late by its
    timeout less its interval is dead to others; a third of that is a good threshold. It is said
    at most once in ``every`` seconds, with the worst so far. ``meter`` is told of everything.
    """
    lock = threading.Lock()
    times, worst, quiet_until = 0, 0.0, 0.0

    def measured(name: str, value: float) -> None:
        nonlocal times, worst, quiet_until
        if meter is not None:
            meter(name, value)
        if name != "renewal_late_seconds" or value <= threshold:
            return
        with lock:
            times, worst = times + 1, max(worst, value)
            if (now := time.monotonic()) < quiet_until:
                return
            told, times, worst, quiet_until = (times, worst), 0, 0.0, now + every
        _logger.warning(
            "renewals sent late: %d, by up to %.2f s; something starves this process",
            *told,
        )

    return measured


def _by_name(make: Callable[[str], Callable[[float], None]]) -> Meter:
    """Makes an instrument when its name first comes."""
    lock = threading.Lock()
    instruments: dict[str, Callable[[float], None]] = {}

    def measured(name: str, value: float) -> None:
        instrument = instruments.get(name)
        if instrument is None:
            with lock:
                if (instrument := instruments.get(name)) is None:
                    instrument = instruments[name] = make(name)
        instrument(value)

    return measured


def _missing(package: str, extra: str) -> MissingDriver:
    return MissingDriver(f"this needs {package}: pip install 'heartbench[{extra}]'")
