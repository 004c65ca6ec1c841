"""Links to files of the repository lead to pages of the site that show them.

A document may link to any text file of it; `file.py#name` leads to where that name is defined. So
the site is whole without the repository, and offline. Notebooks are pages of the site already, but
Sphinx knows them by the link in `docs/` alone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

SCHEME = "source:"
ROOT = Path(__file__).resolve().parents[2]
_TARGET = re.compile(r"(\]\(|^\[[^\]]+\]: )(\.{0,2}[\w./-]+)(#[\w-]+)?(?=\)|\s*$)", re.MULTILINE)
_NOTEBOOK = ".ipynb"

_log = getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx calls it."""
    app.connect("source-read", _mark)
    app.connect("doctree-resolved", _link)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mark(app: Sphinx, docname: str, source: list[str]) -> None:
    """Name each file that is linked to by its place in the repository."""
    folder = Path(app.env.doc2path(docname)).parent

    def marked(found: re.Match[str]) -> str:
        before, target, name = found.groups()
        path = (folder / target).resolve()
        document = path.suffix == ".md" and path.is_relative_to(app.srcdir)
        if document or not path.is_file() or not path.is_relative_to(ROOT):
            return found[0]
        return f"{before}{SCHEME}{path.relative_to(ROOT)}{name or ''}"

    source[0] = _TARGET.sub(marked, source[0])


def _references(doctree: nodes.document) -> Iterator[tuple[nodes.reference, str, str]]:
    for reference in doctree.findall(nodes.reference):
        target = str(reference.get("refuri", ""))
        if target.startswith(SCHEME):
            path, _, name = target.removeprefix(SCHEME).partition("#")
            yield reference, path, name


def _link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    here = posixpath.dirname(app.builder.get_target_uri(docname))
    for reference, path, name in list(_references(doctree)):
        target = posixpath.relpath(f"{_page(path)}.html", here or ".")
        reference["refuri"] = f"{target}#{_anchor(path, name)}" if name else target


def _write(app: Sphinx, error: Exception | None) -> None:
    """Plain pages: the theme takes a fifth of a second for each of its own."""
    if error is not None or app.builder.format != "html":
        return
    doctrees = (app.env.get_doctree(docname) for docname in app.env.found_docs)
    linked = {path for doctree in doctrees for _, path, _ in _references(doctree)}
    for path in linked:
        if not path.endswith(_NOTEBOOK):
            page = Path(app.outdir, f"{_page(path)}.html")
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(_PAGE.format(title=path, style=_STYLE, code=_highlighted(path)))


def _page(path: str) -> str:
    return path.removesuffix(_NOTEBOOK) if path.endswith(_NOTEBOOK) else f"source/{path}"


def _anchor(path: str, name: str) -> str:
    """The line on which a name is defined."""
    text = (ROOT / path).read_text()
    defined = re.search(rf"^\s*(?:(?:async )?def |class )?{name}\b\s*[(:=]", text, re.MULTILINE)
    if defined is None:
        if path.endswith(".py"):
            _log.warning("%s: defines no %s (correct the link)", path, name)
        return ""
    return f"line-{text.count(chr(10), 0, defined.end()) + 1}"


def _highlighted(path: str) -> str:
    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight((ROOT / path).read_text(), lexer, HtmlFormatter(lineanchors="line"))


def _colours(style: str) -> str:
    formatter: Any = HtmlFormatter(style=style)  # the stubs lack a type there
    return str(formatter.get_style_defs(".highlight"))


_STYLE = "\n".join(
    (
        "body { font: 15px/1.5 sans-serif; margin: 2rem; color-scheme: light dark; }",
        ".highlight { font-size: 0.9em; overflow-x: auto; background: none !important; }",
        ":target { outline: 0.6em solid #e69f0055; }",
        _colours("tango"),
        "@media (prefers-color-scheme: dark) {",
        _colours("github-dark"),
        "}",
    )
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{code}
</body>
</html>
"""
