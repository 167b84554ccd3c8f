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
from vaeflow.model.latents import beside_labels, noise_size
from vaeflow.model.modes import in_mode
from vaeflow.model.vae import VAE

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
FACTORS = (30.0, 900.0)  # on the decoder's weights; those of many outputs are small at first, and need the second
BETWEEN = 33  # parameters between the extremes of the decoder's outputs
PLACES = 13  # of the last axis of parameters, from which on they have the other extreme; a third and a half are two
AUTOENCODER = "the model is a plain autoencoder, and samples from the prior are meaningless"
OUT_OF_REACH = 0.1  # of the range of x
PARAMETERS = 2**24  # of a likelihood, to draw from it; fewer than 16 examples if an example has more
MOST_STEPS, OFF_STEP = 2000, 0.01  # between the extremes of samples; distance from a multiple of a step, in steps


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
    model, step = experiment.model, experiment.trainer.step.microbatches
    train = experiment.dataset.train
    index = spread(len(train), EXAMPLES)
    x = experiment.trained.prepare(np.asarray(train.x[index]), split="train")
    if isinstance(model, VAE):
        usual, extreme = (_drawn(model, factor) for factor in (1.0, FAR))
        counts = usual.max() > 1.0 and step_of(usual) == 1.0
        yield from data_warnings(experiment.dataset, experiment.config.batch_size, counts=counts)
        yield from _warn_about_support(resolved, x, usual, extreme)
        yield from _warn_about_decoder(resolved, model, x, experiment.trained.classes)
    else:
        yield from data_warnings(experiment.dataset, experiment.config.batch_size, counts=False)
    yield from _warn_about_steps(resolved, experiment)
    batch = Batch(tf.constant(x), tf.ones((len(x),)), *step.batches.labels(tf.constant(index)))
    yield from _warn_about_terms(model, step.objective, step.schedule, batch, experiment.timeline.total_steps)


def _warn_about_support(resolved: Resolved, x: np.ndarray, usual: np.ndarray, extreme: np.ndarray) -> Iterator[str]:
    """Compare x with samples of the likelihood."""
    supports = f"likelihood {resolved.likelihood.name!r} supports only"
    makes = f"binarization {resolved.binarization.name!r} makes"
    if x.size and x.min() == x.max():
        yield f"every element of x is {x.min():g} in the {len(x)} training examples that were checked"
    finite, drawn = x[np.isfinite(x)], np.concatenate([usual.ravel(), extreme.ravel()])
    bounded = drawn.min() >= 0.0 and drawn.max() <= 1.0
    outside = finite[~((finite >= 0.0) & (finite <= 1.0))]
    if bounded and outside.size:
        raise UsageError(
            f"{supports} values from 0 to 1, but {makes} {outside[0]:g}: its ELBO is "
            "meaningless there; scale x to [0, 1], or use likelihood=gaussian"
        )
    no_bound = "its ELBO is no bound on log p(x)"
    grey, between = finite[~is_binary(finite)], _between_steps(finite, usual, positive=drawn.min() >= 0.0)
    if bounded and grey.size and is_binary(drawn).all():
        yield (
            f"{supports} the values 0 and 1, but {makes} {grey[0]:.3g}: {no_bound}; use "
            "binarization=threshold, dynamic or fixed, or likelihood=continuous-bernoulli or gaussian"
        )
    elif between.size:
        multiples = f"multiples of {step_of(usual):.4g}{' from 0' if drawn.min() >= 0.0 else ''}"
        yield f"{supports} {multiples}, but {makes} {between[0]:.4g}: {no_bound}; check the options of both"


def _between_steps(x: np.ndarray, drawn: np.ndarray, *, positive: bool) -> np.ndarray:
    """Return the x that samples of levels or counts can't be; none if there is no step between samples."""
    step = step_of(drawn)
    return x[:0] if step is None else x[~_on_steps(x, step) | ((x < 0.0) & positive)]


def step_of(drawn: np.ndarray) -> float | None:
    """Return the step of samples that are whole multiples of one, such as levels and counts; None for other samples.

    >>> step_of(np.array([0.0, 3.0, 1.0, 7.0])), step_of(np.array([0.0, 0.3, 1.0, 0.55]))
    (1.0, None)
    """
    values = np.unique(np.asarray(drawn, np.float64))
    if len(values) < 3 or not np.isfinite(values).all():  # no two differences to compare
        return None
    count = np.round(np.ptp(values) / np.diff(values).min())
    step = float(np.ptp(values) / count)
    return step if count <= MOST_STEPS and _on_steps(values, step).all() else None


def _on_steps(values: np.ndarray, step: float) -> np.ndarray:
    return np.abs(values / step - np.round(values / step)) < OFF_STEP


