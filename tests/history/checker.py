"""What must hold of any history. Pure: each check returns what speaks against the promise."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise

from tests.history.record import Deed, History, Sight, Tenure

Check = Callable[[History], list[str]]


def completeness(history: History) -> list[str]:
    """Who died is gone, who lives is there, for every observer, once all is healed."""
    wrong = []
    for observer, seen in history.finally_seen.items():
        for name in sorted(seen.keys() | history.finally_live.keys()):
            is_so, sees = history.finally_live.get(name), seen.get(name)
            if is_so != sees:
                wrong.append(f"in the end {observer} sees {name} as {sees}, and it is {is_so}")
    return wrong


def accuracy(history: History, timeout: float) -> list[str]:
    """No member that ran, on servers that ran, is called dead.

    ``timeout``: how far before a verdict a cause of it may lie.
    """
    trouble = [(outage.t, outage.until) for outage in history.outages]
    own = _impairments(history.deeds)
    ends = {(deed.name, deed.token): deed.t for deed in history.deeds if deed.verb == "left"}
    wrong = []
    for sight in history.sights:
        if sight.change != "left":
            continue
        left = ends.get((sight.name, sight.token))
        if left is not None and left <= sight.t:
            continue
        since = sight.t - timeout
        causes = trouble + own[sight.name]
        if not any(begin <= sight.t and since <= end for begin, end in causes):
            wrong.append(
                f"{sight.observer} called {sight.name} ({sight.token}) dead at {sight.t:.3f}, "
                "and nothing had happened to it"
            )
    return wrong


def _impairments(deeds: Iterable[Deed]) -> dict[str, list[tuple[float, float]]]:
    """When each member didn't run."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    down: dict[str, float] = {}
    for deed in sorted(deeds, key=lambda deed: deed.t):
        match deed.verb:
            case "killed" | "frozen":
                down.setdefault(deed.name, deed.t)
            case "joined" | "resumed" if deed.name in down:
                # who was killed is accounted for until its next life stands
                found[deed.name].append((down.pop(deed.name), max(deed.t, deed.until)))
            case "stalled":
                found[deed.name].append((deed.t, deed.until))
            case _:
                pass
    for name, since in down.items():
        found[name].append((since, float("inf")))
    return found


def order(history: History, *, revivals: bool = False) -> list[str]:
    """For each observer and member: joined and left alternate, one life at a time, tokens grow,
    and a life's metadata go forward only.

    ``revivals``: where beats decide, who was silent for the timeout is dead, and who then beats
    again is joined once more in the same life.
    """
    wrong = []
    present: dict[tuple[str, str], Sight] = {}
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for sight in history.sights:
        key = sight.observer, sight.name
        standing = present.get(key)
        problem = ""
        match sight.change:
            case "joined":
                if standing is not None:
                    problem = f"joined while {standing.token} stood"
                elif sight.token < newest[key] + (not revivals):
                    problem = f"joined after {newest[key]}: tokens have to grow"
            case "left":
                if standing is None:
                    problem = "left, and wasn't there"
                elif standing.token != sight.token:
                    problem = f"left while {standing.token} stood"
            case "updated":
                if standing is None or standing.token != sight.token:
                    problem = "updated, and that life wasn't there"
                elif sight.value < standing.value:
                    problem = f"updated back from {standing.value} to {sight.value}"
        if problem:
            wrong.append(
                f"{sight.observer} at {sight.t:.3f}: {sight.name} ({sight.token}) {problem}"
            )
        newest[key] = max(newest[key], sight.token)
        if sight.change == "left":
            present.pop(key, None)
        else:
            present[key] = sight
    return wrong


def tokens(history: History) -> list[str]:
    """No token is given twice, and a join that began after another had returned has a larger."""
    joins = sorted((d for d in history.deeds if d.verb == "joined"), key=lambda deed: deed.t)
    wrong = []
    largest: Deed | None = None
    finished = sorted(joins, key=lambda deed: deed.until)
    done = 0
    seen: dict[int, Deed] = {}
    for join in joins:
        while done < len(finished) and finished[done].until < join.t:
            if largest is None or finished[done].token > largest.token:
                largest = finished[done]
            done += 1
        if largest is not None and join.token <= largest.token:
            wrong.append(
                f"{join.name} joined with {join.token} "
                f"after {largest.name} had with {largest.token}"
            )
        twin = seen.setdefault(join.token, join)
        if twin is not join:
            wrong.append(f"{join.name} and {twin.name} both joined with {join.token}")
    return wrong


