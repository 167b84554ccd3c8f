"""Objectives that disentangle latents, and scores of how well they do, for vaeflow."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_disentangle import components

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

RECIPES = ("factor-shapes", "factor-shapes-full", "tc-shapes", "tc-shapes-full")


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the objectives, the networks of their papers, and the scores as a metric and as a callback."""
    yield Component("objective", "beta-tc", components.beta_tc)
    yield Component("objective", "dip-vae", components.dip_vae)
    yield Component("objective", "factor-vae", components.factor_vae)
    yield Component("encoder", "conv-64", components.conv_encoder)
    yield Component("decoder", "conv-64", components.conv_decoder)
    yield Component("metric", "disentanglement", components.disentanglement_scores)
    yield Component("callback", "disentanglement", components.disentanglement)


@hookimpl
def vaeflow_recipes() -> list[Traversable]:
    """Return the recipes."""
    return [resources.files("vaeflow_disentangle") / "recipes" / f"{name}.toml" for name in RECIPES]
