"""What the gate sees of CPU on real servers: 30% more that a commit plants, ten pairs of runs.

That it says nothing of the kind about identical runs is what `heartbench gate --calibrate` counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from bench.engines.live.provision import ServerSpec
from tests.live.planting import gated, planted
from tests.live.runs import require

Change = Mapping[str, tuple[str, str]]

COUNTING = """\
tuned_beat = _beaten.where(
    members.c.token == _number("life"),
    members.c.present,
    sa.text("(SELECT count(*) FROM generate_series(1, 500)) > 0"),
)
"""
SERVER: Change = {
    "membership/backends/sql/queries.py": (
        'tuned_beat = _beaten.where(members.c.token == _number("life"), members.c.present)\n',
        COUNTING,
    ),
}
"""The same statement, which has the database count to 500 at each beat."""

BURNING = """\
        self.station.renewals += 1
        now = time.thread_time()
        until = now + 0.35 * (now - getattr(self.station, "burnt", now))
        while time.thread_time() < until:
            pass
        self.station.burnt = until
"""
HARNESS: Change = {
    "bench/engines/live/swarm/service.py": ("        self.station.renewals += 1\n", BURNING),
}
"""Each beat burns another third of what its loop took since the last one."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("change", "figure"),
    [(SERVER, "load.server_cpu_cores"), (HARNESS, "audit.harness_cpu_cores")],
    ids=["server", "harness"],
)
def test_thirty_per_cent_more_cpu_fail(
    benchmark: BenchmarkFixture,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    figure: str,
) -> None:
    require("local", ServerSpec("sql"))
    repository = planted(tmp_path / "repository", change)
    code, outcome = benchmark.pedantic(lambda: gated(repository, "gate", "--pairs", "10"), rounds=1)
    rows: dict[str, dict[str, Any]] = {row["figure"]: row for row in outcome["rows"]}
    benchmark.extra_info.update({name: row["ratio"] for name, row in rows.items()})
    with capsys.disabled():
        console = Console(width=100, highlight=False)
        for name, row in rows.items():
            console.print(
                f"{name}: {row['verdict']}, {row['ratio']}; {row['reason']}", markup=False
            )
    assert rows[figure]["ratio"]["value"] == pytest.approx(1.3, abs=0.1)
    assert (code, outcome["verdict"]) == (1, "fail")
    assert [name for name, row in rows.items() if row["verdict"] == "fail"] == [figure]
