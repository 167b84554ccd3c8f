"""The templates: a complete plugin called my-name per kind, and the other files of its package."""

from __future__ import annotations

import ast
import builtins
import re
from importlib import resources

PLACEHOLDER = "my-name"
_ITEM = re.compile(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", re.MULTILINE)


def template(path: str) -> str:
    """Return the unchanged text of a template.

    Args:
        path: below `templates/`, without the ending `.in`: `encoder.py`, `tests/encoder.py`, `package/README.md`.
    """
    file = resources.files("vaeflow.plugin_kit.scaffold").joinpath("templates", *f"{path}.in".split("/"))
    return file.read_text(encoding="utf-8")


def filled(text: str, name: str) -> str:
    """Return a template's text for a name in kebab-case.

    >>> filled('Component("encoder", "my-name", my_name)', "wide-net")
    'Component("encoder", "wide-net", wide_net)'
    """
    return text.replace(PLACEHOLDER, name).replace(PLACEHOLDER.replace("-", "_"), name.replace("-", "_"))


def names_in(source: str) -> set[str]:
    """Return all names that a module's code uses, and Python's built-in names: they can't name a new function.

    >>> sorted(names_in("def f(a, *, b: int = 2): return g(a)") - set(dir(builtins)))
    ['a', 'b', 'f', 'g']
    """
    found = set(dir(builtins))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    return found


def build_function(source: str) -> ast.FunctionDef:
    """Return the build function of a template."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return next(node for node in functions if node.name == PLACEHOLDER.replace("-", "_"))


def summary(source: str) -> str:
    """Return the first line of a template's build function's docstring."""
    return (ast.get_docstring(build_function(source)) or "").partition("\n")[0]


def options(source: str) -> list[tuple[str, str, str, str]]:
    """Return the options of a template: name, type, default and description, as written there."""
    function = build_function(source)
    described = dict(_ITEM.findall(ast.get_docstring(function, clean=False) or ""))
    aliases = _aliases(source)
    found = []
    for option, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        written = ast.unparse(option.annotation) if option.annotation else ""
        value = ast.unparse(default) if default else "required"
        found.append((option.arg, aliases.get(written, written), value, " ".join(described[option.arg].split())))
    return found


def _aliases(source: str) -> dict[str, str]:
    """Return the types that a template names by an assignment."""
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.unparse(node.value) for node in assigned}
