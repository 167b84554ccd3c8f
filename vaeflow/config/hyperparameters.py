"""The hyperparameters by which runs are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaeflow.config.compose import compose
from vaeflow.config.resolve import selections_at, tree_of, with_lists, written_out
from vaeflow.config.schema import KINDS_OF_LISTS, KINDS_OF_SELECTIONS, Selection
from vaeflow.config.sources import COMMAND_LINE
from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.config.resolve import Resolved
    from vaeflow.plugins.registered import Bound
    from vaeflow.plugins.registry import Registry

ALWAYS, NEVER = ("name", "seed"), ("log", "plots", "checkpoint", "verify_every_steps")

Leaf = bool | int | float | str


def hyperparameters(resolved: Resolved) -> dict[str, Leaf]:
    """Return the values by which a run differs from others, by dotted key.

    These are `name` and `seed`, each key that was set on the command line, and each key whose value differs from that
    of the recipe `name` (of the defaults if there is no such recipe). An option of a component that the recipe does not
    select is compared with its own default. Keys of logs, plots and checkpoints are never listed. Values that are not
    numbers or texts are written as JSON.

    >>> from vaeflow.config.resolve import resolve
    >>> from vaeflow.plugins.registry import Registry
    >>> hyperparameters(resolve(compose("mnist-2d", ["latent_size=2", "optimizer=adam"]), Registry.load()))
    {'name': 'mnist-2d', 'seed': 0, 'latent_size': 2, 'optimizer.name': 'adam'}
    """
    mine = leaves(resolved.tree())
    usual = leaves(_usual(resolved))
    given = [key for key, place in resolved.places.items() if place == COMMAND_LINE]
    return {
        key: value
        for key, value in mine.items()
        if key in ALWAYS or (key.partition(".")[0] not in NEVER and (key in given or usual.get(key) != value))
    }


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Leaf]:
    """Return every value of nested tables by its dotted key; one that is not a number or a text is written as JSON.

    >>> leaves({"encoder": {"name": "mlp", "hidden": [400]}})
    {'encoder.name': 'mlp', 'encoder.hidden': '[400]'}
    """
    return dict(_leaves(prefix, tree))


def _leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Leaf]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        elif isinstance(value, Leaf):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", json.dumps(value, default=str)


def _usual(resolved: Resolved) -> dict[str, Any]:
    """Return the tables of the recipe; of a component that it doesn't select, the options' defaults."""
    registry, recipes = resolved.registry, [recipe.name for recipe in resolved.registry.recipes()]
    name = resolved.config.name
    usual = compose(name if name in recipes else None, find=registry.recipe).config
    update: dict[str, Any] = {}
    for key in KINDS_OF_SELECTIONS:
        selected, mine = getattr(usual, key), getattr(resolved, key)
        if isinstance(selected, Selection):
            options = selected.options if selected.name == mine.name else {}
            update[key] = Selection.model_validate({**_filled(mine, options), "name": selected.name})
    lists = {
        key: [_written_out(registry, kind, one) for one in selections_at(usual, key)]
        for key, kind in KINDS_OF_LISTS.items()
    }
    return tree_of(with_lists(usual.model_copy(update=update), lists))


def _filled(mine: Bound, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a component with the defaults of its others; those without a default are left out."""
    found = mine.toml_options()
    needed = {one.name: found[one.name] for one in mine.registered.options() if one.required}
    filled = mine.registered.bind({**needed, **options}, mine.name).toml_options()
    return {key: value for key, value in filled.items() if key in options or key not in needed}


def _written_out(registry: Registry, kind: str, selected: Selection) -> Selection:
    try:
        return written_out(registry.bind(kind, selected))
    except VaeflowError:  # an option without a default
        return selected
