"""The documentation's site: `make docs`. Every warning is an error there and in the tests."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "heartbench"
copyright = "the heartbench authors, Apache-2.0"  # noqa: A001 - Sphinx has it so
version = release = installed("heartbench")

extensions = [
    "generated",  # ours: tables made from the code
    "myst_nb",  # Markdown, and notebooks that are executed
    "sources",  # ours: a page for every file of the repository that is linked to
    "sphinx.ext.autodoc",
    "sphinx_click",
]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"heartbench {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
myst_url_schemes = ["http", "https", "mailto", "source"]

# Notebooks hold no output in git: what the site shows was computed while it was built.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_output_stderr = "error"  # such as a warning

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
suppress_warnings = ["ref.python"]  # `Registration` is a name of two modules
default_role = "literal"  # docstrings quote code in single backticks
