"""A guard that is entered at its instant and left after a while, beside whatever else goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from bench.engines.live.swarm.shard import monotonic


@contextmanager
def timed(
    at: float, duration: float, guard: AbstractContextManager[float | None]
) -> Iterator[None]:
    """Enter ``guard`` at ``at`` and leave it ``duration`` s after it took hold, or when the block
    ends, whichever is first. It took hold when it says so: at the instant that it yields, if any.

    ``at``: on `monotonic`; ``duration``: may be infinite. A guard whose time never came is never
    entered. What the guard raised is raised at the block's end.
    """
    over = threading.Event()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            if not over.wait(max(0.0, at - monotonic())):
                with guard as since:
                    end = (monotonic() if since is None else since) + duration
                    over.wait(max(0.0, min(end - monotonic(), threading.TIMEOUT_MAX)))
        except BaseException as error:  # noqa: BLE001  the block's own thread raises it
            raised.append(error)

    thread = threading.Thread(target=work, name="heartbench-fault", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if raised:
        raise raised[0]
