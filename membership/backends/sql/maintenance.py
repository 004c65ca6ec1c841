"""Which names are forced down: a row each, the same for both profiles."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam

from membership.backends.sql.dialects import GROUPS, announced, insert
from membership.backends.sql.schema import forced_down

_named = sa.and_(
    forced_down.c.group_name == bindparam("group", type_=sa.String),
    forced_down.c.name == bindparam("name", type_=sa.String),
)
_changed = announced(GROUPS, forced_down.c.group_name)
_remove = forced_down.delete().where(_named).returning(_changed)
_read = sa.select(forced_down.c.name, forced_down.c.reason).where(
    forced_down.c.group_name == bindparam("group", type_=sa.String)
)
_lock = sa.select(forced_down.c.name).where(_named).with_for_update(read=True)


def force_down(connection: sa.Connection, group: str, name: str, reason: str) -> None:
    """Force the name down; a second time replaces the reason."""
    put = insert(forced_down, connection.dialect.name).values(
        group_name=group, name=name, reason=reason
    )
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["group_name", "name"], set_={"reason": put.excluded.reason}
        ).returning(_changed)
    )


def lift(connection: sa.Connection, group: str, name: str) -> None:
    """Undo it, if it was done."""
    connection.execute(_remove, {"group": group, "name": name})


def reasons(connection: sa.Connection, group: str) -> dict[str, str]:
    """The names of a group that are forced down, each with its reason."""
    return dict(connection.execute(_read, {"group": group}).all())


def is_forced_down(connection: sa.Connection, group: str, name: str) -> bool:
    """Whether it is; then it stays so until the transaction is over."""
    return connection.execute(_lock, {"group": group, "name": name}).first() is not None
