"""Two versions run by turns, so that whatever else the machine does hits both alike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import HarnessError
from bench.gate.judgement import PAIRS, Outcome, judge
from bench.gate.measured import measured
from bench.gate.noise import Noise, Pair, begun, read, together
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
    noise: str | Path | None = None,
    say: Say = lambda _: None,
) -> Outcome:
    """Run a scenario on the version `ref` of the repository and on the sources that are running,
    by turns, and judge these by that one.

    Both run in the same virtual environment; each pair has a seed of its own. A pair of which one
    run is not valid is left out, and named in the notes; of fewer than `PAIRS` pairs no time is
    decided. Raises: RefError; PairsError.
    """
    with checked_out(ref) as there:
        found = tuple(
            _by_turns(
                scenario,
                (there, HERE),
                range(pairs),
                servers=servers,
                overrides=overrides,
                say=say,
            )
        )
    valid = tuple(pair for pair in found if not any(_invalid(pair)))
    base, ours = map(together, zip(*(valid or found), strict=True))  # of none, so that it says why
    outcome = judge(
        replace(ours, run="these sources"),
        replace(base, run=ref),
        tolerances or Tolerances(),
        noise=read(noise).spread if noise else None,
    )
    left_out = tuple(_left_out(found)) if valid else ()
    return replace(outcome, notes=(*outcome.notes, *left_out))


def calibrate(
    scenario: Path,
    file: Path,
    tolerances: Tolerances | None = None,
    *,
    pairs: int = PAIRS,
    servers: Sequence[str] = ("auto",),
    overrides: Sequence[str] = (),
    say: Say = lambda _: None,
) -> Noise:
    """The noise floor: the same sources against themselves, by turns.

    `file` has each pair as soon as it is made; where it has some already, these are added. A pair
    of which one run is not valid is left out, and said. Raises: PairsError, where there is no
    valid pair; ResultError, for a file that is of another scenario or machine.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    floor = read(file, tolerances) if file.exists() else None
    done = len(floor.pairs) if floor else 0
    left_out = []
    for pair in _by_turns(
        scenario,
        (HERE, HERE),
        range(done, done + pairs),
        servers=servers,
        overrides=overrides,
        say=say,
    ):
        if bad := tuple(_invalid(pair)):
            left_out.append(bad[0])
            say(f"left out: {bad[0]}")
            continue
        floor = floor.joined(pair) if floor else begun(pair, tolerances)
        floor.save(file)
    if floor is None:
        why = left_out[0] if left_out else f"{file} has none"
        raise PairsError(f"no pair of runs is valid, so they say nothing: {why}")
    return floor


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


def _invalid(pair: Pair) -> Iterator[str]:
    return (
        f"{each.verdict}: {'; '.join(each.reasons)}"
        for each in pair
        if each.verdict != Verdict.VALID
    )


def _left_out(pairs: Sequence[Pair]) -> Iterator[str]:
    for number, pair in enumerate(pairs, 1):
        yield from (f"pair {number} is left out, {why}" for why in _invalid(pair))


def _by_turns(
    scenario: Path,
    versions: tuple[Path, Path],
    numbers: Iterable[int],
    *,
    servers: Sequence[str],
    overrides: Sequence[str],
    say: Say,
) -> Iterator[Pair]:
    """Both versions' runs, pair by pair; the second goes first in every second pair."""
    for number in numbers:
        results = {}
        with TemporaryDirectory(prefix="heartbench-gate-") as folder:
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                say(f"pair {number + 1}: {('the baseline', 'this version')[side]}")
                out = Path(folder) / str(side)
                words = (*overrides, f"seed={1 + number}", "repeat=1")
                _run(versions[side], scenario, out, servers, words)
                results[side] = measured(out)
        yield results[0], results[1]


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
