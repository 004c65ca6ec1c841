"""Engines, transactions, bounds and errors: how the rest of the package speaks to the database.

Heartbeats have a connection of their own, so that no slow read holds one up; its commits may be
asynchronous, those of everything else never are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    NoSuchModuleError,
    SQLAlchemyError,
)

from membership.backends.sql.dialects import CHANNELS
from membership.config import SqlConfig
from membership.errors import Disconnected, InvalidValue, MembershipError, MissingDriver

if TYPE_CHECKING:
    import psycopg

_NO_RIGHT = "42501"
"""PostgreSQL's state of a statement that the role has no right to."""


class Database:
    """The connections of one `Membership`. Opens none before the first statement.

    What raises Disconnected raises MembershipError where the database answers that the role has no
    right to it.

    Raises: InvalidValue for a URL that no backend here serves; MissingDriver.
    """

    def __init__(self, url: str, config: SqlConfig) -> None:
        parsed = _parse(url)
        self.dialect = parsed.get_backend_name()
        self.postgres = self.dialect == "postgresql"
        self.name = _public_name(parsed)
        self.answer_timeout = config.timeout / 2
        """The longest, in s, that one answer is waited for: half the members' timeout, so that
        a beat whose connection died in silence can go out again on another one."""
        self._disposed = False
        self._beats = self._engine(parsed, config, 1, durable=config.synchronous_commit)
        self._calls = self._engine(parsed, config, config.pool_size - 1, durable=True)
        self._listens = self._engine(parsed, config, 1, durable=True)
        self._autocommit = {
            engine: engine.execution_options(isolation_level="AUTOCOMMIT")
            for engine in (self._beats, self._calls)
        }

    def _engine(
        self, url: sa.URL, config: SqlConfig, connections: int, *, durable: bool
    ) -> sa.Engine:
        options: dict[str, Any] = {
            "pool_size": connections,
            "max_overflow": 0,
            "pool_timeout": config.timeout,
            "hide_parameters": True,
        }
        if self.postgres:
            engine = _postgres_engine(url, config, self.answer_timeout, options, durable=durable)
        else:
            engine = _sqlite_engine(url, self.answer_timeout, options, durable=durable)

        @event.listens_for(engine, "checkin")
        def let_go(_connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
            if self._disposed:  # its pool is given up: nobody would ever close it
                record.invalidate()

        return engine

    @contextmanager
    def beat(self) -> Iterator[sa.Connection]:
        """The heartbeats' connection, each statement a transaction. Raises: Disconnected."""
        with self._open(self._beats, autocommit=True) as connection:
            yield connection

    @contextmanager
    def beat_transaction(self) -> Iterator[sa.Connection]:
        """The heartbeats' connection, in one transaction. Raises: Disconnected."""
        with self._open(self._beats, autocommit=False) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Each statement a transaction of its own, durable. Raises: Disconnected."""
        with self._open(self._calls, autocommit=True) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One durable transaction. Raises: Disconnected."""
        with self._open(self._calls, autocommit=False) as connection:
            yield connection

    @contextmanager
    def _open(self, engine: sa.Engine, *, autocommit: bool) -> Iterator[sa.Connection]:
        try:
            if self.postgres and autocommit:
                engine = self._autocommit[engine]
            with engine.begin() as connection:
                if not self.postgres and not autocommit:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        except SQLAlchemyError as error:
            reason = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise self._failure(reason) from error

    @contextmanager
    def listening(self) -> Iterator[psycopg.Connection[Any]]:
        """On PostgreSQL: a connection of its own that listens to changes. Raises: Disconnected."""
        import psycopg

        try:
            pooled = self._listens.raw_connection()
            connection = pooled.driver_connection
            assert isinstance(connection, psycopg.Connection)
            pooled.detach()  # it is never lent again
            with closing(connection):
                connection.autocommit = True
                for channel in CHANNELS:
                    connection.execute(f"LISTEN {channel}")
                yield connection
        except (SQLAlchemyError, psycopg.Error) as error:
            raise self._failure(error) from error

    def _failure(self, reason: BaseException) -> MembershipError:
        first = (str(reason).splitlines() or [type(reason).__name__])[0]
        if getattr(reason, "sqlstate", None) == _NO_RIGHT:
            return MembershipError(f"{self.name} refuses it: {first}")
        return Disconnected(f"{self.name} didn't answer: {first}")

    def dispose(self) -> None:
        """Close every connection that isn't in use, and the others when they are given back."""
        self._disposed = True
        self._beats.dispose()
        self._calls.dispose()
        self._listens.dispose()


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        dialect, driver = parsed.get_backend_name(), parsed.get_driver_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        # the cause would show the URL, and a password with it
        raise InvalidValue("the URL can't be read as that of a database") from None
    if (dialect, driver) not in {("postgresql", "psycopg"), ("sqlite", "pysqlite")}:
        raise InvalidValue(
            f"{parsed.drivername}:// isn't served: use postgresql+psycopg:// or sqlite:///file"
        )
    if "@" in (parsed.host or ""):  # what stands before it is the password's end
        raise InvalidValue("the URL's password has an @: write it as %40")
    if dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InvalidValue(
            "sqlite needs a file, as in sqlite:///members.db: a database in memory can't be "
            "shared by two connections (memory:// can)"
        )
    return parsed


def _public_name(url: sa.URL) -> str:
    """What messages call the database: nothing that could be a credential."""
    host = "" if url.host is None else f"{url.host}:{url.port}" if url.port else url.host
    return f"{url.drivername}://{host}/{url.database}"


def _postgres_engine(
    url: sa.URL,
    config: SqlConfig,
    answer_timeout: float,
    options: dict[str, Any],
    *,
    durable: bool,
) -> sa.Engine:
    try:
        from membership.backends.sql import postgres
    except ImportError as error:
        raise MissingDriver(
            "postgresql:// needs the package 'psycopg': pip install 'heartbench[postgres]'"
        ) from error
    arguments = postgres.arguments(answer_timeout, config.connect_timeout, durable=durable)
    if given := url.query.get("options"):
        arguments["options"] = f"{given} {arguments['options']}"
    engine = sa.create_engine(url, connect_args=arguments, use_native_hstore=False, **options)

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, _record: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> postgres.BoundedConnection:
        connection = postgres.BoundedConnection.connect(*args, **kwargs)
        connection.answer_timeout = answer_timeout
        postgres.send_integers_alike(connection)
        return connection

    @event.listens_for(engine, "checkout")
    def probe(connection: psycopg.Connection[Any], _record: object, _fairy: object) -> None:
        if postgres.hung_up(connection):
            raise DisconnectionError  # the pool opens another one

    return engine


def _sqlite_engine(
    url: sa.URL, answer_timeout: float, options: dict[str, Any], *, durable: bool
) -> sa.Engine:
    # isolation_level None: the driver begins nothing by itself, see `Database._open`
    arguments = {"isolation_level": None, "timeout": answer_timeout, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=arguments, **options)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine
