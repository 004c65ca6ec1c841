"""An unloaded simulation shows what the closed forms say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.calibration import STATED
from bench.engines.sim import simulated
from bench.plan import Floats
from tests.sim.runs import detections, planned, record, server_of

CRASHES = """
seed: {seed}
services: {{count: {count}, ramp: {ramp}/s}}
observers: 1
phases:
  - settle: {settle}s
  - fault: {{kind: crash, select: {{count: {victims}}}, over: 60s}}
  - hold: 90s
backends:
  it: {backend}
"""


UNLOADED = replace(STATED, sql=replace(STATED.sql, read_row=1e-6))
"""The closed forms know no readers that take long."""


def crashed(backend: str, *, seed: int = 1, victims: int = 10_000) -> Floats:
    """Detection times. The ramp is a multiple of each interval used, so phases lie evenly."""
    text = CRASHES.format(
        seed=seed, count=12_000, ramp=200, settle=15, victims=victims, backend=backend
    )
    (run,) = planned(text)
    times = np.asarray(detections(simulated(run, UNLOADED)), dtype=np.float64)
    assert len(times) == victims
    assert not np.isnan(times).any()
    return times


@pytest.mark.parametrize(
    ("poll", "mean", "sd"),
    # T - H/2, H/sqrt(12); and with a poll of Q: T - H/2 + Q/2, sqrt((H² + Q²)/12)
    [("read", 55.0, 2.887), ("10s", 60.0, 4.082)],
)
def test_nova_is_detected_by_the_age_of_its_stamp(poll: str, mean: float, sd: float) -> None:
    times = crashed(f"{{kind: sql, profile: nova, interval: 10s, timeout: 60s, poll: {poll}}}")
    assert times.mean() == pytest.approx(mean, rel=0.01)
    assert times.std() == pytest.approx(sd, rel=0.03)


def test_tuned_is_detected_a_timeout_after_the_read_that_showed_the_last_beat() -> None:
    # It comes within a poll: T - H/2 + Q/2, sqrt((H² + Q²)/12).
    times = crashed("{kind: sql, profile: tuned, interval: 4s, timeout: 10s, poll: 2s}")
    assert times.min() > 10 - 4
    assert times.max() < 10 + 2 + 0.1
    assert times.mean() == pytest.approx(9.0, rel=0.01)
    assert times.std() == pytest.approx(1.291, rel=0.03)


def ages() -> tuple[float, float]:
    """Mean and variance of the age of kazoo's last ping at S = 10, from its law."""
    periods = 10 / 3 - np.arange(1, 41) / 100
    mean = (periods**2).mean() / (2 * periods.mean())
    return mean, (periods**3).mean() / (3 * periods.mean()) - mean**2


def test_a_session_expires_at_the_edge_of_a_bucket() -> None:
    mean, variance = ages()
    times = crashed("{kind: zookeeper, servers: 1, session_timeout: 10s, tick: 2s}")
    assert mean == pytest.approx(1.566, abs=0.001)
    assert times.mean() == pytest.approx(10 - mean + 1, rel=0.01)  # 9.43
    assert times.std() == pytest.approx((variance + 2**2 / 12) ** 0.5, rel=0.03)


def test_a_follower_tells_its_leader_late() -> None:
    """By up to half a tick, which costs a fixed share of a bucket in one run: the phase between
    the leader's pings and its buckets. Over many runs that is a quarter of a tick."""
    behind = []
    for seed in range(16):
        text = CRASHES.format(
            seed=seed,
            count=2_400,
            ramp=200,
            settle=15,
            victims=2_000,
            backend="{kind: zookeeper, servers: 3, session_timeout: 10s, tick: 2s}",
        )
        (run,) = planned(text)
        simulated = record(run)
        times, server = detections(simulated), server_of(simulated)
        (leader,) = [
            one["name"] for one in simulated.environment["servers"] if one["role"] == "leader"
        ]
        own = times[server == leader].mean()
        assert own == pytest.approx(10 - ages()[0] + 1, abs=0.15)
        behind.append(times[server != leader].mean() - own)
    assert np.mean(behind) == pytest.approx(0.5, abs=0.15)
    assert np.std(behind) > 0.1, "the phase differs from run to run"
    assert min(behind) > -0.2
    assert max(behind) < 1.2
