"""Write the package of a new plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.errors import UsageError
from vaeflow.plugin_kit.scaffold import names, selecting
from vaeflow.plugin_kit.scaffold.template import filled, options, summary, template
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from pathlib import Path


def write_plugin(kind: str, name: str, folder: Path) -> list[Path]:
    """Write `vaeflow-NAME/`: a plugin that trains, its tests, its README and what pip needs to install it.

    Args:
        kind: of its component, one of `vaeflow.plugins.records.KINDS`.
        name: of its component, in kebab-case.
        folder: where the package's folder is made.

    Returns:
        The files that were written.

    Raises:
        UsageError: if there is no such kind, the name can't be used or is taken, or the folder exists; nothing is
            overwritten.
        OSError: if reading or writing fails.
    """
    names.check(kind, name)
    package = folder / f"vaeflow-{name}"
    try:
        package.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{package} already exists and is not overwritten; choose another name or --out") from None
    written = []
    for path, text in _files(kind, name).items():
        file = package / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        written.append(file)
    return written


def _files(kind: str, name: str) -> dict[str, str]:
    """Return the package's files by their paths in it."""
    snake = name.replace("-", "_")
    return {
        "pyproject.toml": _pyproject(kind, name),
        f"vaeflow_{snake}.py": filled(template(f"{kind}.py"), name),
        f"tests/test_{snake}.py": filled(template(f"tests/{kind}.py"), name),
        "README.md": _readme(kind, name),
    }


def _pyproject(kind: str, name: str) -> str:
    version = version_of_vaeflow()
    needed = f">={version}" if version[:1].isdigit() else ""
    text = template("package/pyproject.toml").replace("@KIND@", kind).replace("@VERSION@", needed)
    return filled(text, name)


def _readme(kind: str, name: str) -> str:
    source = template(f"{kind}.py")
    found = options(source)
    option, _, default, _ = found[0]
    text = filled(template("package/README.md"), name)
    parts = {
        "@KIND@": kind,
        "@SUMMARY@": filled(summary(source), name),
        "@SELECT@": selecting.command(kind, name),
        "@OPTIONS@": "\n".join(_row(*one) for one in found),
        "@SET@": f"An option is set in the config: `{selecting.with_option(kind, name, option, _toml(default))}`.",
    }
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _row(option: str, type_: str, default: str, described: str) -> str:
    cells = [f"`{option}`", f"`{type_}`", f"`{default}`", described]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _toml(default: str) -> str:
    """Return a default in TOML.

    >>> _toml("0.5"), _toml("10_000"), _toml("'auto'")
    ('0.5', '10_000', '"auto"')
    """
    return default.replace("'", '"')
