"""What a PostgreSQL server says of itself, by its statistics views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from bench.engines.live.meters import Meter, Reading

_QUERY = text("""
    SELECT d.xact_commit AS transactions, d.tup_updated AS updates,
           (SELECT wal_bytes FROM pg_stat_wal) AS wal_bytes,
           (SELECT sum(n_tup_hot_upd) FROM pg_stat_user_tables) AS hot_updates
    FROM pg_stat_database d WHERE datname = current_database()
""")
_STATEMENTS = text("SELECT sum(calls) FROM pg_stat_statements WHERE toplevel")
_HAS_STATEMENTS = text("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'")
UNITS = {
    "transactions": "transactions",
    "updates": "rows",
    "wal_bytes": "bytes",
    "hot_updates": "rows",
}


@contextmanager
def statistics(source: str, url: str) -> Iterator[Meter]:
    """A meter of the database that the URL names, on a connection of its own.

    ``statements`` counts what clients sent, transaction control included, where the extension
    pg_stat_statements is installed.
    """
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        counted = bool(connection.execute(_HAS_STATEMENTS).scalar())

        def read() -> Iterator[Reading]:
            row = connection.execute(_QUERY).one()
            for metric, unit in UNITS.items():
                yield Reading(source, metric, float(getattr(row, metric) or 0), unit)
            if counted:
                calls = float(connection.execute(_STATEMENTS).scalar() or 0)
                yield Reading(source, "statements", calls, "statements")

        yield read
    engine.dispose()
