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
    POWER_LOST = "power_lost"
    """It is silent for good, confirmed; its peers get no FIN and no RST. ``value``: as crashed."""
    FROZEN = "frozen"
    RESUMED = "resumed"
    RESTARTED = "restarted"
    """A new process of it begins, after it has crashed or left; joining and joined follow."""
    SKEWED = "skewed"
    """Its wall clock is off, confirmed; ``value``: by so many s, positive: ahead."""
    UNSKEWED = "unskewed"
    CUT = "cut"
    """No packets pass between its rack and everybody else, confirmed by a probe; ``detail`` of
    this and the next two: the direction, ``in`` being towards the services."""
    LOSSY = "lossy"
    """A share of the packets is lost, confirmed; ``value``: that share."""
    DELAYED = "delayed"
    """Packets take longer, confirmed; ``value``: by so many s."""
    HEALED = "healed"
    """Packets pass again as before, confirmed."""
    LOST = "lost"
    """It learnt that its own life was over."""
    # ground truth of one server (subject is its name, detail its role when it was hit); ``t``: it
    # is confirmed; ``value``: s between the order and the confirmation
    SERVER_KILLED = "server_killed"
    SERVER_PAUSED = "server_paused"
    SERVER_STOPPED = "server_stopped"
    SERVER_CUT = "server_cut"
    SERVER_BACK = "server_back"
    """It serves again, in its ensemble; ``value``: s since it was hit."""
    # observation only
    UPDATED = "updated"
    RESYNCED = "resynced"
    STALE = "stale"
    """The observer's view stopped calling itself fresh; ``value``: its age in s."""
    FRESH = "fresh"
    READ = "read"
    """The observer read the group; ``value``: s it took."""
    LOOKED = "looked"
    """The observer read those alone whose time might have been over; ``value``: s it took."""
