"""How Sphinx builds these pages: sphinx-build -W --keep-going -b html docs docs/_build."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import generate

from vaeflow.runtime.tensorflow_setup import start_tensorflow
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from sphinx.application import Sphinx

start_tensorflow()  # quietly; the Python page imports it anyhow

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PYPROJECT["project"]["urls"]["Repository"].removesuffix(".git")

project = "vaeflow"
copyright = "the vaeflow authors"
version = release = version_of_vaeflow()

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "formulas", "names"]
exclude_patterns = ["_build", "generated", "examples", "static", "checked.md"]
html_theme = "furo"
html_title = f"vaeflow {release}"
html_static_path = ["static"]
html_css_files = ["formulas.css"]
html_math_renderer = "mathml"
html_copy_source = False
if not REPOSITORY.startswith("https://example.org/"):  # the placeholder
    html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"
smartquotes = False  # they make one dash of the two in --option
suppress_warnings = ["myst.header"]  # Included fragments start at the second level.

_STAR = re.compile(r"(?<!`)\*")


def _mend(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    r"""Keep shapes such as [B, *X] from starting an emphasis, and `P: what ...` of a property from being its type."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else _STAR.sub(r"\*", line) for line in lines]
    if what == "property":
        lines[0] = lines[0].replace(": ", ", ", 1)


def setup(app: Sphinx) -> None:
    """Write the generated fragments, and mend docstrings before napoleon sees them."""
    generate.write()
    app.connect("autodoc-process-docstring", _mend, priority=400)
