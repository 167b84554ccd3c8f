"""Names of the code that link to their reference: `vaeflow.contracts.Prior` in a text, `Prior` in a signature."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

import vaeflow.callbacks
import vaeflow.contracts
import vaeflow.plots

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

NAME = re.compile(r"\bvaeflow(?:\.[A-Za-z_]\w*)+")

HOMES = {
    **{name: f"vaeflow.plots.{name}" for name in ("Plot", "Subject")},
    **{name: f"vaeflow.callbacks.{name}" for name in vaeflow.callbacks.__all__},
    **{name: f"vaeflow.contracts.{name}" for name in vaeflow.contracts.__all__},
}
"""Where a name is documented that its own module, or a signature, calls otherwise."""


def _link_names(_app: Sphinx, doctree: nodes.document) -> None:
    """Put a reference around each dotted name in a literal; those without a reference page stay as they are."""
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext()
        if NAME.search(text) and not isinstance(literal.parent, (nodes.reference, addnodes.pending_xref)):
            literal.children.clear()
            literal.extend(_parts(text))


def _parts(text: str) -> list[nodes.Node]:
    found: list[nodes.Node] = []
    end = 0
    for match in NAME.finditer(text):
        found.append(nodes.Text(text[end : match.start()]))
        options = {"refdomain": "py", "reftype": "obj", "reftarget": match[0], "refexplicit": False, "refwarn": False}
        found.append(addnodes.pending_xref("", nodes.Text(match[0]), **options))
        end = match.end()
    return [*found, nodes.Text(text[end:])]


def _at_home(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, child: nodes.Element) -> Any:
    """Return a reference to the place where a public name is documented, or None."""
    path, _, name = node.get("reftarget", "").rpartition(".")
    ours = path == "" or path.startswith(("vaeflow.plugins.contracts", "vaeflow.callbacks", "vaeflow.plots"))
    if node.get("refdomain") != "py" or name not in HOMES or not ours:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", HOMES[name], node, child)


def setup(app: Sphinx) -> None:
    """Link them after each page was read, and look elsewhere where a name was not found."""
    app.connect("doctree-read", _link_names)
    app.connect("missing-reference", _at_home)
