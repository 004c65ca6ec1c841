"""The terminal's table: complete, within 100 columns, and the same without colour."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from bench.measure.summary import summarise
from bench.report.quantity import plain, seconds, size
from bench.report.table import table
from bench.result import Kind
from bench.scenario.slo import parse
from tests.unit.history import History


def shown(summary: dict[str, object], width: int = 100) -> str:
    console = Console(file=StringIO(), width=width, no_color=True)
    console.print(table(summary))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def run(backend: str, index: int) -> History:
    history = History(backend=backend, index=index).alive("a").alive("b", client="library")
    history.truth(20.0, Kind.CRASHED, "a").told(31.6, Kind.LEFT, "a").audited()
    for t in (0.0, 100.0):
        history.sample(t, "server", "cpu_seconds", t * 0.42)
        history.sample(t, "server", "rss_bytes", 512e6)
    return history


def test_backends_stand_side_by_side_with_objectives_and_verdict() -> None:
    rules = [parse("detection.p99 <= 13s"), parse("zk: load.packets <= 5")]
    records = [run("db-nova", 0).record(), run("zk", 1).record()]
    text = shown(summarise(records, slo=rules))
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines() if line.strip()}
    assert "db-nova" in text.splitlines()[0] + text.splitlines()[1]
    assert lines["died"].split() == ["died", "1", "1"]
    assert "2 (1 library, 1 wire)" in text
    assert "11.6 s" in text
    assert "0.42 cores" in text
    assert "512 MB" in text
    assert "load.packets was not measured on zk" in " ".join(text.split())
    assert [word for word in text.split() if word in ("ok", "FAILED")] == ["ok", "ok", "FAILED"]
    assert "verdict: valid" in text
    assert max(map(len, text.splitlines())) <= 100


def test_rows_that_no_backend_measured_are_left_out() -> None:
    assert "packets" not in shown(summarise([run("db", 0).record()]))


def test_what_befell_services_and_servers_besides_has_rows_of_its_own() -> None:
    history = run("zk", 0).alive("c", token=3).alive("d", token=4)
    history.truth(20.0, Kind.FROZEN, "c").truth(20.0, Kind.CUT, "d", detail="both")
    history.told(40.0, Kind.LEFT, "c", token=3).told(41.0, Kind.LEFT, "d", token=4)
    history.truth(50.0, Kind.SERVER_KILLED, "server").told(51.0, Kind.LEFT, "b")
    text = shown(summarise([history.audited().record()]))
    rows = {" ".join(line.split()) for line in text.splitlines()}
    assert {"frozen 1", "cut 1", "noticed 1", "live services called dead 1"} <= rows
    assert {"of these while servers failed 1", "besides, while frozen 1"} <= rows
    assert "besides, while lossy" not in text


def test_repeats_show_how_sure_their_means_are() -> None:
    """11.6 and 12.6 s: 12.1 +- 12.706 x 0.7071 / sqrt(2) = 12.1 +- 6.35."""
    other = run("zk", 1)
    other.rows = [{**row, "t": 32.6} if row["t"] == 31.6 else row for row in other.rows]
    text = shown(summarise([run("zk", 0).record(), other.record()]))
    assert "12.1 s" in text
    assert "± 6.35 s" in text
    assert max(map(len, text.splitlines())) <= 100


def test_many_backends_go_into_further_tables() -> None:
    names = [f"backend-number-{n}" for n in range(6)]
    text = shown(summarise([run(name, n).record() for n, name in enumerate(names)]))
    assert all(name in text for name in names)


def test_an_invalid_run_says_so_and_why() -> None:
    flawed = run("db", 0).truth(30.0, Kind.LOST, "b")
    text = shown(summarise([flawed.record()]))
    assert "verdict: invalid" in text
    assert "1 live services lost their membership" in text


def test_nothing_run_is_a_table_too() -> None:
    assert "verdict: unknown" in shown(summarise([]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (seconds(11.64), "11.6 s"), (seconds(0.0123), "12.3 ms"), (seconds(4.5e-5), "45 µs"),
        (seconds(0.0), "0 s"), (seconds(None), "-"), (seconds(123.4), "123 s"),
        (seconds(-0.5), "-500 ms"), (size(1.25e6), "1.25 MB"), (size(310.0), "310 B"),
        (size(0.0), "0 B"), (size(0.5), "0.5 B"), (plain(0), "0"), (plain(12345.6), "12,346"),
        (plain(0.4213), "0.421"), (plain(None), "-"),
    ],
)  # fmt: skip
def test_figures_are_written_as_people_read_them(text: str, expected: str) -> None:
    assert text == expected
