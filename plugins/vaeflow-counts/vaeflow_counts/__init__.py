"""Models of counts for vaeflow."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_counts import datasets, likelihoods, models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the model, the likelihoods and the data sets."""
    yield Component("model", "counts", models.counts, uses=("latent_size",))
    yield Component("likelihood", "negative-binomial", likelihoods.negative_binomial)
    yield Component("likelihood", "zero-inflated-negative-binomial", likelihoods.zero_inflated_negative_binomial)
    yield Component("dataset", "simulated-counts", datasets.simulated_counts)
    yield Component("dataset", "sparse-counts", datasets.sparse_counts)


@hookimpl
def vaeflow_recipes() -> list[Traversable]:
    """Return the recipes."""
    folder = resources.files("vaeflow_counts") / "recipes"
    return [folder / "counts-nb.toml", folder / "counts-nb-full.toml"]
