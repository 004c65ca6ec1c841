"""Every statement about members, as SQLAlchemy Core with named parameters.

A simulated service that has no thread of its own compiles them for its own driver and so issues
what the library issues: no statement depends on anything that the session remembers. Parameters
are named in each comment; ``group``, ``name`` and ``metadata`` are strings, ``token`` and the
plural ``tokens`` integers and a list of them, the rest as said.

The life of a member, statement by statement (-> one row, ; a transaction's next statement):

* ``nova``: join `nova_claim` -> id; `nova_live` -> token. Beat `nova_select` -> report_count;
  `nova_beat`. Leave `nova_leave`.
* ``tuned``: join `tuned_claim` -> token, or no row where a live other may hold the name;
  `tuned_document`. Beat `tuned_beat`, of many `tuned_beat_many`. Leave `tuned_leave`.

On SQLite `next_token` reads a counter, which `advance_token` moves first in the transaction.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam

from membership.backends.sql.dialects import (
    GROUPS,
    among,
    announced,
    database_clock,
    insert,
    next_token,
)
from membership.backends.sql.schema import (
    counter,
    documents,
    forced_down,
    members,
    service_lives,
    services,
)


def _text(name: str) -> sa.BindParameter[str]:
    return bindparam(name, type_=sa.String)


def _number(name: str) -> sa.BindParameter[int]:
    return bindparam(name, type_=sa.BigInteger)


def _instant(name: str) -> sa.BindParameter[datetime]:
    return bindparam(name, type_=sa.DateTime)


def _document(name: str) -> sa.BindParameter[str]:
    return bindparam(name, type_=sa.Text)


# in the text, not parameters: a statement's parameters are those that its comment names
_ZERO: sa.ColumnElement[int] = sa.literal_column("0")
_ONE: sa.ColumnElement[int] = sa.literal_column("1")

advance_token = counter.update().values(value=counter.c.value + _ONE)
"""SQLite: before each statement with `next_token`, in its transaction."""

# --- nova


def nova_claim(dialect: str) -> sa.UpdateBase:
    """Take the service's row over, or make it. group, name, uuid; now (naive UTC datetime).

    Returns id. A row that stands is one of a service that restarts, as Nova sees it; unlike
    Nova's it is stamped at once, for a member is visible as soon as its join returns.
    """
    made = insert(services, dialect).values(
        host=_text("name"),
        binary=_text("group"),
        topic=_text("group"),
        uuid=_text("uuid"),
        created_at=_instant("now"),
        report_count=_ZERO,
        disabled=sa.false(),
        forced_down=sa.false(),
        version=_ZERO,
        deleted=_ZERO,
    )
    return made.on_conflict_do_update(
        index_elements=["host", "binary", "deleted"],
        set_={"updated_at": made.excluded.created_at, "last_seen_up": made.excluded.created_at},
    ).returning(services.c.id)


def nova_live(dialect: str) -> sa.UpdateBase:
    """A new life on the row that `nova_claim` locked. id, metadata. Returns token."""
    made = insert(service_lives, dialect).values(
        service_id=_number("id"),
        token=next_token(),
        revision=_ZERO,
        metadata=_document("metadata"),
    )
    return made.on_conflict_do_update(
        index_elements=["service_id"],
        set_={"token": next_token(), "revision": _ZERO, "metadata": made.excluded.metadata},
    ).returning(service_lives.c.token)


nova_select = (
    sa.select(*services.c)
    .where(services.c.deleted == _ZERO, services.c.id == _number("id"))
    .limit(_ONE)
)
"""A beat's first statement: id. No row: somebody deleted the service."""

nova_beat = (
    services.update()
    .where(services.c.id == _number("service_id"))
    .values(
        report_count=_number("count"),
        last_seen_up=_instant("now"),
        updated_at=_instant("now"),
    )
)
"""A beat's second: service_id, count (the row's plus one), now (naive UTC datetime)."""

nova_leave = (
    services.update()
    .where(
        services.c.id == _number("service_id"),
        services.c.deleted == _ZERO,
        sa.exists().where(
            service_lives.c.service_id == services.c.id, service_lives.c.token == _number("token")
        ),
    )
    .values(deleted=services.c.id, deleted_at=_instant("now"))
)
"""Delete the service as ``nova service-delete`` does, softly: service_id, token, now."""

nova_update = (
    service_lives.update()
    .where(service_lives.c.token == _number("life"))
    .values(
        revision=service_lives.c.revision + _ONE,
        metadata=_document("metadata"),
    )
)
"""life (a token), metadata. No row: the life is over."""

_nova_services = services.outerjoin(
    forced_down,
    sa.and_(forced_down.c.group_name == services.c.topic, forced_down.c.name == services.c.host),
)
_nova_forced = sa.or_(
    sa.func.coalesce(services.c.forced_down, sa.false()), forced_down.c.name.is_not(None)
).label("forced_down")

_nova_rows = (
    sa.select(
        services.c.id,
        services.c.host,
        _nova_forced,
        services.c.last_seen_up,
        services.c.created_at,
        service_lives.c.token,
        service_lives.c.revision,
    )
    .select_from(_nova_services.outerjoin(service_lives))
    .where(services.c.deleted == _ZERO)
)

nova_read = _nova_rows.where(services.c.topic == _text("group"))
"""The services of a group, those that another program made included: token NULL. group."""

nova_read_some = _nova_rows.where(among(services.c.id, "ids"))
"""The same of those with these ``ids``."""

nova_documents = sa.select(
    service_lives.c.token, service_lives.c.revision, service_lives.c.metadata
).where(among(service_lives.c.token, "tokens"))
"""tokens."""

nova_read_name = _nova_rows.where(
    services.c.topic == _text("group"), services.c.host == _text("name")
)
"""group, name."""

nova_groups = (
    sa.select(services.c.topic, _nova_forced, services.c.last_seen_up, services.c.created_at)
    .select_from(_nova_services)
    .where(services.c.deleted == _ZERO)
)
"""What tells which groups have anybody who is up."""

nova_lock = (
    sa.select(services.c.forced_down, services.c.last_seen_up, services.c.created_at)
    .where(
        services.c.deleted == _ZERO,
        services.c.topic == _text("group"),
        services.c.host == _text("name"),
    )
    .with_for_update()
)
"""A service as it is now, and stays until the transaction is over: group, name."""

nova_mark = (
    services.update()
    .where(
        services.c.deleted == _ZERO,
        services.c.topic == _text("group"),
        services.c.host == _text("name"),
    )
    .values(forced_down=bindparam("forced", type_=sa.Boolean))
)
"""Set Nova's own column, where there is a service: group, name, forced."""

nova_forced_down = (
    sa.select(services.c.host, sa.func.coalesce(forced_down.c.reason, sa.literal_column("''")))
    .select_from(_nova_services)
    .where(services.c.deleted == _ZERO, services.c.topic == _text("group"), _nova_forced)
)
"""The services that are forced down, with the reasons that are known: group."""

nova_purge = services.delete().where(
    sa.or_(
        services.c.deleted_at < _instant("before"),
        sa.func.coalesce(services.c.last_seen_up, services.c.created_at) < _instant("before"),
    )
)
"""before (naive UTC datetime). Their lives go with them."""

# --- tuned

# Whole ms, for every driver types an integer alike; a fraction's type only some of them write out.
_age_ms = (database_clock() - members.c.seen_at) * sa.literal_column("1000")
_timeout_ms = _number("timeout_ms")


def tuned_claim(dialect: str) -> sa.UpdateBase:
    """Take the name if nobody can be living under it. group, name; timeout_ms; and of the row
    that was watched for a whole timeout, else 0 and -1: seen_token, seen_beat. Returns token.
    """
    return (
        insert(members, dialect)
        .values(
            token=next_token(),
            group_name=_text("group"),
            name=_text("name"),
            present=sa.true(),
            revision=_ZERO,
            beat=_ZERO,
            seen_at=database_clock(),
        )
        .on_conflict_do_update(
            index_elements=["group_name", "name"],
            set_={
                "token": next_token(),
                "present": sa.true(),
                "revision": _ZERO,
                "beat": _ZERO,
                "seen_at": database_clock(),
            },
            where=sa.or_(
                sa.not_(members.c.present),
                _age_ms > _timeout_ms,
                sa.and_(
                    members.c.token == _number("seen_token"), members.c.beat == _number("seen_beat")
                ),
            ),
        )
        .returning(members.c.token, announced(GROUPS, members.c.group_name))
    )


def tuned_document(dialect: str) -> sa.UpdateBase:
    """The new life's metadata, in `tuned_claim`'s transaction. token, metadata."""
    made = insert(documents, dialect).values(token=_number("token"), metadata=_document("metadata"))
    return made.on_conflict_do_update(
        index_elements=["token"], set_={"metadata": made.excluded.metadata}
    )


