"""Small models, data and oracles that tests share."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from hypothesis import settings

from vaeflow.components import binarizations, likelihoods, networks, objectives, posteriors, priors, schedules
from vaeflow.contracts import Split, Timeline
from vaeflow.data.batches import Batches
from vaeflow.data.noise import Noise
from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.engine.loss_scale import LossScale
from vaeflow.engine.microbatch import Microbatches
from vaeflow.engine.reduce import ExactSum
from vaeflow.engine.step import TrainStep
from vaeflow.engine.step_row import StepRow
from vaeflow.model.moving_average import MovingAverage
from vaeflow.model.vae import VAE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from vaeflow.contracts import Binarization, Objective
    from vaeflow.engine.reduce import Reduction
    from vaeflow.model.distributions import DiagonalNormal


GRADIENT_RATE = 2.0**20


def examples(count: int) -> settings:
    """Return hypothesis settings for a property: the same cases each time, no deadline."""
    return settings(max_examples=count, derandomize=True, deadline=None, database=None)


def tfd() -> ModuleType:
    """Return TensorFlow Probability's distributions; its import warns, which is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_probability as tfp

        return tfp.distributions


def normal_noise(*shape: int, name: str = "test") -> tf.Tensor:
    """Return standard normal numbers of a shape, always the same."""
    rows, width = int(np.prod(shape[:-1])), shape[-1]
    return tf.reshape(Noise(0, name).normal(0, 0, rows, width), shape)


def uniform_noise(*shape: int, name: str = "test") -> tf.Tensor:
    """Return numbers in (0, 1) of a shape, always the same."""
    rows, width = int(np.prod(shape[:-1])), shape[-1]
    return tf.reshape(Noise(0, name).uniform(0, 0, rows, width), shape)


def sigma_points(size: int) -> np.ndarray:
    """Return 2 * size points [L, 1, size] with the standard normal's mean and covariance.

    The mean over them of a polynomial of degree 2 (or 3) is its expectation, exactly.
    """
    points = np.sqrt(size) * np.concatenate([np.eye(size), -np.eye(size)])
    return points[:, None, :]