def _drawn(model: VAE, factor: float) -> np.ndarray:
    """Return samples of the likelihood at normally distributed parameters times a factor."""
    size, noise = int(np.prod(model.x_shape)), Noise(0, "doubts/x")
    width = int(np.prod(model.likelihood.parameters_shape))
    rows = max(1, min(EXAMPLES, PARAMETERS // width))
    parameters = factor * tf.reshape(noise.normal(0, 0, rows, width), (1, rows, *model.likelihood.parameters_shape))
    uniform = tf.reshape(noise.uniform(0, 0, rows, size), (1, rows, *model.x_shape))

    def draw() -> tf.Tensor:
        return model.likelihood.distribution(parameters).sample(uniform)

    return np.asarray(in_mode(draw, training=False))


def _warn_about_decoder(resolved: Resolved, model: VAE, x: np.ndarray, classes: int) -> Iterator[str]:
    """Check whether an activation at the decoder's end limits the likelihood's mean to less than the range of x."""
    slack = OUT_OF_REACH * float(x.max() - x.min())
    for factor in FACTORS:
        found = _decoded(model, factor, classes)
        if not np.isfinite(found).all() or found.min() == found.max():
            return
        low, high = _range_of_means(model, float(found.min()), float(found.max()))
        if low <= x.min() + slack and high >= x.max() - slack:
            return
    yield (
        f"decoder {resolved.decoder.name!r} can only return values from {found.min():.3g} to {found.max():.3g}, so "
        f"the mean of likelihood {resolved.likelihood.name!r} is between {low:.3g} and {high:.3g}, but x is "
        f"between {x.min():.3g} and {x.max():.3g}: check whether the decoder ends with an unneeded activation"
    )


def _decoded(model: VAE, factor: float, classes: int) -> np.ndarray:
    """Return outputs of the decoder with its weights times a factor, and minus that."""
    z = 3.0 * Noise(0, "doubts/z").normal(0, 0, 4 * EXAMPLES, model.latent_size)
    z = beside_labels(z, tf.one_hot([0], classes) if classes else None)
    outputs = []
    for signed in (factor, -factor):
        with Updates([(v, signed * tf.convert_to_tensor(v)) for v in model.decoder.trainable_variables]):
            outputs.append(np.asarray(tf.cast(model.decoder(z, training=False), tf.float32)).ravel())
    return np.concatenate(outputs)


def _range_of_means(model: VAE, low: float, high: float) -> tuple[float, float]:
    """Return the extremes of the likelihood's means for parameters between two numbers.

    All parameters are equal, or those before some place of the last axis are low and the others high, or the reverse:
    the mean of a likelihood with several parameters per element depends on their differences.
    """
    shape = model.likelihood.parameters_shape
    equal = np.repeat(np.linspace(low, high, BETWEEN)[:, None], shape[-1], axis=1)
    before = np.arange(shape[-1]) < np.unique(np.linspace(0, shape[-1], PLACES).astype(int))[:, None]
    rows = np.concatenate([equal, np.where(before, low, high), np.where(before, high, low)]).astype(np.float32)
    at_once = max(1, PARAMETERS // int(np.prod(shape)))
    extremes: list[np.ndarray] = []
    for first in range(0, len(rows), at_once):
        some = rows[first : first + at_once].reshape((-1, *(1,) * (len(shape) - 1), shape[-1]))
        mean = _mean(model, tf.constant(np.broadcast_to(some, (1, len(some), *shape))))
        extremes += [mean.min(), mean.max()]
    return float(np.min(extremes)), float(np.max(extremes))


def _mean(model: VAE, parameters: tf.Tensor) -> np.ndarray:
    return np.asarray(in_mode(lambda: model.likelihood.distribution(parameters).mean(), training=False))


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
    """Check the loss of some examples before training, and its gradient.

    The gradient is that of the losses at the first, a middle and the last step, since the weight of KL(q, p) may be 0
    at the first, and then priors have no gradient.
    """
    steps = _steps(total_steps)
    some = [steps[0], steps[len(steps) // 2], steps[-1]] if steps else [0]
    rows, width = batch.x.shape[0], noise_size(model.latents)
    noise = tf.reshape(
        Noise(0, "doubts").normal(0, 0, objective.samples * rows, width), (objective.samples, rows, width)
    )
    parts = [name for name in model.parts if name in ("encoder", "decoder") or not isinstance(model, VAE)]
    weights = [[v.value for v in getattr(model.parts[name], "trainable_variables", ())] for name in parts]
    with Updates(), tf.GradientTape() as tape:
        terms = forward(model, batch, noise, training=True)
        losses = [tf.reduce_sum(_loss(objective, terms, schedule, step)) for step in some]
        total = sum(losses)
    each = float(tf.reduce_mean(terms.log_likelihood)) / int(np.prod(model.x_shape))
    if not np.isfinite(float(losses[0])):
        yield f"the loss of {rows} training examples is {float(losses[0]):g} before the first step"
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
    if (
        steps
        and float(schedule.weight(tf.constant(some[-1], tf.int64)))
        and not any(
            np.any(_loss(objective, worse, schedule, step) != _loss(objective, terms, schedule, step)) for step in some
        )
    ):
        yield f"the loss does not depend on KL(q, p): {AUTOENCODER}"


def _loss(objective: Objective, terms: Terms, schedule: Schedule, step: int) -> tf.Tensor:
    return loss_of(objective, terms, schedule, tf.constant(step, tf.int64))