_beaten = members.update().values(beat=members.c.beat + _ONE, seen_at=database_clock())

tuned_beat = _beaten.where(members.c.token == _number("life"), members.c.present)
"""life (a token). No row: the life is over."""

tuned_beat_many = _beaten.where(among(members.c.token, "tokens"), members.c.present).returning(
    members.c.token
)
"""tokens. Returns the token of each life that isn't over."""

tuned_leave = (
    members.update()
    .where(among(members.c.token, "tokens"))
    .values(present=sa.false())
    .returning(announced(GROUPS, members.c.group_name))
)
"""tokens."""

tuned_revise = (
    members.update()
    .where(members.c.token == _number("life"), members.c.present)
    .values(revision=members.c.revision + _ONE)
    .returning(members.c.token, announced(GROUPS, members.c.group_name))
)
"""An update's first statement: life (a token). No row: the life is over."""

tuned_rewrite = (
    documents.update()
    .where(documents.c.token == _number("life"))
    .values(metadata=_document("metadata"))
)
"""An update's second: life (a token), metadata."""

tuned_standing = sa.select(members.c.token, members.c.beat).where(
    members.c.group_name == _text("group"), members.c.name == _text("name"), members.c.present
)
"""Who holds a name: group, name."""

_is_forced = sa.and_(
    forced_down.c.group_name == members.c.group_name, forced_down.c.name == members.c.name
)

tuned_read = (
    sa.select(
        members.c.name,
        members.c.token,
        members.c.revision,
        members.c.beat,
        forced_down.c.name.is_not(None),
    )
    .select_from(members.outerjoin(forced_down, _is_forced))
    .where(members.c.group_name == _text("group"), members.c.present)
)
"""The group, the forced down and dead members that nobody purged included: group."""

tuned_beats = sa.select(members.c.name, members.c.token, members.c.beat).where(
    members.c.group_name == _text("group"), among(members.c.name, "names"), members.c.present
)
"""The beats of some: group, names."""

tuned_documents = (
    sa.select(members.c.token, members.c.revision, documents.c.metadata)
    .join_from(members, documents)
    .where(among(members.c.token, "tokens"))
)
"""tokens."""

tuned_alive = (
    sa.select(members.c.name, members.c.token, documents.c.metadata)
    .join_from(members, documents)
    .where(
        members.c.group_name == _text("group"),
        members.c.present,
        _age_ms <= _timeout_ms,
        ~sa.exists().where(_is_forced),
    )
)
"""Who has beaten within the timeout by the database's clock: group, timeout_ms."""

tuned_alive_name = tuned_alive.where(members.c.name == _text("name"))
"""The same of one: group, name, timeout_ms."""

tuned_groups = (
    sa.select(members.c.group_name)
    .distinct()
    .where(members.c.present, _age_ms <= _timeout_ms, ~sa.exists().where(_is_forced))
)
"""timeout_ms."""


def tuned_hold(dialect: str) -> sa.UpdateBase:
    """A row for a name that has none, so that nobody joins under it meanwhile. group, name.

    Returns token; no row where there is one, or one came meanwhile. The conflict clause alone
    would wait for whoever is writing the row that there is.
    """
    group, name = _text("group"), _text("name")
    known = sa.exists().where(members.c.group_name == group, members.c.name == name)
    row = sa.select(next_token(), group, name, sa.false(), _ZERO, _ZERO, database_clock()).where(
        ~known
    )
    columns = ["token", "group_name", "name", "present", "revision", "beat", "seen_at"]
    return (
        insert(members, dialect)
        .from_select(columns, row)
        .on_conflict_do_nothing()
        .returning(members.c.token)
    )


tuned_lock = (
    sa.select(members.c.present, members.c.token, members.c.beat, _age_ms <= _timeout_ms)
    .where(members.c.group_name == _text("group"), members.c.name == _text("name"))
    .with_for_update(read=True, skip_locked=True)
)
"""A row as it is now, and stays until the transaction is over: group, name, timeout_ms.

No row: it is being written at this moment. To wait for the writer could end in a deadlock, for a
batch of beats locks its rows in no order.
"""

tuned_purge = members.delete().where(_age_ms > _number("older_than_ms"))
"""older_than_ms. Their documents go with them."""
