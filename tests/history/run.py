"""A random run on real servers: members, observers, faults; and the history of it."""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tests.history.actors import PATIENCE, Member, Observer, Plan
from tests.history.record import Belief, Deed, History, Outage, Renewal, Tenure, Write
from tests.history.worker import SEATS, Report

MEMBERS = 4
OBSERVERS = 2


def execute(plan: Plan) -> History:
    """Run it, heal everything, wait until all agree or long enough, and return the history."""
    random_numbers = random.Random(plan.seed)
    outages: list[Outage] = []
    with ExitStack() as stack:
        urls = plan.observer_urls or (plan.url,) * OBSERVERS
        members = [Member(plan, f"member-{number}") for number in range(MEMBERS)]
        for member in members:
            stack.callback(member.close)
        observers = [Observer(plan, f"observer-{n}", url) for n, url in enumerate(urls)]
        for observer in observers:
            stack.callback(observer.close)
        stack.enter_context(_watched(plan.timeout / 4, outages.append))
        _until(lambda: all(member.joined for member in members))
        if plan.clock_steps:  # one at least, that everybody's life is judged by
            observers[0].offset = 3 * plan.timeout
            time.sleep(plan.timeout)
            observers[0].offset = 0.0
        end = time.monotonic() + plan.seconds
        with ExitStack() as faults:
            fault_ends = time.monotonic() + random_numbers.uniform(2.0, 4.0)
            active: tuple[float, str] | None = None
            while time.monotonic() < end:
                time.sleep(random_numbers.uniform(0.05, 0.6))
                member = random_numbers.choice(members)
                outages += _disturb(plan, random_numbers, member, observers)
                if plan.faults and time.monotonic() >= fault_ends:
                    if active is None:
                        kind = random_numbers.choice(sorted(plan.faults))
                        began = time.monotonic()
                        what = faults.enter_context(plan.faults[kind](random_numbers.random()))
                        active = began, what
                        pause = random_numbers.uniform(0.3, 2.5) * plan.timeout
                    else:
                        faults.close()
                        outages.append(Outage(active[0], time.monotonic(), active[1]))
                        active = None
                        pause = random_numbers.uniform(2.0, 4.0) * plan.timeout
                    fault_ends = time.monotonic() + pause
            faults.close()
            if active is not None:
                outages.append(Outage(active[0], time.monotonic(), active[1]))
        live, seen = _settle(plan, members, observers)
    return _history(members, observers, outages, live, seen)


@contextmanager
def _watched(longest: float, tell: Callable[[Outage], None]) -> Iterator[None]:
    """Tell when this machine, its disk included, stood still for longer than that."""
    over = threading.Event()

    def watch() -> None:
        with tempfile.TemporaryFile(buffering=0) as file:
            previous = time.monotonic()
            while not over.wait(0.1):
                file.write(b".")
                os.fsync(file.fileno())
                now = time.monotonic()
                if now - previous > longest:
                    tell(Outage(previous, now, "the machine stood still"))
                previous = now

    thread = threading.Thread(target=watch, name="history-machine")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _disturb(
    plan: Plan, random_numbers: random.Random, member: Member, observers: list[Observer]
) -> Iterator[Outage]:
    """One thing more that happens to a member, or to a clock; and through it to all, if it does."""
    if not member.running:
        member.revive()
        return
    if member.frozen:
        member.resume()
        return
    what: str = random_numbers.choices(
        ["update", "leave or join", "kill", "freeze", "stand down", "clock"],
        [5, 4, 2, 2 if plan.processes else 0, 2, 2 if plan.clock_steps else 0],
    )[0]
    match what:
        case "leave or join":
            member.do("leave" if member.joined_in else "join")
        case "kill":
            member.kill()
        case "freeze":
            began = time.monotonic()
            member.freeze()
            if plan.held_up():
                member.resume()
                yield Outage(began, time.monotonic(), "held up by a stopped member")
        case "clock":
            offset = random_numbers.choice([0.0, 0.0, -3.0, 3.0]) * plan.timeout
            if random_numbers.random() < 0.5:
                random_numbers.choice(observers).offset = offset
            else:
                member.do("clock", offset=offset)
        case _:
            member.do(what)


