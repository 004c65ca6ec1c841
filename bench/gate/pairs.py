"""Two versions run by turns, so that whatever else the machine does hits both alike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import HarnessError
from bench.gate.judgement import PAIRS, Outcome, judge
from bench.gate.measured import Measured, RunFigures, measured
from bench.gate.noise import Noise, noise
from bench.gate.tolerances import Tolerances
from bench.result import Verdict

HERE = Path(__file__).parents[2]
"""The sources that are running now."""

CLONE = "versions of heartbench are compared in a clone of its repository: run it from there"
REF = "name a commit, a branch or a tag"

Say = Callable[[str], None]


class PairsError(HarnessError):
    """A version that can't be fetched or doesn't run; the text has what it said."""

    exit_code = 3


class RefError(HarnessError):
    """No such version, or nowhere to look for one."""

    exit_code = 2


def against(
    scenario: Path,
    ref: str,
    tolerances: Tolerances | None = None,
    *,
    pairs: int = PAIRS,
    servers: Sequence[str] = ("auto",),
    overrides: Sequence[str] = (),
    say: Say = lambda _: None,
) -> Outcome:
    """Run a scenario on the version `ref` of the repository and on the sources that are running,
    by turns, and judge these by that one.

    Both run in the same virtual environment; each pair has a seed of its own. A pair of which one
    run is not valid is left out, and named in the notes; of fewer than `PAIRS` pairs no time is
    decided. Raises: RefError; PairsError.
    """
    with checked_out(ref) as there:
        turns = _by_turns(
            scenario, (there, HERE), pairs=pairs, servers=servers, overrides=overrides, say=say
        )
    base, ours = turns.together
    outcome = judge(
        replace(ours, run="these sources"), replace(base, run=ref), tolerances or Tolerances()
    )
    return replace(outcome, notes=(*outcome.notes, *turns.left_out))


def calibrate(
    scenario: Path,
    tolerances: Tolerances | None = None,
    *,
    pairs: int = PAIRS,
    servers: Sequence[str] = ("auto",),
    overrides: Sequence[str] = (),
    say: Say = lambda _: None,
) -> Noise:
    """The noise floor: the same sources against themselves, by turns. Raises: PairsError."""
    turns = _by_turns(
        scenario, (HERE, HERE), pairs=pairs, servers=servers, overrides=overrides, say=say
    )
    one, other = turns.together
    for each in (one, other):
        if each.verdict != Verdict.VALID:
            raise PairsError(f"no pair of runs is valid, so they say nothing: {each.reasons[0]}")
    return noise(one, other, tolerances or Tolerances())


@contextmanager
def checked_out(ref: str) -> Iterator[Path]:
    """The repository's files as of a commit, a branch or a tag, for as long as the block lasts.

    An archive, so that nothing of the repository itself changes. Raises: RefError.
    """
    top = _git("rev-parse", "--show-toplevel", mend=CLONE).strip()
    commit = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", mend=REF).strip()
    with TemporaryDirectory(prefix="heartbench-gate-") as folder:
        archive = Path(folder) / "archive.tar"
        _git("-C", top, "archive", "--format=tar", f"--output={archive}", commit, mend=REF)
        place = Path(folder) / "sources"
        place.mkdir()
        subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
        archive.unlink()
        if not (place / "bench" / "__main__.py").exists():  # what is installed would run instead
            raise RefError(f"{ref} of {top} has no heartbench in it; {CLONE}")
        yield place


def _git(*words: str, mend: str) -> str:
    done = subprocess.run(["git", "-C", HERE, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or "no such version"
        raise RefError(f"git {' '.join(words)}: {said}; {mend}")
    return done.stdout


@dataclass(frozen=True)
class _Turns:
    """What both versions' runs gave, pair by pair."""

    pairs: tuple[tuple[Measured, Measured], ...]

    @property
    def together(self) -> tuple[Measured, Measured]:
        """Each version's runs as one result whose repeats are the pairs. Of those that are valid;
        where there is none, of all, so that it is said why."""
        one, other = zip(*(tuple(filter(_valid, self.pairs)) or self.pairs), strict=True)
        return _together(one), _together(other)

    @property
    def left_out(self) -> Iterator[str]:
        for number, pair in enumerate(self.pairs, 1):
            for each in pair:
                if any(map(_valid, self.pairs)) and each.verdict != Verdict.VALID:
                    yield f"pair {number} is left out, {each.verdict}: {'; '.join(each.reasons)}"


def _valid(pair: tuple[Measured, Measured]) -> bool:
    return all(each.verdict == Verdict.VALID for each in pair)


def _by_turns(
    scenario: Path,
    versions: tuple[Path, Path],
    *,
    pairs: int,
    servers: Sequence[str],
    overrides: Sequence[str],
    say: Say,
) -> _Turns:
    """Both versions' runs, pair by pair; the second goes first in every second pair."""
    found = []
    with TemporaryDirectory(prefix="heartbench-gate-") as folder:
        for pair in range(pairs):
            results = {}
            for side in (0, 1) if pair % 2 == 0 else (1, 0):
                say(f"pair {pair + 1} of {pairs}: {('the baseline', 'this version')[side]}")
                out = Path(folder) / f"{pair}-{side}"
                words = (*overrides, f"seed={1 + pair}", "repeat=1")
                _run(versions[side], scenario, out, servers, words)
                results[side] = measured(out)
            found.append((results[0], results[1]))
    return _Turns(tuple(found))


def _run(
    version: Path, scenario: Path, out: Path, servers: Sequence[str], overrides: Sequence[str]
) -> None:
    """One run of a version, in a process of its own that imports its sources from there."""
    options = [f"--servers={each}" for each in servers] + [f"--set={each}" for each in overrides]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "run",
            scenario.resolve(),
            "--json",
            "--out",
            out,
            *options,
        ],
        cwd=version,
        env={**os.environ, "PYTHONPATH": str(version)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1, 3) or not out.exists():
        said = "\n".join(done.stderr.strip().splitlines()[-5:]) or "nothing"
        raise PairsError(
            f"{version}: the run ended with exit code {done.returncode} and said: {said}"
        )


def _together(results: Sequence[Measured]) -> Measured:
    """As one result whose repeats are the pairs; as bad as the worst of them."""
    bad = next((each for each in results if each.verdict != Verdict.VALID), results[0])
    return replace(
        results[0],
        run=", ".join(each.run for each in results),
        scenario={key: value for key, value in results[0].scenario.items() if key != "seed"},
        verdict=bad.verdict,
        reasons=bad.reasons,
        runs=tuple(
            RunFigures(run.backend, pair, run.figures)
            for pair, each in enumerate(results)
            for run in each.runs
        ),
    )
