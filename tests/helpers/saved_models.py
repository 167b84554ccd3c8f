"""Keras models of small configs with random weights, and whether they are the same after they were saved."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow import GenerativeModel

MLP = ("encoder=mlp", "encoder.hidden=[6]", "decoder=mlp", "decoder.hidden=[6]", "latent_size=3")


def model_of(
    x_shape: tuple[int, ...], *settings: str, classes: int = 0, plugins: Sequence[Any] = (), recipe: str = "mnist-2d"
) -> GenerativeModel:
    """Return the Keras model of a config for examples of a shape, with weights that are away from the initial ones."""
    from vaeflow import GenerativeModel
    from vaeflow.config.compose import compose
    from vaeflow.config.resolve import resolve
    from vaeflow.plugins.registry import Registry
    from vaeflow.training.keras_models.architecture import Architecture
    from vaeflow.training.keras_models.network import build_network

    registry = Registry.load(plugins)
    conditional = ("condition.labels=true",) if classes else ()
    resolved = resolve(compose(recipe, (*settings, *conditional), registry.recipe), registry)
    network = build_network(resolved, x_shape, classes)
    for number, weight in enumerate(network.variables):
        if weight.dtype == "float32":
            weight.assign(weight + 0.1 * np.random.default_rng(number).random(weight.shape))
    return GenerativeModel(Architecture.of(resolved, x_shape, classes), network)


def results_of(model: Any, x: np.ndarray, labels: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Return what a model gives for examples and fixed noise; a SavedModel's functions have the same names."""
    of_q, of_p = noises(model, len(x))
    means = model.encode(x, *labels)
    return {
        "serve": model(x, *labels),
        "encode": means,
        "decode": model.decode(means, *labels),
        "sample": model.generate(of_p, *labels),
        "elbo": model.elbo(x, *labels, noise=of_q),
        **({} if has_codes(model) else {"log_prob": model.log_prob(x, *labels, noise=of_q)}),
    }


def has_codes(model: Any) -> bool:
    """Return whether latents are deterministic; then there is no `log_prob`."""
    return any(group.deterministic for group in model.latents)


def noises(model: GenerativeModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise of two samples of the posterior, [B, 2, N], and of the prior, [B, M]."""
    rng = np.random.default_rng(7)
    of_q = rng.normal(size=(count, 2, model.posterior_noise_size)).astype(np.float32)
    return of_q, rng.normal(size=(count, model.noise_size)).astype(np.float32)


def require_same_when_saved(model: GenerativeModel, folder: Path, x: np.ndarray, *labels: Any) -> None:
    """Save and export a model, load it, and compare what it gives."""
    import keras
    import tensorflow as tf

    expected, (of_q, of_p) = results_of(model, x, labels), noises(model, len(x))
    model.save(folder / "model.keras")
    model.export(folder / "model")
    again = keras.models.load_model(folder / "model.keras")
    require_close(results_of(again, x, labels), expected)
    network = model.computation.network
    if ">" in keras.saving.get_registered_name(type(network)):  # else it is a model of a test
        require_same_network_when_saved(network, folder, x, *labels, classes=model.classes)
    bare = tf.saved_model.load(str(folder / "model"))
    found = {name: getattr(bare, name)(x, *labels) for name in ("serve", "encode")}
    found |= {"decode": bare.decode(expected["encode"], *labels), "sample": bare.sample(of_p, *labels)}
    if not has_codes(model):
        found["log_prob"] = bare.log_prob(x, of_q, *labels)
    require_close({**found, "elbo": bare.elbo(x, of_q, *labels)}, expected)


def require_same_network_when_saved(network: Any, folder: Path, x: np.ndarray, *labels: Any, classes: int = 0) -> None:
    """The same for the latent-variable model itself, which Keras saves by `get_config` and its walk along layers."""
    import keras
    import tensorflow as tf

    from vaeflow.model.latents import generation_noise_size, noise_size

    rng = np.random.default_rng(8)
    of_q = tf.constant(rng.normal(size=(2, len(x), noise_size(network.latents))), tf.float32)
    of_p = tf.constant(rng.normal(size=(len(x), generation_noise_size(network.latents))), tf.float32)
    one_hot = {"labels": tf.one_hot(labels[0], classes)} if labels else {}

    def results(one: Any) -> Any:
        terms = one.terms(tf.constant(x), of_q, **one_hot)
        means = one.encode(tf.constant(x), **one_hot)
        given = (terms.log_likelihood, terms.log_q, dict(terms.kl_terms), means)
        return (*given, one.decode(means, **one_hot).mean(), one.generate(of_p, **one_hot).mean())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, by Keras's save itself
        network.save(folder / "network.keras")
    again = keras.models.load_model(folder / "network.keras")
    assert type(again) is type(network)
    require_close(results(again), results(network))


def require_same_parts_when_saved(model: GenerativeModel, folder: Path, x: np.ndarray, *labels: Any) -> None:
    """The same for its encoder and its decoder, each alone."""
    import keras
    import tensorflow as tf

    from vaeflow import Decoder, Encoder

    means = model.encode(x, *labels)
    for part, given, expected in ((Encoder, x, means), (Decoder, means, model.decode(means, *labels))):
        one = part.of(model)
        one.save(folder / f"{one.name}.keras")
        one.export(folder / one.name)
        require_close(keras.models.load_model(folder / f"{one.name}.keras")(given, *labels), expected)
        bare = tf.saved_model.load(str(folder / one.name))  # its variables go with it
        require_close(bare.serve(given, *labels), expected)


def require_close(found: Any, expected: Any) -> None:
    """Compare two trees of arrays; they may differ by rounding."""
    import keras

    keras.tree.assert_same_structure(found, expected)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)