def _settle(
    plan: Plan, members: list[Member], observers: list[Observer]
) -> tuple[dict[str, tuple[int, int]], dict[str, dict[str, tuple[int, int]]]]:
    """Heal everybody, have the odd ones out stay out, and wait until all see the same."""
    for member in members:
        member.resume()
        member.do("clock", offset=0.0)
    for observer in observers:
        observer.offset = 0.0
    time.sleep(plan.timeout)
    live: dict[str, tuple[int, int]] = {}
    seen: dict[str, dict[str, tuple[int, int]]] = {}

    def agreed() -> bool:
        live.clear()
        for member in members:
            if not member.running:
                continue
            state = member.state()
            if state is None or (state["member"] is None and not state["out"]):
                return False
            if state["member"] is not None:
                live[member.name] = tuple(state["member"])
        for observer in observers:
            seen[observer.name] = observer.seen() or {}
        return all(each == live for each in seen.values())

    _until(agreed)
    return live, seen


def _until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return held


def _history(
    members: list[Member],
    observers: list[Observer],
    outages: list[Outage],
    live: Mapping[str, tuple[int, int]],
    seen: Mapping[str, Mapping[str, tuple[int, int]]],
) -> History:
    deeds: list[Deed] = []
    beliefs: list[Belief] = []
    renewals: list[Renewal] = []
    writes: list[Write] = []
    tenures: list[Tenure] = []
    for member in members:
        deeds += member.deeds
        for reports in member.lives:
            tenures += _tenures(member.name, reports)
            for report in reports:
                match report["what"]:
                    case "joined" | "left" | "stalled" as verb:
                        deeds.append(
                            Deed(
                                report["t"],
                                verb,
                                member.name,
                                report.get("token", 0),
                                report.get("until", 0.0),
                                report.get("value", 0),
                            )
                        )
                    case "believes":
                        beliefs.append(
                            Belief(report["t"], report["until"], member.name, report["token"])
                        )
                    case "renewed":
                        renewals.append(Renewal(report["t"], member.name, report["until"]))
                    case "wrote":
                        writes.append(Write(report["version"], report["token"], member.name))
                    case _:
                        pass
    return History(
        deeds=tuple(sorted(deeds, key=lambda deed: deed.t)),
        sights=tuple(sorted((s for o in observers for s in o.sights), key=lambda sight: sight.t)),
        outages=tuple(outages),
        beliefs=tuple(beliefs),
        renewals=tuple(renewals),
        tenures=tuple(tenures),
        writes=tuple(writes),
        seats=SEATS,
        finally_live=dict(live),
        finally_seen={name: dict(each) for name, each in seen.items()},
    )


def _tenures(holder: str, reports: list[Report]) -> Iterator[Tenure]:
    """The tenures of one process; once ended, none is extended by a sample that was on its way."""
    found: dict[tuple[str, int, int], Tenure] = {}
    ended: set[tuple[str, int, int]] = set()
    for report in reports:
        if report["what"] not in ("leads", "led"):
            continue
        key = report["election"], report["seat"], report["token"]
        if report["what"] == "leads" and key not in ended:
            begun = found[key].t if key in found else report["t"]
            found[key] = Tenure(*key, holder, begun, report["until"])
        elif report["what"] == "led":
            ended.add(key)
            if key in found:
                found[key] = replace(found[key], until=min(found[key].until, report["t"]))
    yield from found.values()


def summary(history: History) -> dict[str, int]:
    """How much of what was in it, for whoever wonders whether it tried anything."""
    counts: Counter[str] = Counter(deed.verb for deed in history.deeds)
    counts.update(f"saw {sight.change}" for sight in history.sights)
    counts.update(outage.what for outage in history.outages)
    counts.update(
        {
            "tenures": len(history.tenures),
            "writes": len(history.writes),
            "beliefs": len(history.beliefs),
        }
    )
    return dict(sorted(counts.items()))
