"""What is shipped beside the code: `scenarios/` and `containers/`.

In a source tree they lie at its top, in an installation inside this package.
"""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).parent / "share"
_SOURCES = Path(__file__).parents[1]


def folder(name: str) -> Path:
    """Where that folder lies; it may be missing from an installation that was cut down."""
    return (_INSTALLED if _INSTALLED.is_dir() else _SOURCES) / name


def command(words: str) -> str:
    """How a script in `containers/` is called from a shell: `install-packages servers`, say. From
    the top of the sources, or by its whole path where it is installed."""
    return str(folder("containers") / words if _INSTALLED.is_dir() else Path("containers") / words)
