"""How far a detection lies from what the victim's own last renewal allows: its `delivery`."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.detection import first_and_every, model_error, victims
from bench.result import Kind, Parameters
from tests.unit.history import NOVA, History

ZK = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, epoch=1000.0)
ENSEMBLE = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, epoch=1000.0, servers=3)


def polled(profile: str, poll: float | None) -> Parameters:
    return Parameters(kind="sql", profile=profile, interval=10.0, timeout=60.0, poll=poll)


@pytest.mark.parametrize(
    ("parameters", "renewed", "detected", "residual"),
    [
        pytest.param(NOVA, 18.0, 78.02, 0.02, id="nova read at expiry: renewed + timeout"),
        pytest.param(NOVA, 18.0, 77.0, -1.0, id="too early is negative"),
        pytest.param(polled("nova", 10.0), 18.0, 83.0, 0.0, id="anywhere in the poll is right"),
        pytest.param(polled("nova", 10.0), 18.0, 88.5, 0.5, id="after the poll is late"),
        pytest.param(polled("tuned", 1.0), 18.0, 78.9, 0.0, id="tuned: the beat is seen late"),
        pytest.param(polled("tuned", 1.0), 18.0, 79.5, 0.5, id="tuned: by one poll at most"),
        # 1018.5 + 10 is in the bucket that ends at 1030.
        pytest.param(ZK, 18.5, 30.01, 0.01, id="standalone: the edge of the bucket"),
        pytest.param(ZK, 18.5, 31.9, 1.9, id="standalone: nothing between two edges is right"),
        # 1017.99 + 10 ends at 1028, but counted at 1018.0 it ends at 1030.
        pytest.param(ZK, 17.99, 30.0, 0.0, id="a ping on its way over the edge: the later one"),
        pytest.param(ZK, 17.99, 28.0, 0.0, id="or the earlier one"),
        pytest.param(ENSEMBLE, 19.5, 30.03, 0.03, id="unknown role: not reported late"),
        pytest.param(ENSEMBLE, 19.5, 32.03, 0.03, id="unknown role: reported late"),
    ],
)
def test_what_is_left_is_what_the_closed_form_does_not_know(
    parameters: Parameters, renewed: float, detected: float, residual: float
) -> None:
    run = History(parameters=parameters).alive("a").truth(renewed, Kind.RENEWED, "a")
    run.truth(20.0, Kind.CRASHED, "a").told(detected, Kind.LEFT, "a")
    assert victims(run.record())["delivery"].tolist() == [pytest.approx(residual, abs=1e-6)]


@pytest.mark.parametrize(
    ("server", "residual"), [("zk-1", 2.01), ("zk-2", 0.01)], ids=["leader", "follower"]
)
def test_only_a_follower_may_report_half_a_tick_late(server: str, residual: float) -> None:
    run = History(parameters=ENSEMBLE).alive("a", server=server)
    run.environment = {
        "servers": [{"name": "zk-1", "role": "leader"}, {"name": "zk-2", "role": "follower"}]
    }
    run.truth(19.5, Kind.RENEWED, "a").truth(20.0, Kind.CRASHED, "a").told(32.01, Kind.LEFT, "a")
    assert victims(run.record())["delivery"].tolist() == [pytest.approx(residual, abs=1e-6)]


def test_where_the_servers_clock_is_unknown_a_whole_bucket_is_admissible() -> None:
    parameters = Parameters(kind="zookeeper", timeout=10.0, tick=2.0)
    run = History(parameters=parameters).alive("a").truth(18.5, Kind.RENEWED, "a")
    run.truth(20.0, Kind.CRASHED, "a").told(30.1, Kind.LEFT, "a")
    assert victims(run.record())["delivery"].tolist() == [0.0]


def test_leaves_have_no_closed_form_and_nor_has_what_was_missed() -> None:
    run = History().alive("a").alive("b").alive("c").truth(18.0, Kind.RENEWED, "b")
    run.truth(20.0, Kind.LEFT, "a").truth(20.0, Kind.CRASHED, "b")
    run.truth(20.0, Kind.CRASHED, "c").told(78.0, Kind.LEFT, "c")
    rows = victims(run.record())
    assert sorted(rows["subject"]) == ["a", "b", "c"]
    assert rows["delivery"].isna().all()
    assert model_error(rows) == {"model_error_p50": None, "model_error_p99": None}


def test_a_perfect_server_leaves_nothing() -> None:
    """2,000 sessions with sharp pings at a third of 10 s: the mean and sd that were measured."""
    rng = np.random.default_rng(3)
    run = History(parameters=ZK)
    onsets, ages = rng.uniform(20, 50, 2000), rng.uniform(0, 10 / 3, 2000)
    for number, (onset, age) in enumerate(zip(onsets, ages, strict=True)):
        name, pinged = f"s{number}", onset - age
        edge = (np.floor((1000 + pinged + 10) / 2) + 1) * 2 - 1000
        run.alive(name, token=number).truth(pinged, Kind.RENEWED, name)
        run.truth(onset, Kind.CRASHED, name).told(edge, Kind.LEFT, name, token=number)
    rows = first_and_every(victims(run.record()))
    assert rows["delivery"].abs().max() < 1e-3
    assert rows["first"].mean() == pytest.approx(9.33, abs=0.08)
    assert rows["first"].std() == pytest.approx(1.12, abs=0.05)
