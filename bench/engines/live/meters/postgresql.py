"""What a PostgreSQL server says of itself, by its statistics views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from bench.engines.live.meters import Meter, Reading

_VIEWS = (
    text("SELECT * FROM pg_stat_database WHERE datname = current_database()"),
    text("SELECT * FROM pg_stat_wal"),
    text("SELECT * FROM pg_stat_bgwriter"),
    text("""
        SELECT sum(n_tup_upd) AS table_updates, sum(n_tup_hot_upd) AS hot_updates,
               sum(n_dead_tup) AS dead_rows, sum(autovacuum_count) AS autovacuums
        FROM pg_stat_user_tables
    """),
)
_STATEMENTS = text("SELECT sum(calls) AS statements FROM pg_stat_statements(false) WHERE toplevel")
_HAS_STATEMENTS = text("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'")
METRICS = {
    # pg_stat_database
    "numbackends": ("connections", "connections"),
    "xact_commit": ("transactions", "transactions"),
    "xact_rollback": ("rollbacks", "transactions"),
    "tup_inserted": ("inserts", "rows"),
    "tup_updated": ("updates", "rows"),
    "tup_deleted": ("deletes", "rows"),
    "tup_returned": ("rows_read", "rows"),
    "blks_hit": ("blocks_hit", "blocks"),
    "blks_read": ("blocks_read", "blocks"),
    "blk_read_time": ("blocks_read_ms", "ms"),
    "blk_write_time": ("blocks_written_ms", "ms"),
    "deadlocks": ("deadlocks", "transactions"),
    "sessions": ("sessions", "sessions"),
    # pg_stat_wal
    "wal_records": ("wal_records", "records"),
    "wal_fpi": ("wal_full_pages", "pages"),
    "wal_bytes": ("wal_bytes", "bytes"),
    "wal_write": ("wal_writes", "writes"),
    "wal_sync": ("wal_syncs", "fsyncs"),
    "wal_buffers_full": ("wal_buffers_full", "times"),
    # pg_stat_bgwriter
    "checkpoints_timed": ("checkpoints_timed", "checkpoints"),
    "checkpoints_req": ("checkpoints_requested", "checkpoints"),
    "buffers_checkpoint": ("checkpoint_blocks", "blocks"),
    "buffers_clean": ("background_blocks", "blocks"),
    "buffers_backend": ("backend_blocks", "blocks"),
    # pg_stat_user_tables
    "table_updates": ("table_updates", "rows"),
    "hot_updates": ("hot_updates", "rows"),
    "dead_rows": ("dead_rows", "rows"),
    "autovacuums": ("autovacuums", "runs"),
    # pg_stat_statements
    "statements": ("statements", "statements"),
}
"""The columns that we take, and what we call them. The share of HOT updates is ``hot_updates`` of
``table_updates``. Versions differ: what a server doesn't tell is not recorded."""

_TIMEOUTS = {"connect_timeout": 2, "tcp_user_timeout": 10_000}


@contextmanager
def statistics(source: str, url: str) -> Iterator[Meter]:
    """A meter of the database that the URL names, on a connection of its own.

    ``statements`` counts what clients sent, transaction control included, where the extension
    pg_stat_statements is installed. Without readings while the server is down; one that stands
    still answers late.
    """
    engine = create_engine(
        url, pool_size=1, max_overflow=0, isolation_level="AUTOCOMMIT", connect_args=_TIMEOUTS
    )
    with engine.connect() as connection:
        counted = bool(connection.execute(_HAS_STATEMENTS).scalar())
    views = (*_VIEWS, _STATEMENTS) if counted else _VIEWS

    def read() -> Iterator[Reading]:
        try:
            with engine.connect() as connection:
                rows = [connection.execute(view).mappings().one() for view in views]
        except OperationalError:
            return
        for row in rows:
            for column, (metric, unit) in METRICS.items():
                if row.get(column) is not None:
                    yield Reading(source, metric, float(row[column]), unit)

    yield Meter(f"{source} statistics", read)
    engine.dispose()
