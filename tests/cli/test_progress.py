"""What a run says of itself while it runs: to machines, and where no terminal is attached."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from bench.progress import Moment, Pace
from bench.report.progress import shown

HOLD = Moment(
    "zk", 0, "hold", elapsed=2.0, length=13.0, joined=1000, live=950, dead=50, seen=990, rate=512.4
)


def told(moments: list[Moment], *, as_json: bool = False, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
    with shown(console, as_json=as_json) as listen:
        for moment in moments:
            listen(moment)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_each_phase_is_a_plain_line() -> None:
    again = replace(HOLD, repeat=1)
    assert told([Moment("zk", 0, "servers"), HOLD, replace(HOLD, elapsed=3.0), again]) == (
        "zk: servers\n"
        "zk: hold for 13 s, 1,000 joined, 950 live, 10 suspected, 50 dead, 512/s sent\n"
        "zk #2: hold for 13 s, 1,000 joined, 950 live, 10 suspected, 50 dead, 512/s sent\n"
    )


def test_a_terminal_shows_the_phase_its_counts_and_the_time_left() -> None:
    row = told([HOLD], terminal=True)
    for part in ("hold", "11 s left", "950 live", "10 suspected", "50 dead", "512/s"):
        assert part in row


def test_json_is_a_line_for_each_phase_and_for_each_second_of_it() -> None:
    seconds = [replace(HOLD, elapsed=elapsed) for elapsed in (0.0, 0.5, 1.0, 1.5, 2.0)]
    lines = told([Moment("zk", 0, "servers"), *seconds], as_json=True).splitlines()
    moments = [json.loads(line) for line in lines]
    assert [(each["phase"], each["elapsed"]) for each in moments] == [
        ("servers", 0.0), ("hold", 0.0), ("hold", 1.0), ("hold", 2.0),
    ]  # fmt: skip
    assert (moments[0]["left"], moments[-1]["left"], moments[-1]["suspected"]) == (None, 11.0, 10)


def test_nobody_is_suspected_who_has_not_joined() -> None:
    assert Moment("zk", 0, "ramp", joined=3, seen=4).suspected == 0


def test_a_pace_is_that_of_the_last_second_or_more() -> None:
    pace = Pace()
    for t, count, rate in ((0.0, 0, 0.0), (0.5, 10, 0.0), (2.0, 100, 50.0), (2.5, 900, 50.0)):
        pace.add(t, count)
        assert pace.rate == pytest.approx(rate)
