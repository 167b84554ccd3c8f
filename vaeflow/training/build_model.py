"""Build the model of a config, and check what the component says about its latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from vaeflow.contracts import LatentGroup, ModelContext
from vaeflow.engine.precision import built_in
from vaeflow.errors import PluginError
from vaeflow.model.latents import NAME
from vaeflow.model.memory_estimate import sized_weights

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import LatentVariableModel, Likelihood, Posterior, Prior
    from vaeflow.plugins.registered import Bound


def build_model(
    resolved: Resolved, x_shape: tuple[int, ...], *, classes: int = 0, seed_all: bool = True
) -> LatentVariableModel:
    """Build the model for examples of a shape; its initial weights are a function of the seed.

    Layers that are built on their first call get their weights in the sanity check, which calls them.

    Args:
        resolved: the config and its components.
        x_shape: X, after the transforms.
        classes: C of a conditional model, else 0.
        seed_all: seed all random numbers of this process; if False, the caller has seeded Python's and NumPy's.

    Raises:
        VaeflowError: if a component can't be built.
        PluginError: if the model is no Keras model, or its groups of latents are invalid.
    """
    config, label = resolved.config, resolved.model.registered.label
    if seed_all:
        keras.utils.set_random_seed(config.seed)
    with built_in(config.precision), sized_weights():
        latent_size = config.latent_size if "latent_size" in resolved.model.component.uses else 0
        context = ModelContext(x_shape, latent_size, classes, _ConfigParts(resolved))
        model: LatentVariableModel = resolved.model.build(context)
    if not isinstance(model, keras.Model):
        raise PluginError(f"{label} built {type(model).__name__}, not a keras.Model")
    if tuple(model.x_shape) != tuple(x_shape):
        raise PluginError(f"{label} has x_shape {tuple(model.x_shape)}, but was built for {tuple(x_shape)}")
    require_groups(label, model)
    return model


def require_groups(label: str, model: LatentVariableModel) -> None:
    """Check the groups of latents of a model.

    Raises:
        PluginError: if there are none, names are the same or not allowed, or a group that is not deterministic takes no
            noise.
    """
    groups = model.latents
    if not groups or not all(isinstance(group, LatentGroup) for group in groups):
        raise PluginError(f"{label} has latents {groups!r}, not a tuple of one or more vaeflow.contracts.LatentGroup")
    names = [group.name for group in groups]
    for group in groups:
        if names.count(group.name) > 1:
            raise PluginError(f"{label} has two groups of latents named {group.name!r}")
        if not NAME.fullmatch(group.name):
            raise PluginError(f"{label}: {group.name!r} can't name latents: use letters, digits, hyphens, underscores")
        if min((*group.shape, 1)) < 1 or not group.shape:
            raise PluginError(f"{label}: group {group.name!r} has shape {group.shape}, not one or more positive sizes")
        if group.noise_size < 0 or group.generation_noise_size < 0:
            raise PluginError(f"{label}: group {group.name!r} has a negative noise_size")
        if group.noise_size == 0 and not group.deterministic:
            raise PluginError(
                f"{label}: group {group.name!r} has noise_size = 0, so its latents can't be random; if they are codes "
                "without noise, declare LatentGroup(..., deterministic=True)"
            )


@dataclass(frozen=True)
class _ConfigParts:
    """The config's components, for the model: see `vaeflow.contracts.Parts`."""

    resolved: Resolved

    def encoder(self, x_shape: tuple[int, ...]) -> keras.Model:
        """Return the encoder for examples of a shape."""
        return _network(self._used("encoder"), x_shape)

    def posterior(self, latent_size: int) -> Posterior:
        """Return the posterior."""
        return self._used("posterior").build(latent_size)

    def prior(self, latent_size: int) -> Prior:
        """Return the prior."""
        return self._used("prior").build(latent_size)

    def decoder(self, latent_size: int, output_shape: tuple[int, ...]) -> keras.Model:
        """Return the decoder to parameters of a shape."""
        return _network(self._used("decoder"), latent_size, output_shape)

    def likelihood(self, x_shape: tuple[int, ...]) -> Likelihood:
        """Return the likelihood of examples of a shape."""
        return self._used("likelihood").build(x_shape)

    def _used(self, key: str) -> Bound:
        model = self.resolved.model
        if key not in model.component.uses:
            raise PluginError(
                f"{model.registered.label} builds the config's {key}, but does not declare it: write "
                f"Component(..., uses=({key!r},))"
            )
        return getattr(self.resolved, key)


def _network(bound: Bound, *positional: Any) -> keras.Model:
    network = bound.build(*positional)
    if not isinstance(network, keras.Model):
        raise PluginError(f"{bound.registered.label} built {type(network).__name__}, not a keras.Model")
    return network
