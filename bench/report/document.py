"""Reports as files: a page, tables in Markdown, or a figure, by the name of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.durable import write_text
from bench.report.markdown import markdown, marks, placed
from bench.store import Loaded, ResultError, load


@dataclass(frozen=True)
class Report:
    """A file that was written."""

    path: Path
    size: int
    """Bytes."""
    results: tuple[Path, ...]
    exit_code: int = 0
    """A report of an invalid result is a good report: it says so."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "results": [str(p) for p in self.results]}


def report(paths: Sequence[str | Path], out: str | Path) -> Report:
    """Write about one result, or about several side by side.

    ``out``: `.html`, one self-contained page; `.md`, the tables; `.svg`, the figure of one sweep.
    Of a document in Markdown that is there already, only what stands between the report's marks
    is written anew.

    Raises: ResultError for a result that isn't whole, or a place that can't be written.
    """
    place = Path(out)
    form = FORMS.get(place.suffix.lower())
    if form is None:
        raise ResultError(
            f"{place}: a report's file ends in {', '.join(FORMS)}; name one of these with -o"
        )
    results = [load(path) for path in paths]
    text = form(results, place)
    try:
        write_text(place, text)
    except OSError as error:
        raise ResultError(
            f"{place}: cannot be written ({error.strerror}); choose another place with -o"
        ) from error
    written = tuple(result.path for result in results)
    return Report(path=place, size=len(text.encode()), results=written)


def _page(results: Sequence[Loaded], _place: Path) -> str:
    from bench.report.html.page import render  # not at import: it needs matplotlib

    return render(results)


def _figure(results: Sequence[Loaded], place: Path) -> str:
    from bench.report.figure import figure

    if len(results) != 1:
        raise ResultError(f"{place}: a figure shows one result; name one, or write a page (.html)")
    return figure(results[0])


def _tables(results: Sequence[Loaded], place: Path) -> str:
    written = markdown(results)
    if not place.exists():
        return written
    document = placed(place.read_text(), written)
    if document is None:
        lines = " and ".join(marks(written))
        raise ResultError(
            f"{place}: is there already and has no place for this report; write the lines {lines} "
            "into it, or choose another file with -o"
        )
    return document


FORMS: Mapping[str, Callable[[Sequence[Loaded], Path], str]] = {
    ".html": _page,
    ".md": _tables,
    ".svg": _figure,
}
"""By the file's ending."""
