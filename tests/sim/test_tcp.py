"""What TCP does about lost packets, beside what Linux 6.18 was seen to do.

Seen: 400 connections between two network namespaces, the receiver dropping 80% at random; one
request of 12 bytes on each, answered at once; then 400 new connections.
"""

from __future__ import annotations

import math
import random

import pytest

from bench.engines.sim.tcp import Loses, arrival, data, handshake, reached, repeated, syn

COUNT = 4_000


def losing(direction: str, rate: float, seed: int) -> Loses:
    draws = random.Random(seed)
    return lambda way, _t: direction in (way, "both") and draws.random() < rate


def test_data_are_sent_again_after_twice_as_long_each_time() -> None:
    seen = [0.0, 0.209, 0.42, 0.86, 1.72, 3.36, 6.92]
    assert [data(number) for number in range(7)] == pytest.approx(seen, rel=0.03)


def test_a_syn_is_sent_again_every_second_at_first() -> None:
    seen = {0: 0.0, 1: 1.02, 2: 2.05, 3: 3.07, 4: 4.09, 5: 5.13, 7: 11.31, 9: 35.65}
    assert {number: syn(number) for number in seen} == pytest.approx(seen, rel=0.03)


@pytest.mark.parametrize(
    ("direction", "answered", "connected"),
    # The share answered within 3.1 s, and connected within 2.5 s.
    [("out", 0.728, 0.455), ("in", 0.700, 0.573), ("both", 0.438, 0.145)],
)
def test_as_many_come_through_as_were_seen_to(
    direction: str, answered: float, connected: float
) -> None:
    loses = losing(direction, 0.8, seed=1)
    back = [arrival(arrival(0.0, "out", loses), "in", loses) for _ in range(COUNT)]
    met = [handshake(0.0, 2.5, loses) for _ in range(COUNT)]
    assert sum(t < 3.1 for t in back) / COUNT == pytest.approx(answered, abs=0.075)
    assert sum(t < 2.5 for t in met) / COUNT == pytest.approx(connected, abs=0.075)


def test_nobody_connects_over_a_link_that_is_cut_one_way() -> None:
    for direction in ("in", "out"):
        assert handshake(0.0, 10.0, losing(direction, 1.0, seed=1)) == math.inf


def test_what_was_lost_comes_through_with_the_first_repetition_after_the_healing() -> None:
    assert repeated(1.0, 1.0) == 1.0
    assert repeated(1.0, 1.5) == 1.0 + data(3)
    assert repeated(0.0, math.inf) == math.inf
    healed = arrival(0.0, "out", lambda _way, t: t < 10.0)
    assert healed == repeated(0.0, 10.0)


@pytest.mark.parametrize("heal", [3.0, 14.0, 700.0, 100_000.0])
def test_a_client_gets_through_soon_after_the_healing_whatever_it_tried_before(heal: float) -> None:
    found = reached(0.5, heal, patience=10.0, attempt=5.0, pause=1.0)
    assert heal <= found <= heal + 7.0
