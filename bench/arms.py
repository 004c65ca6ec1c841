"""The two ways to carry a plan out, as a run sees them: on real servers, and in a model of them.

Both take the same runs and hand on the same records; what else differs is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bench import doctor
from bench.calibration import STATED, Calibration
from bench.calibration import load as load_calibration
from bench.engines import sim
from bench.engines.live.engine import execute
from bench.engines.live.provision import kind_of
from bench.engines.sim.engine import described
from bench.errors import InvalidRun, MachineError
from bench.plan import Run
from bench.progress import Listener
from bench.result import Record
from bench.store import Loaded, ResultError

Keep = Callable[[Record], None]


class Arm(Protocol):
    """An engine and what it was told."""

    name: ClassVar[str]
    """As the manifest and the summary have it."""

    def fit(self, runs: Sequence[Run]) -> None:
        """Raises: MachineError with all that this machine lacks, and the commands that mend it."""

    def execute(self, runs: Sequence[Run], keep: Keep, listen: Listener) -> None:
        """Carry the runs out, in their order, and hand on each record as it is there."""

    def described(self) -> Mapping[str, Any]:
        """What the manifest says of it, enough to resume."""


@dataclass(frozen=True)
class Live:
    """Real servers: ``auto``, ``local``, ``docker``, or URLs of servers that already run, one for
    each kind."""

    servers: Sequence[str] = ("auto",)
    name: ClassVar[str] = "live"

    def fit(self, runs: Sequence[Run]) -> None:
        if lacks := doctor.examine(runs, self.servers):
            told = "\n".join(f"{it.what}: {it.why}; mend it: {it.command}" for it in lacks)
            raise MachineError(f"this machine is not up to {runs[0].scenario.name}:\n{told}")

    def execute(self, runs: Sequence[Run], keep: Keep, listen: Listener) -> None:
        """Where the machine is up to one run and not to another, as along a sweep, the others are
        carried out all the same. Raises: the first InvalidRun, after the last run."""
        invalid: list[InvalidRun] = []
        for run in runs:
            try:
                execute(run, where=self._where(run), keep=keep, listen=listen)
            except InvalidRun as error:
                invalid.append(error)
        if invalid:
            raise invalid[0]

    def described(self) -> Mapping[str, Any]:
        return {"servers": self.servers}

    def _where(self, run: Run) -> str:
        if self.servers[0] in ("auto", "local", "docker"):
            return self.servers[0]
        return next(url for url in self.servers if kind_of(url) == run.backend.kind)


@dataclass(frozen=True)
class Simulated:
    """A model of the servers, as quick as the calibration says they are."""

    calibration: Calibration = STATED
    path: Path | None = None
    """The calibration's file; None: the stated one."""
    name: ClassVar[str] = "sim"

    @classmethod
    def calibrated(cls, path: Path | None) -> Simulated:
        """By that file, or as stated. Raises: CalibrationError."""
        return cls() if path is None else cls(load_calibration(path), path)

    def fit(self, runs: Sequence[Run]) -> None:
        """Any machine will do."""

    def execute(self, runs: Sequence[Run], keep: Keep, listen: Listener) -> None:
        sim.execute_all(runs, calibration=self.calibration, keep=keep, listen=listen)

    def described(self) -> Mapping[str, Any]:
        where = None if self.path is None else str(self.path)
        digest = self.calibration.digest
        return {"calibration": {"path": where, "digest": digest, **described(self.calibration)}}


def arm_of(result: Loaded) -> Arm:
    """The one that the result was begun with.

    Raises: ResultError where its servers were given with a password, which no result holds, and
    where the calibration that it rests on has changed since.
    """
    manifest = result.manifest
    if manifest.get("engine") == Simulated.name:
        rests_on = manifest.get("calibration", {})
        path = rests_on.get("path")
        arm = Simulated.calibrated(None if path is None else Path(path))
        if rests_on.get("digest") != arm.calibration.digest:
            raise ResultError(
                f"{result.path}: its calibration, {path or 'the stated one'}, has changed since: "
                "runs on both can't be judged together; restore it, or run the scenario again"
            )
        return arm
    servers = [str(each) for each in manifest.get("servers", ["auto"])]
    if any("***" in each for each in servers):
        raise ResultError(
            f"{result.path}: was begun on servers with a password, which is not kept; "
            "name them again with --servers"
        )
    return Live(servers)
