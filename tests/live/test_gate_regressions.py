"""The gate on real servers: what a commit has the library ask of them in addition is caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.engines.live.provision import ServerSpec
from tests.live.planting import gated, planted
from tests.live.runs import require

REGRESSIONS = {
    "membership/backends/sql/tuned.py": (
        "database.beat() as connection:\n",
        'database.beat() as connection:\n            connection.execute(sa.text("SELECT 1"))\n',
    ),
    "membership/backends/zookeeper/backend.py": (
        "meter: Meter, *, recent: bool = True",
        "meter: Meter, *, recent: bool = False",
    ),
}
"""Each beat asks first whether the database is there; and each watch of a group is one of its
children and one of each member, as on old servers."""

LENIENT = "{lateness_p99: 10s, stall: 10s, rate_reached: 50%}"
"""What is counted stays what it is on a machine that is busy."""


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_statement_more_and_a_watch_more_fail_the_count_gate(tmp_path: Path) -> None:
    """Both versions run on servers of their own; each message names the metric, both values and
    what is tolerated."""
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    repository = planted(tmp_path / "repository", REGRESSIONS)
    code, outcome = gated(repository, "ci", "--pairs", "1", "--counts", "--set", f"audit={LENIENT}")
    assert outcome["reasons"] == []
    assert (code, outcome["verdict"]) == (1, "fail")
    failed = {(row["backend"], row["figure"]): row for row in outcome["rows"] if _failed(row)}
    statements = failed["db-tuned", "counts.statements_per_service_second"]
    watches = failed["zk", "counts.watches_per_service"]
    for row in (statements, watches):
        for told in (f"{row['value']:.4g}", f"{row['baseline']:.4g}", "5% more is tolerated"):
            assert told in row["reason"]
    # A beat a second of each service, and one more of each of the 20 that run the library.
    assert statements["value"] / statements["baseline"] == pytest.approx(1.2, abs=0.08)
    assert {backend for backend, _ in failed} == {"db-tuned", "zk"}


def _failed(row: dict[str, Any]) -> bool:
    return bool(row["verdict"] == "fail")
