"""Membership on heartbeat rows in a SQL database, through SQLAlchemy: PostgreSQL and SQLite."""

from membership.backends.sql.backend import SqlMembership, connect

__all__ = ["SqlMembership", "connect"]
