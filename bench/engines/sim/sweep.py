"""Many runs at once, one a core. Each is what it would be alone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from bench.calibration import Calibration
from bench.engines.sim.engine import execute, simulated
from bench.plan import Run
from bench.progress import Listener, Moment
from bench.result import Record


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
    """
    workers = min(cores or len(os.sched_getaffinity(0)), len(runs))
    if workers <= 1:
        for run in runs:
            execute(run, calibration=calibration, keep=keep, listen=listen)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            records = pool.map(partial(simulated, calibration=calibration), runs)
            for run, record in zip(runs, records, strict=True):
                count = run.scenario.services.count
                listen(Moment(run.backend_name, run.repeat, "simulated", joined=count, live=count))
                keep(record)
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
