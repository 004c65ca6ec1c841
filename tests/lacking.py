"""What a test needs and a machine may lack."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest


def none_lacking(lacks: Iterable[object]) -> None:
    """Skips the test where something is lacking; in continuous integration it fails."""
    if message := "\n".join(map(str, lacks)):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
