"""What TCP does about packets that don't pass: it sends them again, and waits longer each time.

The instants are Linux's. Data are sent again after 0.2 s (the loss probe), after another 0.2 s, and
from there on after twice as long each time; its timers come a twentieth late. A SYN is sent again
every second at first, its answer after twice as long each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Way = Literal["in", "out"]
"""As the client sees it."""
Loses = Callable[[Way, float], bool]
"""Whether a packet is lost that is sent that way then."""
Schedule = Callable[[int], float]
"""By its number, how long after the first sending a packet is sent again."""

PROBE = 0.2125
LINEAR = 5
"""So many times a SYN is sent again after a second each."""


def data(number: int) -> float:
    """A `Schedule`."""
    return PROBE * 2.0 ** (min(number, 64) - 1) if number else 0.0


def syn(number: int) -> float:
    """A `Schedule`."""
    if number <= LINEAR:
        return float(number)
    return LINEAR + 2 * (2.0 ** min(number - LINEAR, 64) - 1)


def syn_answer(number: int) -> float:
    """A `Schedule`."""
    return 2.0 ** min(number, 64) - 1


def repeated(sent: float, not_before: float, schedule: Schedule = data) -> float:
    """When a packet sent then and again and again is first sent at ``not_before`` or later."""
    if not_before == math.inf:
        return math.inf
    number = 0
    while sent + schedule(number) < not_before:
        number += 1
    return sent + schedule(number)


def arrival(sent: float, way: Way, loses: Loses) -> float:
    """When data sent then come through; the path must heal some day, or lose not everything."""
    number = 0
    while loses(way, again := sent + data(number)):
        number += 1
    return again


def handshake(begun: float, until: float, loses: Loses) -> float:
    """When a client that asks for a connection then has it; infinite: not before ``until``.

    Each SYN that comes through is answered, and the first answer is sent again by itself.
    """
    answers: list[float] = []
    number = 0
    while (asked := begun + syn(number)) < until:
        number += 1
        if not loses("out", asked):
            if not answers:
                answers += [asked + syn_answer(again) for again in range(1, 4)]
            answers.append(asked)
    return next(
        (sent for sent in sorted(answers) if sent < until and not loses("in", sent)), math.inf
    )


def losses(draw: float, rate: float) -> int:
    """How many times in a row a packet is lost, where that share of all is."""
    return int(math.log(max(draw, 1e-12)) / math.log(rate)) if rate > 0 else 0


def reached(silent: float, heal: float, *, patience: float, attempt: float, pause: float) -> float:
    """When a client gets through again whose connection fell silent then, the path healing at
    ``heal``: its unanswered packet is repeated for ``patience`` s, then it tries new connections,
    each for ``attempt`` s, with pauses between.
    """
    if heal == math.inf:
        return heal
    if (again := repeated(silent, heal)) <= silent + patience:
        return again
    begun = silent + patience
    # Attempts that are over before the path heals come to nothing: on to the last of them.
    in_vain = math.floor((heal - attempt - begun) / (attempt + pause))
    begun += max(0, in_vain) * (attempt + pause)
    while True:
        if (again := repeated(begun, heal, syn)) < begun + attempt:
            return again
        begun += attempt + pause
