"""Everything that the library raises. A driver's own error is always attached as the cause."""

from __future__ import annotations


class MembershipError(Exception):
    """The parent of them all."""


class Disconnected(MembershipError):
    """The servers didn't answer. Whether a write took effect is unknown; reads may be repeated."""


class NameTaken(MembershipError):
    """The name is held by another live member of the group."""


class NotAMember(MembershipError):
    """The registration is over: it has left, or its connection is closed."""


class Conflict(MembershipError):
    """A compare-and-set found another version, or its fence has moved. Nothing was written."""


class Closed(MembershipError):
    """The connection has been closed, or belongs to the process that forked this one."""


class InvalidValue(MembershipError, ValueError):
    """A name, a metadata mapping or a setting that can't be accepted; the message says why."""


class UnknownBackend(MembershipError):
    """No backend serves the URL's scheme."""


class MissingDriver(MembershipError, ImportError):
    """The backend's driver isn't installed; the message names the extra that brings it."""
