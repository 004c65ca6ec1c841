"""What is spooled comes back, and doesn't stay in memory."""

from __future__ import annotations

import tracemalloc

from bench.engines.live.spool import CHUNK, Spool
from bench.engines.live.swarm.shard import Measurement


def back(spool: Spool[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for source, rows in spool.chunks():
        found.setdefault(source, []).extend(rows)
    return found


def test_rows_come_back_in_the_order_of_their_source() -> None:
    spool = Spool[int]()
    rows = list(range(3 * CHUNK))
    for start in range(0, len(rows), 700):
        spool.add("up", rows[start : start + 700])
        spool.add("down", [-row for row in rows[start : start + 300]])
    expected = {
        "up": rows,
        "down": [-row for start in range(0, len(rows), 700) for row in rows[start : start + 300]],
    }
    assert back(spool) == expected
    spool.add("up", [1])
    expected["up"].append(1)
    assert back(spool) == expected  # as often as one likes


def test_nothing_comes_back_of_nothing() -> None:
    spool = Spool[int]()
    spool.add("silent", [])
    assert list(spool.chunks()) == []


def test_an_hour_takes_no_more_memory_than_a_minute() -> None:
    def hour(rows: int) -> int:
        """The most that is held while so many measurements come in."""
        spool = Spool[Measurement]()
        tracemalloc.start()
        for t in range(rows):
            spool.add("wire-0", [Measurement(float(t), "lateness", t / 7, "s", t)])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert hour(6 * CHUNK) < 1.3 * hour(2 * CHUNK)
