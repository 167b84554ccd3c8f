"""Writes the reference from the code: config, recipes, components, kinds, hooks, and the rules of `plugins check`.

    python docs/generate.py

writes `docs/generated/`, which Git ignores. Building the docs does it too.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import cell, escape, escape_lines, parse, table
from pydantic import BaseModel

from vaeflow.config.recipes import recipes
from vaeflow.config.schema import KINDS_OF_SELECTIONS, Config, Selection
from vaeflow.plugins import hookspecs
from vaeflow.plugins.discovery import HOOKS
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.registry import Registry
from vaeflow.plugins.tables import fields_inside
from vaeflow.plugins.type_names import type_in_words, value_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

    from vaeflow.plugins.option import Option
    from vaeflow.plugins.registered import Registered

FOLDER = Path(__file__).parent / "generated"


def pages() -> dict[str, str]:
    """Return every generated fragment by its file's name."""
    return {
        "config.md": config_page(),
        "recipes.md": recipes_page(),
        "components.md": components_page(),
        "kinds.md": kinds_table(),
        "hooks.md": hooks_page(),
        "rules.md": rules_page(),
    }


def write(folder: Path = FOLDER) -> None:
    """Write the fragments; a file that stays the same keeps its time, so that Sphinx skips it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def config_page() -> str:
    """Return every key of the config with its type, default and description, a table for each section."""
    top = {name: field for name, field in Config.model_fields.items() if not _is_section(field)}
    sections = {name: field for name, field in Config.model_fields.items() if _is_section(field)}
    parts = ["## Keys of a run", _keys(top, "")]
    for name, field in sections.items():
        parts += [f"## `[{name}]`", escape(field.description or ""), _keys(field.annotation.model_fields, f"{name}.")]
    return "\n\n".join(parts) + "\n"


def recipes_page() -> str:
    """Return the recipes as they are in the package."""
    parts = [f"## `{recipe.name}`\n\n```toml\n{recipe.text.rstrip()}\n```" for recipe in recipes()]
    return "\n\n".join(parts) + "\n"


def kinds_table() -> str:
    """Return the kinds of components with the signatures of their build functions."""
    rows = [(f"`{kind.name}`", escape(kind.doc), f"`{kind.signature}`".replace("|", "\\|")) for kind in KINDS.values()]
    return table(("kind", "what it is", "build function"), rows) + "\n"


def components_page() -> str:
    """Return every built-in component with its docstring and its options."""
    found = [registered for registered in Registry.load().all() if registered.origin.distribution == "vaeflow"]
    return "\n\n".join(part for kind in KINDS for part in _kind(kind, found)) + "\n"


def hooks_page() -> str:
    """Return every hook specification."""
    parts = []
    for name in HOOKS:
        hook = getattr(hookspecs, name)
        parsed = parse(hook.__doc__)
        parts += [f"## `{name}`", f"```python\n{_signature(name, hook)}\n```", escape_lines(parsed.text)]
        parts += [f"**Returns:** {escape(text)}" for section, text in parsed.prose.items() if section == "Returns"]
    return "\n\n".join(parts) + "\n"


def rules_page() -> str:
    """Return the rules of each kind. They import TensorFlow, which takes seconds."""
    from vaeflow.plugin_kit.checks.rules_by_kind import RULES

    parts = []
    for kind in KINDS:
        rows = [(f"`{rule.name}`", escape(rule.doc)) for rule in RULES[kind]]
        parts += [f"### {kind}", table(("rule", "what it requires"), rows)]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, hook: Callable[..., object]) -> str:
    return f"def {name}{inspect.signature(hook)}".replace("'", "")


def _is_section(field: FieldInfo) -> bool:
    kind = field.annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Selection


def _keys(fields: dict[str, FieldInfo], prefix: str) -> str:
    rows = [
        (
            f"`{prefix}{name}`",
            cell(type_in_words(field.annotation, field.metadata)),
            f"`{_default(field.get_default(call_default_factory=True))}`",
            cell(_description(name, field)),
        )
        for name, field in fields.items()
    ]
    return table(("key", "type", "default", "what it is"), rows)


def _description(name: str, field: FieldInfo) -> str:
    text, kind = field.description or "", KINDS_OF_SELECTIONS.get(name)
    return text if kind is None or f"kind {kind}" in text else f"{text} Kind `{kind}`."


def _default(value: Any) -> str:
    if isinstance(value, Selection):
        return value_in_words(value.name)
    return "[]" if value == () else value_in_words(value)


def _kind(kind: str, found: list[Registered]) -> Iterator[str]:
    yield f"## {kind}"
    yield f"{escape(KINDS[kind].doc)}. Built by `{KINDS[kind].signature}`."
    of_kind = [registered for registered in found if registered.component.kind == kind]
    if not of_kind:
        yield "None is built in; plugins may add some."
    for registered in of_kind:
        yield from _component(registered)


def _component(registered: Registered) -> Iterator[str]:
    parsed = parse(registered.doc)
    yield f"### {registered.component.kind}: `{registered.component.name}`"
    yield escape_lines(parsed.text)
    options = registered.options()
    if options:
        described = [row for option in options for row in _rows(option, parsed.described("Args", option.name))]
        yield table(("option", "type", "default", "what it is"), described)
    for error, when in parsed.items.get("Raises", ()):
        yield f"Raises `{error}` {escape(when)}"


def _rows(option: Option, description: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the row of an option, and those of the fields of its tables, which their docstrings describe."""
    yield _row(option.name, option, description)
    for path, of_table, field in fields_inside(option):
        yield _row(path, field, parse(of_table.__doc__).described("Attributes", field.name))


def _row(path: str, option: Option, description: str) -> tuple[str, str, str, str]:
    default = "required" if option.required else f"`{_default(_as_list(option.default))}`"
    return f"`{path}`", cell(type_in_words(option.annotation)), default, cell(description)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    write()
