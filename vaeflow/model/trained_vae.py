"""A trained model with a NumPy interface."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow.contracts import Split
from vaeflow.data.batches import Batches
from vaeflow.data.noise import Noise
from vaeflow.data.prepared import Values
from vaeflow.distributed.strategies.graphs import graph
from vaeflow.errors import UsageError
from vaeflow.model import elbo
from vaeflow.model.memory_estimate import require_elbo, require_examples
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaeflow.contracts import Binarization, Dataset, Transform
    from vaeflow.model.moving_average import MovingAverage
    from vaeflow.model.vae import VAE

BLOCK = 200  # examples per compiled call; inputs are padded to full blocks, so that nothing is retraced


class TrainedVAE:
    """Encodes, decodes, samples and computes ELBOs with the model's current weights.

    Attributes: `model`, the autoencoder; `x_shape`, X; `latent_size`, D.

    Args:
        model: the autoencoder.
        average: moving average of the weights; used instead of the weights if there is one.
        binarization: pixels to x, for `prepare`.
        seed: the run's.
        transforms: applied to pixels before.
        dataset: the run's; it determines the allowed values of x. None allows all values.
    """

    def __init__(
        self,
        model: VAE,
        average: MovingAverage,
        binarization: Binarization,
        *,
        seed: int = 0,
        transforms: Sequence[Transform] = (),
        dataset: Dataset | None = None,
    ) -> None:
        self.model = model
        self._dataset = dataset
        self._seed = seed
        self._average = average
        self._binarization, self._transforms = binarization, tuple(transforms)
        self.x_shape = model.x_shape
        self.latent_size = model.latent_size
        self._encode = graph(lambda x: self._averaged(lambda: model.encode(x).mean()))
        self._decode = graph(lambda z: self._averaged(lambda: model.decode(z).mean()))
        self._draw = graph(lambda z, u: self._averaged(lambda: model.decode(z).sample(u)))
        self._elbo = graph(self._elbos)

    def prepare(self, pixels: np.ndarray, *, split: str = "test") -> np.ndarray:
        """Return x [B, *X] float32 for the first B stored examples of a split, uint8 or in [0, 1], as evaluated.

        Args:
            pixels: [B, *X].
            split: its name; random binarizations use different numbers per split.
        """
        batches = Batches.of(
            split,
            Split(pixels),
            self._binarization,
            seed=self._seed,
            batch_size=len(pixels),
            transforms=self._transforms,
        )
        return np.asarray(batches.in_order(tf.constant(0, tf.int64), len(pixels)).x)

    def encode(self, x: np.ndarray, *, any_values: bool = False) -> np.ndarray:
        """Return the means of q(z given x), [B, D], for x [B, *X].

        Args:
            x: prepared examples (see `prepare`).
            any_values: allow values that no prepared example of the run has, such as probabilities.

        Raises:
            UsageError: if x has other values, as stored pixels do, or another shape.
        """
        return self._in_blocks(self._encode, self._checked_x(x, any_values=any_values))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Return the expected x given z (for a Bernoulli likelihood, probabilities), [B, *X], for z [B, D]."""
        return self._in_blocks(self._decode, self._checked(z, (self.latent_size,), "z"))

    def reconstruct(self, x: np.ndarray, *, any_values: bool = False) -> np.ndarray:
        """Return the expected x given the posterior's mean, [B, *X], for x [B, *X]; it takes what `encode` takes."""
        return self.decode(self.encode(x, any_values=any_values))

    def sample(self, count: int, *, seed: int = 0, expected: bool = True) -> np.ndarray:
        """Return `count` examples from the prior through the decoder, [count, *X]; equal seeds give equal examples.

        Args:
            count: how many.
            seed: of the latents and, for draws, of the likelihood.
            expected: return expected values; False draws from the likelihood.

        Raises:
            UsageError: if memory is not sufficient.
        """
        pixels = math.prod(self.x_shape)
        require_examples(count, pixels * (1 if expected else 3) + 4 * self.latent_size, "examples", "count (--count)")
        noise = Noise(seed, "sample/z").normal(0, 0, count, self.latent_size)
        z = self._averaged(lambda: self.model.prior.sample(noise))
        if expected:
            return self.decode(np.asarray(z))
        uniform = Noise(seed, "sample/x").uniform(0, 0, count, pixels)
        return self._in_blocks(self._draw, np.asarray(z), np.asarray(uniform).reshape((count, *self.x_shape)))

    def elbo(self, x: np.ndarray, *, samples: int = 1, seed: int = 0, any_values: bool = False) -> np.ndarray:
        """Return the ELBO on log p(x) of each example (equation 6), [B] nats, for x [B, *X].

        Args:
            x: prepared examples (see `prepare`).
            samples: L, the samples of z per example.
            seed: of the noise.
            any_values: as in `encode`.

        Raises:
            UsageError: as `encode` does, or if memory is not sufficient.
        """
        x = self._checked_x(x, any_values=any_values)
        width, stream = self.model.posterior.noise_size, Noise(seed, "elbo")
        require_elbo(self.model, BLOCK, samples)

        def elbo_of(x_block: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
            noise = stream.normal(0, first[0] * samples, BLOCK * samples, width)
            return self._elbo(x_block, tf.reshape(noise, (BLOCK, samples, width)))

        return self._in_blocks(elbo_of, x, np.arange(len(x), dtype=np.int64))

    def _elbos(self, x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        terms = self._averaged(lambda: self.model.terms(x, tf.transpose(noise, (1, 0, 2))))
        return elbo.elbo(terms.log_likelihood, terms.kl)

    def _averaged(self, compute: Callable[[], Any]) -> Any:
        with keras.StatelessScope(state_mapping=self._average.mapping()):
            return in_mode(compute, training=False)

    @cached_property
    def _values(self) -> Values | None:
        if self._dataset is None:
            return None
        return Values.of(
            self._dataset, lambda x, split: self.prepare(x, split=split), self._binarization, self._transforms
        )

    def _checked_x(self, x: np.ndarray, *, any_values: bool) -> np.ndarray:
        x = self._checked(x, self.x_shape, "x")
        if not any_values and self._values is not None:
            self._values.require(x)
        return x

    def _checked(self, values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        values = np.asarray(values, np.float32)
        if values.shape[1:] != shape or not len(values):
            raise UsageError(
                f"{name} has shape {values.shape}, but this model takes [B, {', '.join(map(str, shape))}], B >= 1"
            )
        return values

    @staticmethod
    def _in_blocks(function: Callable[..., tf.Tensor], *inputs: np.ndarray) -> np.ndarray:
        count = len(inputs[0])
        padding = -count % BLOCK
        padded = [np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) if padding else a for a in inputs]
        found: np.ndarray | None = None
        for first in range(0, count, BLOCK):
            block = np.asarray(function(*(tf.constant(a[first : first + BLOCK]) for a in padded)))
            if found is None:
                found = np.empty((count, *block.shape[1:]), block.dtype)
            found[first : first + BLOCK] = block[: count - first]
        if found is None:
            raise AssertionError("there is at least one block")
        return found
