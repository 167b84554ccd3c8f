"""How a config selects a component of each kind."""

from __future__ import annotations

import shlex

from vaeflow.config.schema import KINDS_OF_LISTS, KINDS_OF_SELECTIONS

RECIPE = "mnist-mlp-20"
_ALSO = {"likelihood": ["binarization=none"]}  # the template's likelihood is for real numbers


def settings(kind: str, name: str) -> list[str]:
    """Return the settings that select a component, with the other settings that it needs.

    >>> settings("schedule", "slow"), settings("metric", "sharpness")
    (['kl_schedule=slow'], ['metrics=["sharpness"]'])
    """
    for key, of_kind in KINDS_OF_LISTS.items():
        if kind == of_kind:
            return [f'{key}=["{name}"]']
    return [f"{key_of(kind)}={name}", *_ALSO.get(kind, [])]


def key_of(kind: str) -> str:
    """Return the key of the config that selects components of a kind."""
    return next(key for key, of_kind in [*KINDS_OF_SELECTIONS.items(), *KINDS_OF_LISTS.items()] if of_kind == kind)


def with_option(kind: str, name: str, option: str, value: str) -> str:
    """Return the setting for an option, with its value in TOML.

    >>> with_option("encoder", "wide", "width", "64")
    'encoder.width=64'
    >>> with_option("metric", "sharpness", "radius", "2")
    'metrics=[{name = "sharpness", radius = 2}]'
    """
    key = key_of(kind)
    return f'{key}=[{{name = "{name}", {option} = {value}}}]' if key in KINDS_OF_LISTS else f"{key}.{option}={value}"


def command(kind: str, name: str) -> str:
    """Return the arguments of `vaeflow train` that use a component.

    >>> print(command("metric", "sharpness"))
    mnist-mlp-20 'metrics=["sharpness"]'
    """
    return shlex.join([RECIPE, *settings(kind, name)])
