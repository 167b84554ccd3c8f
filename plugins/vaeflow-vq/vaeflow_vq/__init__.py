"""Vector-quantized autoencoders for vaeflow."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_vq import components

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the model and its metric."""
    yield Component("model", "vq", components.vq, uses=("likelihood",))
    yield Component("metric", "code-perplexity", components.code_perplexity)


@hookimpl
def vaeflow_recipes() -> list[Traversable]:
    """Return the recipes."""
    folder = resources.files("vaeflow_vq") / "recipes"
    return [folder / "vq-digits.toml", folder / "vq-digits-full.toml"]
