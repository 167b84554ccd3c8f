"""What the shell completes: recipes, settings, components, runs. Nothing here imports TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from click.shell_completion import CompletionItem

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import click
    from pydantic.fields import FieldInfo

    from vaeflow.plugins.registry import Registry


def complete_recipe(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the recipes that complete a word."""
    registry = _registry(context)
    recipes = registry.recipes() if registry else []
    return [CompletionItem(one.name, help=one.summary) for one in recipes if one.name.startswith(start)]


def complete_setting(context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the settings `KEY=VALUE` that complete a word; if only one key is left, with its values if they are few.

    Bash gives `KEY`, `=` and the start of the value as words of their own, of which click drops a `=` at the end, and
    wants the value alone.
    """
    registry = _registry(context)
    if registry is None:
        return []
    before = _joined(context.params.get("settings") or ())
    context.params["settings"] = tuple(one for one in before if not one.endswith("=") and "=" in one)
    if before and (before[-1].endswith("=") or "=" not in before[-1]):
        return _items(start, _values(registry, context, before[-1].rstrip("=")))
    key, equals, _ = start.partition("=")
    keys = list(_keys(registry, context, key.partition(".")[0] if "." in key else ""))
    matching = [key] if equals else [one for one in keys if one.startswith(key)]
    if len(matching) == 1:
        found = [f"{matching[0]}={one}" for one in _values(registry, context, matching[0])]
        return _items(start, found or [f"{matching[0]}="])
    return _items(start, [f"{one}=" for one in matching])


def complete_strategy(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the strategies that complete a word."""
    registry = _registry(context)
    return _items(start, registry.names("strategy") if registry else [])


def complete_kind(_context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the kinds of components that complete a word."""
    from vaeflow.plugins.records import KINDS

    return [CompletionItem(kind.name, help=kind.doc) for kind in KINDS.values() if kind.name.startswith(start)]


def complete_component(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the components of the kind before a word that complete it."""
    from vaeflow.plugins.records import KINDS

    registry, kind = _registry(context), context.params.get("kind")
    return _items(start, registry.names(kind) if registry and kind in KINDS else [])


def complete_run(_context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the directories of runs that complete a word: here, or in a directory that is here."""
    folder, name = Path(start).parent if not start.endswith("/") else Path(start), Path(start).name
    name = "" if start.endswith("/") else name
    found = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/config.toml")]
    here = sorted({str(path) for path in found if path.relative_to(folder).parts[0].startswith(name)})
    return _items("", here)


def _registry(context: click.Context) -> Registry | None:
    """Return the components; None where a plugin of the command line is wrong, which the command itself reports."""
    from vaeflow.plugins.registry import Registry

    try:
        return Registry.load(context.params.get("modules") or ())
    except VaeflowError:
        return None


def _joined(words: Sequence[str]) -> list[str]:
    """Return settings as one word each, of words that bash split at `=`.

    >>> _joined(["seed=1", "encoder", "=", "mlp", "decoder", "="])
    ['seed=1', 'encoder=mlp', 'decoder=']
    """
    whole = re.sub("\0=(\0|$)", "=", "\0".join(words))
    return whole.split("\0") if whole else []


def _items(start: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(start)]


def _fields() -> dict[str, FieldInfo]:
    """Return the fields of the config by their dotted keys."""
    from vaeflow.config.schema import Config, Section

    found: dict[str, FieldInfo] = {}
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= {f"{name}.{below}": one for below, one in kind.model_fields.items()}
        else:
            found[name] = field
    return found


def _keys(registry: Registry, context: click.Context, component: str) -> Iterator[str]:
    """Yield the keys of the config, and those of the options of the component that a key selects."""
    yield from _fields()
    options = _options(registry, context, component)
    yield from (f"{component}.{name}" for name in options)


def _options(registry: Registry, context: click.Context, key: str) -> dict[str, Any]:
    """Return the types of the options of the component that a config selects by a key; none if it selects none."""
    from vaeflow.config.compose import compose
    from vaeflow.config.schema import KINDS_OF_SELECTIONS

    recipe = context.params.get("recipe")
    if key not in KINDS_OF_SELECTIONS or not recipe:
        return {}
    try:
        selection = getattr(compose(recipe, context.params["settings"], registry.recipe).config, key)
        options = registry.get(KINDS_OF_SELECTIONS[key], selection.name).options()
    except (VaeflowError, AttributeError):  # a learning rate may be a number, and the command reports what is wrong
        return {}
    return {option.name: option.annotation for option in options}


def _values(registry: Registry, context: click.Context, key: str) -> list[str]:
    """Return the values of a key, if there are few: components, the words of a choice, true and false."""
    from vaeflow.config.schema import KINDS_OF_SELECTIONS

    if key in KINDS_OF_SELECTIONS:
        return registry.names(KINDS_OF_SELECTIONS[key])
    fields = _fields()
    if key in fields:
        return _words(fields[key].annotation)
    component, _, option = key.partition(".")
    return _words(_options(registry, context, component).get(option))


def _words(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return []
