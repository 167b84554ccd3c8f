"""Normalizing flows as posteriors and priors for vaeflow, and a posterior with a full covariance."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_flows import posteriors, priors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the posteriors and the priors."""
    yield Component("posterior", "planar", posteriors.planar)
    yield Component("posterior", "sylvester", posteriors.sylvester)
    yield Component("posterior", "iaf", posteriors.iaf)
    yield Component("posterior", "maf", posteriors.maf)
    yield Component("posterior", "coupling", posteriors.coupling)
    yield Component("posterior", "full-gaussian", posteriors.full_gaussian)
    yield Component("prior", "real-nvp", priors.real_nvp)
    yield Component("prior", "maf", priors.maf)


@hookimpl
def vaeflow_recipes() -> Iterator[Traversable]:
    """Return the recipes: minutes on two cores, and the published schedule."""
    folder = resources.files("vaeflow_flows") / "recipes"
    yield folder / "flows-mnist.toml"
    yield folder / "flows-mnist-full.toml"
