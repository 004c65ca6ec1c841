"""Many runs at once, one a core. Each is what it would be alone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

from bench.calibration import Calibration
from bench.engines.sim.engine import simulated
from bench.plan import Run
from bench.progress import Listener, Moment
from bench.result import Record

Job = TypeVar("Job")
Done = TypeVar("Done")


def execute_all(
    runs: Sequence[Run],
    *,
    calibration: Calibration,
    keep: Callable[[Record], None],
    listen: Listener,
    cores: int | None = None,
) -> None:
    """Simulate these runs on so many cores (None: all that this process may use), and hand their
    records to ``keep``, in the order of the runs.

    A record's environment says where it comes from: ``where`` is ``simulated``, ``calibration``
    what it rests on, ``extrapolated`` what lies beyond what was measured, and ``only_live`` what
    the scenario asks for that no simulation has.
    """
    work = partial(simulated, calibration=calibration)
    listen(Moment(runs[0].backend_name, runs[0].repeat, "simulation"))
    for run, record in zip(runs, on_all_cores(work, runs, cores), strict=True):
        count = run.scenario.services.count
        listen(Moment(run.backend_name, run.repeat, "simulated", joined=count, live=count))
        keep(record)


def on_all_cores(
    work: Callable[[Job], Done], jobs: Sequence[Job], cores: int | None = None
) -> Iterator[Done]:
    """What ``work`` makes of each job, in their order; ``cores``: as for `execute_all`."""
    workers = min(cores or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            yield from pool.map(work, jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """A worker whose harness was killed has nobody left to work for."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
