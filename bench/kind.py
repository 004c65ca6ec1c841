"""The kinds of events; apart from `result`, so that a shard need not import pandas for them."""

from enum import StrEnum


class Kind(StrEnum):
    """The kinds of events."""

    # the run: subject is the phase, value its planned length in s
    PHASE = "phase"
    END = "end"
    # ground truth of one service (observer is null)
    JOINING = "joining"
    """It sent its first join."""
    JOINED = "joined"
    """Its join was answered. With an observer: that observer was told so."""
    RENEWED = "renewed"
    """``t`` is when it *sent* the last renewal that was answered before the fault that follows,
    or the first one answered after a freeze."""
    CRASHED = "crashed"
    """It is dead, confirmed; ``value``: s between the order and the confirmation."""
    LEFT = "left"
    """It sent its leave (which was answered). With an observer: that one was told it is gone."""
    FROZEN = "frozen"
    RESUMED = "resumed"
    LOST = "lost"
    """It learnt that its own life was over."""
    # observation only
    UPDATED = "updated"
    RESYNCED = "resynced"
    STALE = "stale"
    """The observer's view stopped calling itself fresh; ``value``: its age in s."""
    FRESH = "fresh"
    READ = "read"
    """The observer read the group; ``value``: s it took."""
