"""Models with several groups of latents for vaeflow: stochastic layers, the ladder VAE and a residual hierarchy."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_hierarchical import balancing, models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

RECIPES = ("burda-2", "burda-2-full", "ladder-mnist", "ladder-mnist-full", "residual-mnist", "residual-mnist-full")


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the models, all built with the config's likelihood, and the objective."""
    yield Component("model", "stochastic-layers", models.stochastic_layers, uses=("likelihood",))
    yield Component("model", "ladder", models.ladder, uses=("likelihood",))
    yield Component("model", "residual-hierarchy", models.residual_hierarchy, uses=("likelihood",))
    yield Component("objective", "kl-balancing", balancing.kl_balancing)


@hookimpl
def vaeflow_recipes() -> list[Traversable]:
    """Return the recipes: short ones, and published schedules."""
    folder = resources.files("vaeflow_hierarchical") / "recipes"
    return [folder / f"{name}.toml" for name in RECIPES]
