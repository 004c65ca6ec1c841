"""Figures as people read them."""

from __future__ import annotations

NONE = "-"
"""Stands for what was not measured."""


def seconds(value: float | None) -> str:
    """`11.6 s`, `12.3 ms`, `45 µs`."""
    return _scaled(value, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)))


def size(value: float | None) -> str:
    """`1.2 MB`, in powers of ten."""
    return _scaled(value, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)))


def plain(value: float | None) -> str:
    """Three figures, whole numbers whole."""
    if value is None:
        return NONE
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _scaled(value: float | None, units: tuple[tuple[str, float], ...]) -> str:
    if value is None:
        return NONE
    if value == 0:
        return f"0 {units[-1][0] if units[-1][1] == 1 else units[0][0]}"
    unit, scale = next((unit for unit in units if abs(value) >= unit[1]), units[-1])
    scaled = value / scale
    return f"{scaled:.0f} {unit}" if abs(scaled) >= 100 else f"{scaled:.3g} {unit}"
