"""The library's hot paths, and the simulator, by a committed reference.

What they take depends on the machine; in units of what a plain loop of Python takes between them,
it hardly does: the least of a few rounds, which other work on the machine disturbs least.
`hot-paths.json` holds these ratios: delete it, and `make bench` takes it anew.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

from bench.calibration import STATED
from bench.durable import write_text
from bench.engines.sim.engine import outcome
from bench.plan import plan
from bench.scenario import find, load
from membership import connect
from membership.encoding import decode_metadata, encode_metadata
from membership.feed import Feed
from membership.liveness import ChangeTracker
from membership.model import Member, Metadata

REFERENCE = Path(__file__).with_name("hot-paths.json")
MEMBERS = 10_000
ROUNDS = 7
TOLERATED = 1.5
"""Times the reference's ratio. Caches and clocks of two processors make that much of a difference;
a loop within a loop makes more."""

METADATA: Metadata = {"zone": "az1", "rack": "r17", "weight": 3, "labels": ["ssd", "gpu"]}
NAMES = [f"compute-{number:05d}" for number in range(MEMBERS)]


def yardstick() -> None:
    """Looks up, adds and stores, as what is measured does."""
    table = dict.fromkeys(NAMES, 0.0)
    for step in range(5):
        for name in NAMES:
            table[name] = table[name] + step * 0.5


def metadata() -> None:
    """To bytes and back, a thousand times."""
    for _ in range(1_000):
        decode_metadata(encode_metadata(METADATA))


def first_read() -> None:
    """A watch is told of the whole group, and its consumer takes each event."""
    feed = Feed("compute", lambda _: None)
    feed.replace(_members(), gap=False)
    for _ in NAMES:
        assert feed.next(0.0)


def polls() -> None:
    """A reader of `tuned` looks at everybody's beats: all have moved, then a tenth haven't."""
    tracker = ChangeTracker(timeout=10.0, max_gap=5.0)
    for now in range(3):
        beats = {name: 0 if now and n % 10 == 0 else now for n, name in enumerate(NAMES)}
        tracker.observe(beats, sent=float(now), answered=float(now))
    assert not tracker.dead()


def changes() -> None:
    """A large group is told a thousand times that a member came again, and is viewed once."""
    feed = Feed("compute", lambda _: None)
    feed.replace(_members(), gap=False)
    for number, name in enumerate(NAMES[:1_000]):
        feed.put(Member("compute", name, MEMBERS + number))
    assert len(feed.view) == MEMBERS


def lives() -> None:
    """Through the whole contract, in memory: join, update, look, leave."""
    with connect("memory://hot-paths") as membership:
        for name in NAMES[:500]:
            me = membership.join("compute", name, metadata=METADATA)
            me.update({"zone": "az2"})
            me.leave()
        assert not membership.members("compute")


def simulation() -> None:
    """500 services of two backends for half a minute, by the model."""
    changed = ["services={count: 500, ramp: 500/s}", "observers=2"]
    for run in plan(load(find("quickstart"), changed))[1:]:
        assert outcome(run, STATED, plain=True).events > 500


PATHS: Mapping[str, Callable[[], None]] = {
    path.__name__: path for path in (metadata, first_read, polls, changes, lives, simulation)
}


def test_hot_paths_take_what_they_took(
    benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    least = dict.fromkeys((yardstick, *PATHS.values()), math.inf)

    def one_round() -> None:
        for path in least:
            least[path] = min(least[path], _seconds(path))

    benchmark.pedantic(one_round, rounds=ROUNDS)
    found = {name: round(least[path] / least[yardstick], 2) for name, path in PATHS.items()}
    benchmark.extra_info.update(found)
    if not REFERENCE.exists():
        write_text(REFERENCE, json.dumps(found, indent=1) + "\n")
    reference: dict[str, float] = json.loads(REFERENCE.read_text())
    _show(capsys, found, reference)
    assert found.keys() == reference.keys()
    slower = {name for name in found if found[name] > TOLERATED * reference[name]}
    assert not slower


def _members() -> list[Member]:
    return [Member("compute", name, number) for number, name in enumerate(NAMES)]


def _seconds(work: Callable[[], None]) -> float:
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _show(
    capsys: pytest.CaptureFixture[str], found: Mapping[str, float], reference: Mapping[str, float]
) -> None:
    table = Table(title="hot paths, in yardsticks", caption=f"tolerated: {TOLERATED} times")
    for column in ("", "reference", "now", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for name, ratio in found.items():
        table.add_row(
            name, f"{reference[name]:.2f}", f"{ratio:.2f}", f"{ratio / reference[name]:.2f}"
        )
    with capsys.disabled():
        console = Console(width=100)
        console.print()
        console.print(table)