def binary_pixels(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Return pixels [count, width] float32 that are 0 or 1."""
    return np.random.default_rng(seed).integers(0, 2, (count, width)).astype(np.float32)


@dataclass(frozen=True)
class NormalPrior:
    """N(mean, exp(log_var)) that knows no closed form of its divergence, from anything."""

    inner: DiagonalNormal

    def log_prob(self, value):
        return self.inner.log_prob(value)

    def kl_terms(self, q):
        return None


def tiny_vae(
    width: int = 6, latent: int = 2, *, encoder: keras.Model | None = None, likelihood: Any = None, seed: int = 0
) -> VAE:
    """Return a built autoencoder of one hidden layer of 5 on both sides; X is (width,)."""
    keras.utils.set_random_seed(seed)
    likelihood = likelihood or likelihoods.bernoulli((width,))
    vae = VAE(
        x_shape=(width,),
        latent_size=latent,
        encoder=encoder or networks.mlp_encoder((width,), hidden=(5,)),
        posterior=posteriors.diagonal_gaussian(latent),
        prior=priors.standard_normal(latent),
        decoder=networks.mlp_decoder(latent, likelihood.parameters_shape, hidden=(5,)),
        likelihood=likelihood,
    )
    vae.terms(tf.zeros((1, width)), tf.zeros((1, 1, latent)))
    return vae


@dataclass
class Training:
    """A training step on little data, with everything that can be asked of it.

    Attributes:
        pixels: [N, width].
        model: the autoencoder.
        batch_size: the global batch.
        seed: of order and noise.
    """

    pixels: np.ndarray = field(default_factory=lambda: binary_pixels(23, 6))
    model: VAE = field(default_factory=tiny_vae)
    batch_size: int = 10
    seed: int = 3
    microbatches: int = 1
    reduction: Reduction | None = None
    objective: Objective = field(default_factory=objectives.elbo)
    binarization: Binarization = field(default_factory=binarizations.none)
    optimizer: keras.optimizers.Optimizer | None = None
    loss_scale: LossScale = field(default_factory=LossScale)
    clip_norm: float | None = None
    skip_norm: float | None = None
    ema: float | None = None
    xla: bool = False

    def __post_init__(self) -> None:
        """Make the batches."""
        data = Split(self.pixels)
        self.batches = Batches.of("train", data, self.binarization, seed=self.seed, batch_size=self.batch_size)

    def step(self) -> TrainStep:
        """Return the step; without an optimizer it is SGD with a rate so large that w - rate * g rounds like g."""
        optimizer = self.optimizer or keras.optimizers.SGD(GRADIENT_RATE)
        optimizer.build(self.model.trainable_variables)
        microbatches = Microbatches(
            self.model,
            self.batches,
            self.objective,
            schedules.constant(Timeline(3, 9)),
            self.loss_scale,
            count=self.microbatches,
            xla=self.xla,
        )
        average = MovingAverage(self.model.trainable_variables, self.ema)
        reduction = self.reduction or ExactSum(self.microbatches)
        return TrainStep(microbatches, optimizer, average, SingleStrategy(), reduction, self.clip_norm, self.skip_norm)


def elbo_by_hand(weights: Sequence[Any], x: np.ndarray, eps: np.ndarray) -> tf.Tensor:
    """Return equation 12 (the mean over L samples) for `tiny_vae`, written out in float64, [B] nats.

    Args:
        weights: the model's trainable variables, or their values as float64 tensors.
        x: [B, X], 0 or 1.
        eps: [L, B, D].
    """
    w1, b1, w_mu, b_mu, w_var, b_var, w2, b2, w3, b3 = (tf.cast(tf.convert_to_tensor(w), tf.float64) for w in weights)
    x, eps = tf.cast(x, tf.float64), tf.cast(eps, tf.float64)
    h = tf.tanh(x @ w1 + b1)
    mu, log_var = h @ w_mu + b_mu, h @ w_var + b_var
    z = mu + tf.sqrt(tf.exp(log_var)) * eps
    k = tf.sigmoid(tf.tanh(z @ w2 + b2) @ w3 + b3)
    log_likelihood = tf.reduce_sum(x * tf.math.log(k) + (1.0 - x) * tf.math.log(1.0 - k), -1)
    return tf.reduce_mean(log_likelihood, 0) + 0.5 * tf.reduce_sum(1.0 + log_var - mu**2 - tf.exp(log_var), -1)


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """Return copies of the trainable weights."""
    return [w.numpy().copy() for w in model.trainable_variables]


def gradients_by_sgd(training: Training, step: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the gradients that a step of SGD subtracted (the weights are put back), and the log's row."""
    before = weights_of(training.model)
    row = training.step()(tf.constant(step, tf.int64)).numpy()
    after = weights_of(training.model)
    for variable, value in zip(training.model.trainable_variables, before, strict=True):
        variable.assign(value)
    # In float64 the difference is exact; w alone could have rounded it, at 2^-20 of its own precision.
    pairs = zip(before, after, strict=True)
    return [(b.astype(np.float64) - a.astype(np.float64)) / GRADIENT_RATE for b, a in pairs], row


def batch_of(training: Training, step: int, samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return x [b, X] of a step's examples without padding, and their noise [L, b, D]."""
    size = training.batch_size
    index, valid = (t.numpy() for t in training.batches.order.rows(tf.constant(step, tf.int64), 0, size))
    noise = Noise(training.seed, "posterior").normal(step, 0, size * samples, 2).numpy().reshape(size, samples, 2)
    return training.pixels[index][valid], noise[valid].transpose(1, 0, 2)


def by_hand(training: Training, step: int, samples: int = 1) -> tuple[list[np.ndarray], float]:
    """Return the gradients of the mean negative bound, and that mean, in float64."""
    x, eps = batch_of(training, step, samples)
    weights = [tf.constant(w, tf.float64) for w in weights_of(training.model)]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = -tf.reduce_mean(elbo_by_hand(weights, x, eps))
    return [g.numpy() for g in tape.gradient(loss, weights)], float(loss)


def column(rows: np.ndarray, name: str) -> np.ndarray:
    """Return what the log has under a name, [...] for packed rows [..., 10 + K]."""
    return getattr(StepRow.unpack(rows), name)


def relative(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the norm of the difference over the norm of what was expected."""
    flat = [np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays]) for arrays in (got, expected)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1]))


def cube(size: int) -> np.ndarray:
    """Return all binary vectors, [2^size, size] float32."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=size)), np.float32)
