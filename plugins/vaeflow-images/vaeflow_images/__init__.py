"""Image models for vaeflow."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_images import components

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return networks, the model, the likelihood, the objective and the metric."""
    yield Component("encoder", "residual-convolutions", components.encoder)
    yield Component("decoder", "residual-convolutions", components.decoder)
    yield Component("model", "autoencoder-kl", components.autoencoder_kl, uses=("likelihood",))
    yield Component("likelihood", "beta-binomial", components.beta_binomial)
    yield Component("objective", "adversarial", components.adversarial)
    yield Component("metric", "bits-per-dimension", components.bits_per_dimension)


@hookimpl
def vaeflow_recipes() -> list[Traversable]:
    """Return the recipes."""
    folder = resources.files("vaeflow_images") / "recipes"
    return [folder / "kl-f4-shapes.toml", folder / "kl-f4-shapes-full.toml"]
