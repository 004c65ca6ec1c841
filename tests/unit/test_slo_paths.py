"""What a scenario may bound is what a summary has."""

from collections.abc import Mapping

import pytest

from bench.measure.impairments import HEALINGS
from bench.measure.summary import summarise
from bench.result import Kind
from bench.scenario.slo import METRICS
from tests.unit.history import History

KINDS = {
    "a": Kind.CRASHED,
    "b": Kind.LEFT,
    "c": Kind.FROZEN,
    "d": Kind.CUT,
    "e": Kind.LOSSY,
    "f": Kind.DELAYED,
    "g": Kind.SKEWED,
}


def figures() -> Mapping[str, object]:
    """Of a run in which everything happened once, and nobody noticed."""
    history = History()
    for name in (*KINDS, "h", "i", "j"):
        history.alive(name)
    for name, kind in KINDS.items():
        history.truth(20.0, kind, name, incarnation=1, value=0.0)
        if kind in HEALINGS:
            history.truth(30.0, HEALINGS[kind], name, incarnation=1)
    for t in (20.0, 24.0):  # a flap
        history.truth(t, Kind.FROZEN, "h", incarnation=1, value=0.0)
        history.truth(t + 1.0, Kind.RESUMED, "h", incarnation=1)
    history.truth(20.0, Kind.CRASHED, "i", incarnation=1, value=0.0)
    history.truth(21.0, Kind.RESTARTED, "i")
    history.truth(20.0, Kind.SERVER_KILLED, "server", detail="primary")
    history.truth(22.0, Kind.SERVER_BACK, "server", value=2.0, detail="primary")
    history.told(90.0, Kind.LEFT, "j").told(95.0, Kind.JOINED, "j")
    summary = summarise([history.audited().record()])
    [found] = summary["backends"].values()
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def summary() -> Mapping[str, object]:
    return figures()


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_is_a_path_of_the_summary(metric: str, summary: Mapping[str, object]) -> None:
    """Its value may be None, where this run has nothing to measure."""
    place: object = summary
    for step in metric.split("."):
        assert isinstance(place, dict), metric
        assert step in place, f"{step} of {metric}: there are {', '.join(place)}"
        place = place[step]
    assert place is None or isinstance(place, int | float), f"{metric} is {place!r}"
