"""A probe's packets either bear out what was done to a link, or contradict it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.engines.live.racks.passage import (
    CLEAR,
    Direction,
    Kind,
    Passage,
    Sample,
    contradiction,
    packets,
    passages,
)

CUT = Passage(loss=1.0)
HALF = Passage(loss=0.5)
LATE = Passage(delay=0.02, jitter=0.005)
SEED = 11


def sample(sent: int, lost: int = 0, seconds: float = 0.000_1) -> Sample:
    return Sample(sent, (seconds,) * (sent - lost))


@pytest.mark.parametrize(
    ("passage", "seen"),
    [
        pytest.param(CLEAR, sample(20), id="clear: all arrive"),
        pytest.param(CUT, sample(20, lost=20), id="cut: none arrives"),
        pytest.param(HALF, sample(500, lost=250), id="loss: as stated"),
        pytest.param(HALF, sample(500, lost=290), id="loss: chance"),
        pytest.param(Passage(loss=0.0001), sample(3_000), id="loss: too rare to be seen"),
        pytest.param(LATE, sample(20, seconds=0.015), id="delay: the earliest"),
        pytest.param(LATE, sample(20, seconds=0.09), id="delay: a busy machine"),
    ],
)
def test_what_agrees(passage: Passage, seen: Sample) -> None:
    assert contradiction(passage, seen) is None


@pytest.mark.parametrize(
    ("passage", "seen", "words"),
    [
        pytest.param(CLEAR, sample(20, lost=1), "1 of 20", id="clear: one lost"),
        pytest.param(CLEAR, sample(20, lost=20), "20 of 20", id="clear: a cut that stayed"),
        pytest.param(CLEAR, sample(20, seconds=0.2), "200.0 ms", id="clear: a delay that stayed"),
        pytest.param(CUT, sample(20, lost=19), "19 of 20", id="cut: one arrived"),
        pytest.param(HALF, sample(500, lost=0), "0 of 500", id="loss: none"),
        pytest.param(HALF, sample(500, lost=500), "500 of 500", id="loss: all"),
        pytest.param(HALF, sample(500, lost=160), "50.0%", id="loss: another rate"),
        pytest.param(LATE, sample(20, seconds=0.014), "14.0 ms", id="delay: too early"),
        pytest.param(LATE, sample(20, seconds=0.2), "20 ± 5 ms", id="delay: far too late"),
        pytest.param(LATE, sample(20, lost=20), "20 of 20", id="delay: nothing arrives"),
    ],
)
def test_what_contradicts(passage: Passage, seen: Sample, words: str) -> None:
    assert words in (contradiction(passage, seen) or "")


def test_only_the_quickest_packet_has_to_be_in_time() -> None:
    """On a busy machine any packet may be late, but none too early."""
    assert contradiction(LATE, Sample(3, (0.9, 0.02, 0.5))) is None


def test_what_is_healed_is_quicker_than_it_could_have_been_before() -> None:
    assert contradiction(CLEAR, sample(20, seconds=0.014), unlike=LATE) is None
    assert contradiction(CLEAR, sample(20, seconds=0.016), unlike=LATE)
    assert contradiction(LATE, sample(20, seconds=0.06), unlike=LATE) is None


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.2, 0.5, 0.8, 0.99, 0.995])
def test_so_many_packets_tell_a_loss_from_none_and_from_a_cut(rate: float) -> None:
    passage = Passage(loss=rate)
    sent = packets(passage)
    assert contradiction(passage, sample(sent, lost=0))
    assert contradiction(passage, sample(sent, lost=sent))
    assert sent <= 3_000


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.3, 0.8])
def test_a_true_loss_is_not_doubted(rate: float) -> None:
    """The bound on a single sample is `DOUBT`, one in a million; these are a hundred."""
    random, passage = np.random.default_rng(SEED), Passage(loss=rate)
    sent = packets(passage)
    for lost in random.binomial(sent, rate, size=100).tolist():
        assert contradiction(passage, sample(sent, lost)) is None


@pytest.mark.parametrize("direction", ["in", "out", "both"])
@pytest.mark.parametrize("kind", ["cut", "loss", "delay"])
def test_the_other_way_stays_clear(kind: Kind, direction: Direction) -> None:
    both = passages(kind, direction, rate=0.3, delay=0.02, jitter=0.005)
    impaired = {
        "cut": CUT,
        "loss": Passage(loss=0.3),
        "delay": LATE,
    }[kind]
    assert both["in"] == (CLEAR if direction == "out" else impaired)
    assert both["out"] == (CLEAR if direction == "in" else impaired)


@pytest.mark.parametrize(
    ("kind", "rate", "delay", "jitter"),
    [
        ("loss", 0.0, 0.0, 0.0),
        ("loss", 1.01, 0.0, 0.0),
        ("loss", math.nan, 0.0, 0.0),
        ("delay", 0.0, 0.0, 0.0),
        ("delay", 0.0, math.inf, 0.0),
        ("delay", 0.0, 0.02, 0.03),
        ("delay", 0.0, 0.02, -0.001),
    ],
)
def test_impossible_figures_are_refused(
    kind: Kind, rate: float, delay: float, jitter: float
) -> None:
    with pytest.raises(ValueError, match=kind):
        passages(kind, "both", rate=rate, delay=delay, jitter=jitter)
