"""What becomes of packets on their way, and whether those that were sent bear it out. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Way = Literal["in", "out"]
"""``in``: towards the rack's services."""
WAYS: tuple[Way, ...] = ("in", "out")

Kind = Literal["cut", "loss", "delay"]
Direction = Literal["in", "out", "both"]

DOUBT = 1e-6
"""How probable a sample may at most be under the stated loss before that is disbelieved."""
SLOW = 0.1
"""How much later than stated the quickest packet may be on a busy machine, in s."""

_FEW, _SOME, _MANY = 20, 500, 3_000
_TELLING = 15.0
"""So many packets are to be lost, or to arrive, on average: none at all would be past `DOUBT`."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What happens to packets that go one way."""

    loss: float = 0.0
    """The share that is dropped, each packet on its own."""
    delay: float = 0.0
    """How long the others are held, in s."""
    jitter: float = 0.0
    """So much more or less than that, in s, drawn evenly; but no packet overtakes another."""


CLEAR = Passage()


def passages(
    kind: Kind, direction: Direction, *, rate: float, delay: float, jitter: float
) -> dict[Way, Passage]:
    """What an impairment makes of both ways.

    Raises: ValueError for a loss, delay or jitter that can't be.
    """
    if not 0 < (rate if kind == "loss" else 1) <= 1:
        raise ValueError(f"a loss of {rate}: the rate lies above 0 and is 1 at most")
    if kind == "delay" and not (0 < delay < math.inf and 0 <= jitter <= delay):
        raise ValueError(f"a delay of {delay} ± {jitter} s: it is positive, the jitter no larger")
    match kind:
        case "cut":
            impaired = Passage(loss=1.0)
        case "loss":
            impaired = Passage(loss=rate)
        case "delay":
            impaired = Passage(delay=delay, jitter=jitter)
    return {way: impaired if direction in (way, "both") else CLEAR for way in WAYS}


def packets(passage: Passage) -> int:
    """How many packets it takes to tell.

    With a loss below 0.5% or above 99.5% they only tell that it is no worse, or no better, than
    stated: to see it at all would take more packets than a probe should send.
    """
    rarer = min(passage.loss, 1 - passage.loss)
    return _FEW if rarer <= 0 else min(_MANY, max(_SOME, math.ceil(_TELLING / rarer)))


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of the packets that were sent one way."""

    sent: int
    times: tuple[float, ...]
    """How long each of those that arrived was under way, in s."""


def contradiction(passage: Passage, sample: Sample, unlike: Passage = CLEAR) -> str | None:
    """What the sample has to say against the passage, in words; None where it agrees.

    ``unlike``: another, with a longer delay, for which this one is not to be taken.
    """
    lost = sample.sent - len(sample.times)
    if not _is_plausible(lost, sample.sent, passage.loss):
        return f"{lost} of {sample.sent} packets were lost, at a stated loss of {passage.loss:.1%}"
    if not sample.times:
        return None
    quickest = min(sample.times)
    earliest, latest = passage.delay - passage.jitter, passage.delay + passage.jitter + SLOW
    if unlike.delay > passage.delay:
        latest = min(latest, max(unlike.delay - unlike.jitter, unlike.delay / 2))
    if earliest <= quickest <= latest:
        return None
    return (
        f"the quickest of {len(sample.times)} packets took {quickest * 1e3:.1f} ms, "
        f"at a stated delay of {passage.delay * 1e3:g} ± {passage.jitter * 1e3:g} ms"
    )


def _is_plausible(lost: int, sent: int, rate: float) -> bool:
    """Chernoff's bound: so many lost, or still fewer or more, has a probability of at most
    exp(-sent * D), with D the divergence of the share seen from the rate."""
    share = lost / sent
    divergence = 0.0
    for seen, stated in ((share, rate), (1 - share, 1 - rate)):
        if seen > 0:
            if stated <= 0:
                return False
            divergence += seen * math.log(seen / stated)
    return sent * divergence <= math.log(1 / DOUBT)
