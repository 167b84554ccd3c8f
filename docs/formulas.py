"""Formulas as MathML, which browsers draw themselves: without a script, a font or a network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LOG = logging.getLogger(__name__)
RENDERER = "mathml"
_APPLIED = re.compile(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>\()")  # "log p" without the space that TeX sets
_TAG = re.compile(r"\\tag\{(?P<number>[^}]*)\}")


def mathml(formula: str, *, block: bool) -> str:
    r"""Return a formula of LaTeX as MathML, after its number if it has a `\tag`.

    >>> mathml(r"\theta", block=False)
    '<math xmlns="http://www.w3.org/1998/Math/MathML">\n  <mi>θ</mi>\n</math>'
    >>> mathml(r"L \tag{5}", block=True).splitlines()[0]
    '<span class="eqno">(5)</span><math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'
    """
    tag = _TAG.search(formula)
    number = f'<span class="eqno">({tag["number"]})</span>' if tag else ""
    text = tex2mathml(_TAG.sub("", formula).strip(), as_block=block)
    return number + _APPLIED.sub(r'\g<0><mspace width="0.17em"/>', text)


def _visit(translator: Any, node: nodes.math | nodes.math_block) -> None:
    block = isinstance(node, nodes.math_block)
    try:
        text = mathml(node.astext(), block=block)
    except MathError as error:
        LOG.warning("formula: %s", error, location=node)
        text = ""
    translator.body.append(f'<div class="math">{text}</div>' if block else text)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add the renderer."""
    app.add_html_math_renderer(RENDERER, inline_renderers=(_visit, None), block_renderers=(_visit, None))
