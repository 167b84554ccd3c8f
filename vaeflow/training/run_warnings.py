"""Warnings about a run before its first step, and an error if it can't work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.data.batches import Batch
from vaeflow.data.noise import Noise
from vaeflow.data.prepared import is_binary, spread
from vaeflow.data.sets.image_warnings import data_warnings
from vaeflow.engine.forward import forward, loss_of
from vaeflow.engine.layer_state import Updates
from vaeflow.errors import UsageError
from vaeflow.model.latents import noise_size
from vaeflow.model.modes import in_mode
from vaeflow.model.vae import VAE, beside_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import LatentVariableModel, Objective, Schedule, Terms
    from vaeflow.training.experiment import Experiment

EXAMPLES = 16
STEPS = 50  # of the run, evenly spread
FAR = 1000.0  # factor on normal random numbers that gives extreme parameters
MUCH = 100.0  # nats
WORST = -1000.0  # nats per element; a fixed sigma of 0.02 has this if x is off by 1
WEIGHTS, BETWEEN = 30.0, 33  # factor on the decoder's weights; number of parameters between its extremes
AUTOENCODER = "the model is a plain autoencoder, and samples from the prior are meaningless"
OUT_OF_REACH = 0.1  # of the range of x


def warnings_of(resolved: Resolved, experiment: Experiment) -> list[str]:
    """Return warnings about a run, one per line.

    Args:
        resolved: the config and its components.
        experiment: ready to take steps.

    Raises:
        UsageError: if x has values that the likelihood does not support.
    """
    with np.errstate(all="ignore"):  # infinities are reported
        return list(_warnings(resolved, experiment))


def _warnings(resolved: Resolved, experiment: Experiment) -> Iterator[str]:
    yield from data_warnings(experiment.dataset, experiment.config.batch_size)
    model, step = experiment.model, experiment.trainer.step.microbatches
    train = experiment.dataset.train
    index = spread(len(train), EXAMPLES)
    x = experiment.trained.prepare(np.asarray(train.x[index]), split="train")
    if isinstance(model, VAE):
        yield from _warn_about_support(resolved, model, x)
        yield from _warn_about_decoder(resolved, model, x, experiment.trained.classes)
    yield from _warn_about_steps(resolved, experiment)
    batch = Batch(tf.constant(x), tf.ones((len(x),)), *step.batches.labels(tf.constant(index)))
    yield from _warn_about_terms(model, step.objective, step.schedule, batch, experiment.timeline.total_steps)


def _warn_about_support(resolved: Resolved, model: VAE, x: np.ndarray) -> Iterator[str]:
    """Compare x with samples of the likelihood at extreme parameters."""
    name, makes = resolved.likelihood.name, f"binarization {resolved.binarization.name!r} makes"
    if x.size and x.min() == x.max():
        yield f"every element of x is {x.min():g} in the {len(x)} training examples that were checked"
    drawn = _drawn(model, len(x))
    if not (drawn.min() >= 0.0 and drawn.max() <= 1.0):
        return
    outside = x[~((x >= 0.0) & (x <= 1.0)) & np.isfinite(x)]
    if outside.size:
        raise UsageError(
            f"likelihood {name!r} supports only values from 0 to 1, but {makes} {outside[0]:g}: its ELBO is "
            "meaningless there; scale x to [0, 1], or use likelihood=gaussian"
        )
    grey = x[~is_binary(x) & np.isfinite(x)]
    if grey.size and is_binary(drawn).all():
        yield (
            f"likelihood {name!r} supports only the values 0 and 1, but {makes} {grey[0]:.3g}: its ELBO is no bound on "
            "log p(x); use binarization=threshold, dynamic or fixed, or likelihood=continuous-bernoulli or gaussian"
        )


def _drawn(model: VAE, rows: int) -> np.ndarray:
    """Return samples of the likelihood at extreme parameters."""
    size, noise = int(np.prod(model.x_shape)), Noise(0, "doubts/x")
    width = int(np.prod(model.likelihood.parameters_shape))
    parameters = FAR * tf.reshape(noise.normal(0, 0, rows, width), (1, rows, *model.likelihood.parameters_shape))
    uniform = tf.reshape(noise.uniform(0, 0, rows, size), (1, rows, *model.x_shape))

    def draw() -> tf.Tensor:
        return model.likelihood.distribution(parameters).sample(uniform)

    return np.asarray(in_mode(draw, training=False))


def _warn_about_decoder(resolved: Resolved, model: VAE, x: np.ndarray, classes: int) -> Iterator[str]:
    """Check whether an activation at the decoder's end limits the likelihood's mean to less than the range of x."""
    z = 3.0 * Noise(0, "doubts/z").normal(0, 0, 4 * EXAMPLES, model.latent_size)
    z = beside_labels(z, tf.one_hot([0], classes) if classes else None)
    outputs = []
    for factor in (WEIGHTS, -WEIGHTS):
        weights = model.decoder.trainable_variables
        with Updates([(v, factor * tf.convert_to_tensor(v)) for v in weights]):
            outputs.append(np.asarray(tf.cast(model.decoder(z, training=False), tf.float32)).ravel())
    found = np.concatenate(outputs)
    if not np.isfinite(found).all() or found.min() == found.max():
        return
    shape = (1, BETWEEN, *model.likelihood.parameters_shape)
    between = np.linspace(found.min(), found.max(), BETWEEN, dtype=np.float32).reshape(
        (BETWEEN,) + (1,) * (len(shape) - 2)
    )
    parameters = tf.constant(np.broadcast_to(between, shape))
    means = np.asarray(in_mode(lambda: model.likelihood.distribution(parameters).mean(), training=False))
    low, high, slack = float(means.min()), float(means.max()), OUT_OF_REACH * float(x.max() - x.min())
    if low > x.min() + slack or high < x.max() - slack:
        yield (
            f"decoder {resolved.decoder.name!r} can only return values from {found.min():.3g} to {found.max():.3g}, so "
            f"the mean of likelihood {resolved.likelihood.name!r} is between {low:.3g} and {high:.3g}, but x is "
            f"between {x.min():.3g} and {x.max():.3g}: check whether the decoder ends with an unneeded activation"
        )


def _warn_about_steps(resolved: Resolved, experiment: Experiment) -> Iterator[str]:
    """Check the learning rate and the KL weight over the run."""
    steps = _steps(experiment.timeline.total_steps)
    rate = resolved.learning_rate.build(experiment.timeline)
    if steps and not any(float(rate(step) if callable(rate) else rate) for step in steps):
        yield "the learning rate is 0 at every step: the weights will not change"
    weight = experiment.trainer.step.microbatches.schedule.weight
    if steps and not any(float(weight(tf.constant(step, tf.int64))) for step in steps):
        yield f"the weight of KL(q, p) is 0 at every step: {AUTOENCODER}"
    elements = int(np.prod(experiment.model.x_shape))
    model = experiment.model
    if isinstance(model, VAE) and model.latent_size >= elements:
        yield f"latent_size = {model.latent_size} is not less than the {elements} elements of an example"


def _steps(total: int) -> Sequence[int]:
    return [int(step) for step in spread(total, STEPS)] if total > 0 else []


def _warn_about_terms(
    model: LatentVariableModel, objective: Objective, schedule: Schedule, batch: Batch, total_steps: int
) -> Iterator[str]:
    """Check the loss of some examples before training, and its gradient."""
    rows, width = batch.x.shape[0], noise_size(model.latents)
    noise = tf.reshape(
        Noise(0, "doubts").normal(0, 0, objective.samples * rows, width), (objective.samples, rows, width)
    )
    parts = [name for name in model.parts if name in ("encoder", "decoder") or not isinstance(model, VAE)]
    weights = [[v.value for v in getattr(model.parts[name], "trainable_variables", ())] for name in parts]
    with Updates(), tf.GradientTape() as tape:
        terms = forward(model, batch, noise, training=True)
        total = tf.reduce_sum(_loss(objective, terms, schedule, 0))
    each = float(tf.reduce_mean(terms.log_likelihood)) / int(np.prod(model.x_shape))
    if not np.isfinite(float(total)):
        yield f"the loss of {rows} training examples is {float(total):g} before the first step"
        return
    if each < WORST:
        yield (
            f"log p(x given z) is {each:.3g} nats per element before the first step: the likelihood's variance may be "
            "too small, or x too large"
        )
    for name, gradients in zip(parts, tape.gradient(total, weights), strict=True):
        if gradients and not any(g is not None and np.any(np.asarray(tf.convert_to_tensor(g))) for g in gradients):
            yield f"the gradient of every weight of the {name} is 0 for {rows} training examples: it will not learn"
    more = {name: kl + MUCH for name, kl in terms.kl_terms.items()}
    worse = replace(terms, kl_terms=more, log_q=terms.log_q + MUCH)
    steps = _steps(total_steps)
    some = [steps[0], steps[len(steps) // 2], steps[-1]] if steps else []
    if (
        some
        and float(schedule.weight(tf.constant(some[-1], tf.int64)))
        and not any(
            np.any(_loss(objective, worse, schedule, step) != _loss(objective, terms, schedule, step)) for step in some
        )
    ):
        yield f"the loss does not depend on KL(q, p): {AUTOENCODER}"


def _loss(objective: Objective, terms: Terms, schedule: Schedule, step: int) -> tf.Tensor:
    return loss_of(objective, terms, schedule, tf.constant(step, tf.int64))
