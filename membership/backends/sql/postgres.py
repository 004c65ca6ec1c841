"""What PostgreSQL's driver lacks: a bound on how long an answer may take.

A server that is stopped, or cut off without a word, leaves libpq waiting for ever: no setting of
the server's can help, and TCP's own limits count only what the peer's kernel leaves unanswered.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.types.numeric import Int8Dumper

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when one answer takes longer than ``answer_timeout`` seconds."""

    answer_timeout: float = math.inf

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        end = time.monotonic() + self.answer_timeout
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > end:  # woken by the interval, nothing there
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.answer_timeout} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result


def hung_up(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has ended this idle connection, as far as is known here; asks nobody."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))  # an idle server has nothing to say but good-bye


def send_integers_alike(connection: psycopg.Connection[Any]) -> None:
    """Have each integer sent as a bigint, which is what the statements cast them to.

    psycopg chooses smallint, integer or bigint by the value, so one statement would be prepared
    and counted as several, with casts in it that depend on the data.
    """
    connection.adapters.register_dumper(int, Int8Dumper)


def arguments(timeout: float, connect_timeout: float, *, durable: bool) -> dict[str, object]:
    """libpq's settings for a connection whose statements end within ``timeout`` seconds.

    Where it isn't ``durable``, its commits don't wait for the disk.
    """
    session = {
        "statement_timeout": round(timeout * 1000),
        # whoever stops amid a transaction mustn't keep its locks: a leader's successor needs them
        "idle_in_transaction_session_timeout": round(timeout * 1000),
        "synchronous_commit": "on" if durable else "off",
    }
    return {
        "connect_timeout": math.ceil(connect_timeout),
        "tcp_user_timeout": round(timeout * 1000),
        "keepalives_idle": max(1, round(timeout / 2)),
        "keepalives_interval": max(1, round(timeout / 4)),
        "keepalives_count": 2,
        "application_name": "heartbench",
        "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
    }
