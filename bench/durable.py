"""Files that are there as a whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """The old content or the new one, never a part, whatever happens meanwhile."""
    writing = path.with_name(f".{path.name}")
    writing.write_text(text)
    replace(writing, path)


def replace(writing: Path, path: Path) -> None:
    sync(writing)
    writing.replace(path)
    sync(path.parent)


def point(link: Path, target: str) -> None:
    """Turn a relative link to `target`, in one step."""
    new = link.with_name(f".{link.name}-{target}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def sync(path: Path) -> None:
    """Until it is on disk. Works for directories as well."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
