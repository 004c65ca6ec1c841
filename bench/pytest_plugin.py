"""Scenarios as tests: wherever heartbench is installed, pytest has the fixture `heartbench`.

```python
def test_every_crash_is_noticed(heartbench):
    heartbench.run("scenarios/ci.yaml", servers="local").assert_good()
```

Options: `--heartbench-servers` and `--heartbench-engine` for runs that aren't told;
`--heartbench-out`, the folder in which results are kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

# What a run needs is imported when there is one: pytest loads this file in all its sessions.
if TYPE_CHECKING:
    from bench.frames import Frames


@dataclass(frozen=True)
class Result:
    """What came of a scenario."""

    path: Path
    """Its directory."""
    summary: Mapping[str, Any]
    """As in `summary.json`."""

    @property
    def verdict(self) -> str:
        """`valid`, or why no number here may be believed: `invalid`, `unknown`."""
        return str(self.summary["verdict"])

    @property
    def backends(self) -> Mapping[str, Any]:
        """The figures of each backend: `result.backends["zk"]["detection"]["p99"]`, in s."""
        backends: Mapping[str, Any] = self.summary["backends"]
        return backends

    @cached_property
    def frames(self) -> Frames:
        """Events, metrics, victims and summary in pandas; see `bench.load`."""
        from bench import load

        return load(self.path)

    def assert_good(self) -> None:
        """The run is valid, and every objective of the scenario is met.

        Raises: AssertionError with each objective that was missed, or with why the numbers may
        not be believed: then the machine is to blame, and nothing has been shown either way.
        """
        __tracebackhide__ = True
        _hold(self.path, list(self._wrong()))

    def assert_no_worse(
        self, baseline: str | Path, *, times: bool = False, tolerances: Sequence[str] = ()
    ) -> None:
        """It passes `heartbench gate --baseline`: by its counts alone, or by ``times`` too, which
        takes six runs on the baseline's machine. ``tolerances`` are `FIGURE=5%`.

        Raises: AssertionError with each figure that grew, or with why nothing could be decided;
        ResultError where there is no such baseline.
        """
        __tracebackhide__ = True
        from bench.gate import Tolerances, gate
        from bench.gate.formats import told

        tolerated = Tolerances() if times else Tolerances().counts_only()
        outcome = gate(self.path, baseline, tolerated.changed(tolerances))
        if outcome.exit_code:
            _hold(self.path, list(told(outcome)))

    def _wrong(self) -> Iterator[str]:
        if self.verdict != "valid":
            yield f"{self.verdict}: {'; '.join(self.summary['reasons'])}"
            return
        for rule in self.summary["slo"]:
            if not rule["ok"]:
                found = rule["reason"] or f"it is {rule['value']:.4g}"
                asked = rule["rule"].removeprefix(f"{rule['backend']}: ")
                yield f"{rule['backend']}: {asked} is not met, {found}"


@dataclass(frozen=True)
class Heartbench:
    """Runs scenarios, and keeps what came of them in one folder."""

    out: Path
    servers: Sequence[str] = ("auto",)
    """For a run that isn't told."""
    engine: str = "live"
    """Likewise."""

    def run(
        self,
        scenario: str | Path,
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002 - as the command calls it
        servers: str | Sequence[str] = (),
        engine: Literal["live", "sim"] | None = None,
        calibration: str | Path | None = None,
    ) -> Result:
        """Run a scenario: a file, or the name of one that is shipped.

        ``set``: fields in place of the file's, by their paths: ``{"services.count": 50}``.
        ``servers``: `local`, `docker`, `auto`, or the URLs of servers that already run.
        ``engine``: `sim` runs it in a model of the servers, which takes a moment, and which
        ``calibration`` makes as quick as the machine that it was measured on.

        Raises: ScenarioError with everything that is wrong in the file; MachineError with what
        this machine lacks for it and the commands that mend it; and what breaks off a run.
        """
        from bench.arms import Live, Simulated
        from bench.run import run
        from bench.scenario import find, load

        if (engine or self.engine) == "sim":
            made = None if calibration is None else Path(calibration)
            arm: Live | Simulated = Simulated.calibrated(made)
        else:
            named = (servers,) if isinstance(servers, str) else tuple(servers)
            arm = Live(named or self.servers)
        overrides = [f"{field}={json.dumps(value)}" for field, value in (set or {}).items()]
        read = load(find(str(scenario)), overrides)
        outcome = run(read, arm=arm, out=self.out, argv=sys.argv)
        return Result(outcome.path, outcome.summary)


def _hold(path: Path, wrong: Sequence[str]) -> None:
    __tracebackhide__ = True
    if wrong:
        raise AssertionError("\n".join([*wrong, f"result: {path}"]))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("heartbench", "scenarios as tests")
    group.addoption(
        "--heartbench-servers",
        action="append",
        metavar="auto|docker|local|URL",
        help="where servers come from in tests that don't say (default: auto); repeat it for URLs",
    )
    group.addoption(
        "--heartbench-engine",
        choices=["live", "sim"],
        default="live",
        help="how scenarios are run in tests that don't say (default: live, on real servers)",
    )
    group.addoption(
        "--heartbench-out",
        type=Path,
        metavar="DIR",
        help="keep the results in this folder (default: pytest's temporary one)",
    )


@pytest.fixture(scope="session")
def heartbench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Heartbench:
    """Runs scenarios; `bench.pytest_plugin.Heartbench` tells how."""
    option = request.config.getoption
    out: Path | None = option("--heartbench-out")
    return Heartbench(
        out=(out or tmp_path_factory.mktemp("heartbench")).absolute(),
        servers=tuple(option("--heartbench-servers") or ("auto",)),
        engine=option("--heartbench-engine"),
    )
