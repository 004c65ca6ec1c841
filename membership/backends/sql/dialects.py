"""What PostgreSQL and SQLite say differently, as elements of SQLAlchemy's expressions."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

GROUPS: Final = "membership_groups"
CELLS: Final = "membership_cells"
CHANNELS = (GROUPS, CELLS)
"""Where PostgreSQL tells those who listen that a group, or a cell, of that name has changed."""


class database_clock(FunctionElement[float]):  # noqa: N801  a function of SQL
    """The database's clock at this moment, not at the transaction's start: s since 1970."""

    type = sa.Double()
    inherit_cache = True


@compiles(database_clock, "postgresql")
def _postgres_clock(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())::DOUBLE PRECISION"


@compiles(database_clock, "sqlite")
def _sqlite_clock(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class next_token(FunctionElement[int]):  # noqa: N801  a function of SQL
    """A token larger than every earlier one. In a row's update it is drawn under the row's lock."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(next_token, "postgresql")
def _postgres_token(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    return "nextval('membership_token')"


@compiles(next_token, "sqlite")
def _sqlite_token(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    return "(SELECT value FROM membership_counter)"


class Listed(TypeDecorator[list[Any]]):
    """A list of values as one parameter, so that a list of any size is the same statement."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        array = postgresql.ARRAY(self.item) if dialect.name == "postgresql" else sa.Text()
        return dialect.type_descriptor(array)

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


class among(FunctionElement[bool]):  # noqa: N801  a function of SQL
    """Whether a column's value is in a list that is one parameter."""

    type = sa.Boolean()
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any], parameter: str) -> None:
        super().__init__(column, bindparam(parameter, type_=Listed(column.type)))


@compiles(among, "postgresql")
def _postgres_among(element: among, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, listed = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"{column} = ANY ({listed})"


@compiles(among, "sqlite")
def _sqlite_among(element: among, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, listed = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({listed})))"  # noqa: S608  both are SQLAlchemy's


class announced(FunctionElement[None]):  # noqa: N801  a function of SQL
    """In RETURNING: tell those who listen, as the transaction commits, that this has changed.

    A push rides on the statement that makes the change, so it costs no round trip; but PostgreSQL
    lets only one transaction that notifies commit at a time (see `SqlConfig.profile` for the
    price). Where the database has no such thing, readers find out by their polls.
    """

    inherit_cache = True

    def __init__(
        self, channel: Literal["membership_groups", "membership_cells"], name: sa.Column[str]
    ) -> None:
        super().__init__(sa.literal_column(f"'{channel}'"), name)


@compiles(announced, "postgresql")
def _postgres_announced(element: announced, compiler: SQLCompiler, **kwargs: Any) -> str:
    channel, name = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"pg_notify({channel}, {name})"


@compiles(announced, "sqlite")
def _sqlite_announced(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    return "NULL"


def insert(table: sa.Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An insertion that knows ON CONFLICT."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