def self_fencing(history: History) -> list[str]:
    """Nobody takes itself for a member in a life that an observer has called over, unless a
    renewal was answered after the observer had asked."""
    over: dict[tuple[str, int], list[Sight]] = defaultdict(list)
    for sight in history.sights:
        if sight.change == "left":
            over[sight.name, sight.token].append(sight)
    renewed: dict[str, list[float]] = defaultdict(list)
    for until, name in sorted((renewal.until, renewal.name) for renewal in history.renewals):
        renewed[name].append(until)
    wrong = []
    for belief in history.beliefs:
        times = renewed[belief.name]
        last = bisect_right(times, belief.until)  # what was answered during the sample counts
        since = times[last - 1] if last else float("-inf")
        wrong += [
            f"{belief.name} ({belief.token}) took itself for a member at {belief.t:.3f}, "
            f"{belief.t - verdict.t:.3f} s after {verdict.observer} had called it dead"
            for verdict in over.get((belief.name, belief.token), ())
            if since < (verdict.t if verdict.asked is None else verdict.asked)
            and verdict.t < belief.t
        ]
    return wrong


def fencing(history: History) -> list[str]:
    """No write is accepted under an older leadership than one before it."""
    writes = sorted(history.writes, key=lambda write: write.version)
    wrong = [
        f"version {later.version} was written by {later.holder} under {later.token}, "
        f"after version {earlier.version} under {earlier.token}"
        for earlier, later in pairwise(writes)
        if later.token < earlier.token
    ]
    wrong += [
        f"version {later.version} was written by {earlier.holder} and by {later.holder}"
        for earlier, later in pairwise(writes)
        if later.version == earlier.version and later != earlier
    ]
    return wrong


def one_holder(history: History) -> list[str]:
    """Never two unexpired local deadlines for one seat."""
    wrong = []
    for held in _by_seat(history).values():
        widest: Tenure | None = None
        for tenure in held:
            if widest is not None and tenure.t < widest.until:
                wrong.append(
                    f"{tenure.election}/{tenure.seat}: {tenure.holder} led at {tenure.t:.3f}, "
                    f"when {widest.holder} trusted itself until {widest.until:.3f}"
                )
            if widest is None or tenure.until > widest.until:
                widest = tenure
    return wrong


def no_more_than_seats(history: History) -> list[str]:
    """Never more leaders of one election at an instant than it has seats."""
    wrong = []
    for election, seats in history.seats.items():
        # At one instant an end comes first: a deadline is the first instant without trust.
        steps = sorted(
            step
            for tenure in history.tenures
            if tenure.election == election and tenure.t < tenure.until
            for step in ((tenure.t, 1, tenure.holder), (tenure.until, -1, tenure.holder))
        )
        leading: list[str] = []
        for t, step, holder in steps:
            if step < 0:
                leading.remove(holder)
                continue
            leading.append(holder)
            if len(leading) > seats:
                wrong.append(f"{election}: {', '.join(leading)} led at {t:.3f}, of {seats} allowed")
    return wrong


def leadership_tokens(history: History) -> list[str]:
    """Of one seat's leaderships the later one has the larger token, and no two have the same."""
    return [
        f"{later.election}/{later.seat}: {later.holder} led with {later.token} "
        f"after {earlier.holder} with {earlier.token}"
        for held in _by_seat(history).values()
        for earlier, later in pairwise(held)
        if later.token <= earlier.token
    ]


def _by_seat(history: History) -> dict[tuple[str, int], list[Tenure]]:
    found: dict[tuple[str, int], list[Tenure]] = defaultdict(list)
    for tenure in sorted(history.tenures, key=lambda tenure: tenure.t):
        found[tenure.election, tenure.seat].append(tenure)
    return found


def contradictions(history: History) -> list[str]:
    """Lives that one observer called over and then took back, and that another never doubted.

    Where observers share their servers, it was the observer that was wrong.
    """
    over: dict[tuple[str, str, int], float] = {}
    lefts = [sight for sight in history.sights if sight.change == "left"]
    wrong = []
    for sight in history.sights:
        key = sight.observer, sight.name, sight.token
        if sight.change == "left":
            over[key] = sight.t
        elif sight.change == "joined" and (since := over.pop(key, None)) is not None:
            doubted = any(
                left.observer != sight.observer
                and (left.name, left.token) == (sight.name, sight.token)
                and left.t <= sight.t
                for left in lefts
            )
            if not doubted:
                wrong.append(
                    f"{sight.observer} alone called {sight.name} ({sight.token}) dead "
                    f"from {since:.3f} to {sight.t:.3f}"
                )
    return wrong


ALWAYS: tuple[Check, ...] = (
    completeness,
    tokens,
    fencing,
    one_holder,
    no_more_than_seats,
    leadership_tokens,
)
"""What every backend promises alike, whatever happens to its servers."""


def story(history: History) -> str:
    """All of it in the order of time, for whoever has to find out what happened."""
    rows: list[tuple[float, object]] = [
        (each.t, each)
        for kind in (history.deeds, history.sights, history.outages, history.tenures)
        for each in kind
    ]
    rows.sort(key=lambda row: row[0])
    return "".join(f"{t:.3f} {each}\n" for t, each in rows)
