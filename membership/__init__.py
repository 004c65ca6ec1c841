"""Group membership: join, query, be told of changes; on SQL heartbeats and on ZooKeeper."""

from membership.api import (
    Absent,
    Cell,
    CellWatch,
    Condition,
    Fence,
    Membership,
    Meter,
    Registration,
    Traits,
    Watch,
)
from membership.backends import connect
from membership.config import Config, MassLoss, MemoryConfig, SqlConfig, Tls, ZooKeeperConfig
from membership.errors import (
    Closed,
    Conflict,
    Disconnected,
    InvalidValue,
    MembershipError,
    MissingDriver,
    NameTaken,
    NotAMember,
    UnknownBackend,
)
from membership.model import CellState, EventKind, Freshness, Member, MemberEvent, Metadata, View

__all__ = [
    "Absent",
    "Cell",
    "CellState",
    "CellWatch",
    "Closed",
    "Condition",
    "Config",
    "Conflict",
    "Disconnected",
    "EventKind",
    "Fence",
    "Freshness",
    "InvalidValue",
    "MassLoss",
    "Member",
    "MemberEvent",
    "Membership",
    "MembershipError",
    "MemoryConfig",
    "Metadata",
    "Meter",
    "MissingDriver",
    "NameTaken",
    "NotAMember",
    "Registration",
    "SqlConfig",
    "Tls",
    "Traits",
    "UnknownBackend",
    "View",
    "Watch",
    "ZooKeeperConfig",
    "connect",
]
