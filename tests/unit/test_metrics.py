"""Meters: what a connection measures, as others want to read it."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter
from prometheus_client import CollectorRegistry, generate_latest

from membership import MissingDriver, SqlConfig, connect
from membership.metrics import opentelemetry, prometheus, warn_late
from membership.testing import eventually


def test_prometheus_reads_the_renewals_of_a_real_connection(tmp_path: Any) -> None:
    registry = CollectorRegistry()
    meter = prometheus(registry)
    config = SqlConfig(interval=0.1, timeout=5.0)
    url = f"sqlite:///{tmp_path}/members.db"
    with connect(url, config, meter=meter) as first, connect(url, config, meter=meter) as second:
        first.join("compute", "host-1")
        second.join("compute", "host-2")

        def renewed() -> bool:
            count = registry.get_sample_value("membership_renewal_seconds_count")
            return count is not None and count >= 4

        eventually(renewed)
    exposed = generate_latest(registry).decode()
    assert "# TYPE membership_renewal_seconds histogram" in exposed
    assert "# TYPE membership_renewal_late_seconds histogram" in exposed


def test_prometheus_counts_each_measurement_once() -> None:
    registry = CollectorRegistry()
    meter = prometheus(registry)
    for value in (0.003, 0.004, 3.0):
        meter("renewal_seconds", value)
    read = registry.get_sample_value
    assert read("membership_renewal_seconds_count") == 3
    assert read("membership_renewal_seconds_sum") == pytest.approx(3.007)
    assert read("membership_renewal_seconds_bucket", {"le": "0.005"}) == 2


class RecordingMeter(NoOpMeter):
    """OpenTelemetry's own do-nothing meter, which tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__("test")
        self.made: list[tuple[str, str]] = []
        self.recorded: list[float] = []

    def create_histogram(self, name: str, unit: str = "", *args: Any, **kwargs: Any) -> Any:
        self.made.append((name, unit))
        histogram = super().create_histogram(name, unit, *args, **kwargs)
        setattr(histogram, "record", self.recorded.append)  # noqa: B010  it is no such method
        return histogram


def test_opentelemetry_gets_one_histogram_a_name_with_its_unit() -> None:
    theirs = RecordingMeter()
    meter = opentelemetry(theirs)
    for name, value in (("renewal_seconds", 0.1), ("renewal_late_seconds", 0.2)) * 2:
        meter(name, value)
    assert theirs.made == [("membership.renewal", "s"), ("membership.renewal_late", "s")]
    assert theirs.recorded == [0.1, 0.2, 0.1, 0.2]


def test_opentelemetrys_global_meter_is_the_default() -> None:
    opentelemetry()("renewal_seconds", 0.1)


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("prometheus_client", prometheus, "prometheus"),
        ("opentelemetry.metrics", opentelemetry, "opentelemetry"),
    ],
)
def test_what_is_not_installed_is_named(
    module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDriver, match=rf"heartbench\[{extra}\]"):
        make()


def test_late_renewals_are_warned_of_once_in_a_while_and_all_passed_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    passed: list[tuple[str, float]] = []
    meter = warn_late(lambda *each: passed.append(each), threshold=0.5)
    told = [
        ("renewal_seconds", 9.0),
        ("renewal_late_seconds", 0.5),
        ("renewal_late_seconds", 0.8),
        ("renewal_late_seconds", 1.2),
    ]
    with caplog.at_level(logging.WARNING, "membership"):
        for name, value in told:
            meter(name, value)
    assert passed == told
    assert [record.getMessage() for record in caplog.records] == [
        "renewals sent late: 1, by up to 0.80 s; something starves this process"
    ]


def test_the_next_warning_tells_what_was_not_said_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter = warn_late(threshold=0.5, every=0.0)
    with caplog.at_level(logging.WARNING, "membership"):
        meter("renewal_late_seconds", 0.8)
        meter("renewal_late_seconds", 1.25)
    assert [record.getMessage().split(",")[1] for record in caplog.records] == [
        " by up to 0.80 s; something starves this process",
        " by up to 1.25 s; something starves this process",
    ]
