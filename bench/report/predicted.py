"""How far a simulation lies from the live runs that it was to predict, in words."""

from __future__ import annotations

from bench.prediction import YARDSTICK, Error, Prediction
from bench.report.quantity import NONE, plain

SHOWN = (
    "server_cpu_cores",
    "server_rss_max_bytes",
    "statements_per_service_second",
    "packets_per_service_second",
    "network_bytes_per_service_second",
)
"""The figures of load that are told to people; the JSON has all."""

_WORDS = {True: "near enough", False: "too far off", None: "too few to tell"}


def text(prediction: Prediction) -> list[str]:
    """Lines for people."""
    lines = []
    for each in prediction.detections:
        distance = NONE if each.ks is None else f"{each.ks:.3f} (chance alone: {each.ks_null:.3f})"
        lines.append(
            f"{each.backend}, {each.fault}: {each.live:,} live and {each.sim:,} simulated, "
            f"KS distance {distance}: {_WORDS[each.ok]}"
        )
        lines += [f"  {_told(error)}" for error in each.errors]
        if each.missed_live or each.missed_sim:
            lines.append(f"  missed: {each.missed_live:.1%} live, {each.missed_sim:.1%} simulated")
    for mistake in prediction.mistakes:
        lines.append(
            f"{mistake.backend}: {mistake.live:,} live services called dead while {mistake.state}, "
            f"{mistake.sim:,.1f} predicted{_between(mistake.chance)}; "
            f"the rates {'agree' if mistake.ok else 'disagree'}"
        )
    for backend, errors in prediction.loads.items():
        lines += [f"{backend}: {_told(error)}" for error in errors if error.figure in SHOWN]
        lines += [f"{backend}: {_pace(error)}" for error in errors if error.figure == YARDSTICK]
    for name, worst in (
        ("detection", prediction.detection_error),
        ("server CPU", prediction.cpu_error),
    ):
        lines.append(f"prediction error of {name}: {NONE if worst is None else f'{worst:.1%}'}")
    lines += [f"only in one of them: {name}" for name in prediction.unmatched]
    lines += [f"extrapolated: {name}" for name in prediction.extrapolated]
    return lines


def _between(chance: tuple[float, float] | None) -> str:
    return "" if chance is None else f" (by chance {chance[0]:,.0f} to {chance[1]:,.0f})"


def _pace(yardstick: Error) -> str:
    share = yardstick.live / yardstick.sim
    return f"the meters' own work took {share:.0%} of what it took when the machine was calibrated"


def _told(error: Error) -> str:
    relative = "" if error.relative is None else f" ({error.relative:+.1%})"
    chance = "" if error.chance is None else f"; chance alone: {plain(error.chance)}"
    return (
        f"{error.figure}: {plain(error.live)} live, {plain(error.sim)} simulated{relative}{chance}"
    )
