"""What the charts draw, by hand-made histories whose course is obvious."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from bench.report.html.canvas import SHADES, drawn, panels, shade
from bench.report.html.columns import letter
from bench.report.html.detection import SHARES, within
from bench.report.html.timeline import course
from bench.result import Kind
from tests.report.results import run
from tests.unit.history import History


def test_a_share_is_noticed_at_the_time_of_the_victim_that_completes_it() -> None:
    times = np.array([1.0, 2.0, 3.0, np.inf])
    by = dict(zip(SHARES.round(2).tolist(), within(times).tolist(), strict=True))
    assert (by[0.25], by[0.26], by[0.5], by[0.75]) == (1.0, 2.0, 2.0, 3.0)
    assert by[0.76] == by[1.0] == np.inf


def test_no_more_is_drawn_of_many_victims_and_the_ends_stay() -> None:
    times = np.sort(np.random.default_rng(1).random(100_000))
    assert len(within(times)) == 100
    assert within(times)[-1] == times[-1]


def test_the_course_of_a_run_in_steps() -> None:
    """Four services join by 4 s, two crash at 20 and 30 s, and are noticed 55 s later by the first
    observer, half a second after that by the second."""
    made = course(run())
    assert len(made.edges) == 101
    at = {float(end): step for step, end in enumerate(made.edges[1:])}
    assert [made.living[at[t]] for t in (1.0, 4.0, 20.0, 30.0, 100.0)] == [1, 4, 3, 2, 2]
    assert (made.least[at[76.0]], made.most[at[76.0]]) == (3, 4)  # one of them knows
    assert (made.least[at[77.0]], made.most[at[77.0]]) == (3, 3)
    assert (made.least[at[86.0]], made.most[at[86.0]]) == (2, 3)
    assert made.faults["crashed"].sum() == 2
    assert made.faults["crashed"][at[21.0]] == made.faults["crashed"][at[31.0]] == 1
    assert made.phases == ((10.0, "hold"),)
    assert np.allclose(made.cores, 0.1)
    assert np.allclose(made.requests, 40.0)


def test_a_dip_within_a_step_is_not_lost() -> None:
    """A view that loses a service and has it back 10 ms later."""
    history = History().alive("a").alive("b", token=2)
    history.told(50.50, Kind.LEFT, "a").told(50.51, Kind.JOINED, "a")
    made = course(history.record())
    assert (made.least[50], made.most[50]) == (1, 2)
    assert (made.least[51], made.most[51]) == (2, 2)


def test_who_is_told_twice_has_still_one() -> None:
    history = History().alive("a").told(5.0, Kind.JOINED, "a", token=2).told(6.0, Kind.LEFT, "a")
    history.told(7.0, Kind.LEFT, "a")
    made = course(history.record())
    assert made.most.max() == 1
    assert made.least[8:].max() == made.least[8:].min() == 0


def test_a_server_that_starts_again_goes_on_counting() -> None:
    history = History().alive("a")
    for t in range(101):
        history.sample(t, "server", "cpu_seconds", 0.5 * (t if t < 50 else t - 50))
    cores = course(history.record()).cores
    assert np.nanmax(cores) == pytest.approx(0.5)
    assert np.nanmin(np.delete(cores, 49)) == pytest.approx(0.5)


def test_what_was_not_metered_is_not_drawn_as_nothing() -> None:
    made = course(History().alive("a").record())
    assert np.isnan(made.cores).all()
    assert np.isnan(made.requests).all()


def test_a_drawing_takes_every_colour_and_font_from_the_page() -> None:
    with panels() as (figure, (axes,)):
        for number in range(SHADES + 1):
            axes.plot([0, 1], [0, number], color=shade(number))
        axes.set_title("a <b> & $x$ \u2603")
        tree = ElementTree.fromstring(drawn(figure, "one", "a <title>", "words"))
    styles = [element.get("style", "") for element in tree.iter()]
    assert not [style for style in styles if "#" in style or "font-family" in style]
    assert {f"var(--s{n})" for n in range(SHADES)} <= {
        word for style in styles for word in style.replace(";", " ").split()
    }
    assert "a <b> & $x$ \u2603" in [element.text for element in tree.iter("text")]
    assert [tree[0].text, tree[1].text] == ["a <title>", "words"]
    assert all(element.get("id", "one-").startswith("one-") for element in tree.iter())


def test_results_have_letters() -> None:
    assert [letter(place) for place in (0, 1, 25, 26, 27, 52)] == ["A", "B", "Z", "AA", "AB", "BA"]
