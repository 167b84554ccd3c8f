"""A trained model with a NumPy interface."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from vaeflow.model.blocks import BLOCK, in_blocks
from vaeflow.model.latents import generation_noise_size, noise_size
from vaeflow.model.memory_estimate import require_elbo, require_examples
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaeflow.contracts import Binarization, Dataset, LatentVariableModel, Transform
    from vaeflow.model.moving_average import MovingAverage

    Labels = int | Sequence[int] | np.ndarray | None
    Latents = np.ndarray | Mapping[str, np.ndarray]


class TrainedVAE:
    """Encodes, decodes, samples and computes ELBOs with the model's current weights.

    If the model has one group of latents, they are an array [B, D] (or [B, *shape]); else a dict of arrays by group. A
    conditional model takes labels: the class of each example, [B], or one for all.

    Attributes: `model`; `x_shape`, X; `latents`, its groups; `latent_size`, D, the number of latents of all groups;
    `classes`, C of a conditional model, else 0.

    Args:
        model: any model.
        average: moving average of the weights; used instead of the weights if there is one.
        binarization: pixels to x, for `prepare`.
        seed: the run's.
        transforms: applied to pixels before.
        dataset: the run's; it determines the allowed values of x. None allows all values.
        classes: C of a conditional model, else 0.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        average: MovingAverage,
        binarization: Binarization,
        *,
        seed: int = 0,
        transforms: Sequence[Transform] = (),
        dataset: Dataset | None = None,
        classes: int = 0,
    ) -> None:
        self.model = model
        self._dataset = dataset
        self._seed = seed
        self._average = average
        self._binarization, self._transforms = binarization, tuple(transforms)
        self.x_shape, self.latents, self.classes = model.x_shape, model.latents, classes
        self.latent_size = sum(math.prod(group.shape) for group in model.latents)
        self._encode = graph(lambda x, c: self._averaged(lambda: dict(model.encode(x, labels=c))))
        self._decode = graph(lambda z, c: self._averaged(lambda: model.decode(z, labels=c).mean()))
        self._generate = graph(
            lambda e, c, t: self._averaged(lambda: model.generate(e, labels=c, temperature=t).mean())
        )
        self._draw = graph(
            lambda e, u, c, t: self._averaged(lambda: model.generate(e, labels=c, temperature=t).sample(u))
        )
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

    def means(self, x: np.ndarray, *, labels: Labels = None, any_values: bool = False) -> dict[str, np.ndarray]:
        """Return the means of q(z given x) by group, [B, *shape], for x [B, *X]; see `encode`."""
        x = self._checked_x(x, any_values=any_values)
        return dict(in_blocks(self._encode, x, self._one_hot(labels, len(x))))

    def encode(
        self, x: np.ndarray, *, labels: Labels = None, any_values: bool = False
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Return the means of q(z given x), [B, D], or by group if there are several, for x [B, *X].

        Args:
            x: prepared examples (see `prepare`).
            labels: the class of each example, for a conditional model.
            any_values: allow values that no prepared example of the run has, such as probabilities.

        Raises:
            UsageError: if x has other values, as stored pixels do, or another shape, or labels are missing.
        """
        means = self.means(x, labels=labels, any_values=any_values)
        return means if len(means) > 1 else next(iter(means.values()))

    def decode(self, z: Latents, *, labels: Labels = None) -> np.ndarray:
        """Return the expected x given z (for a Bernoulli likelihood, probabilities), [B, *X].

        Args:
            z: [B, D], or by group if there are several.
            labels: the class of each example, for a conditional model.
        """
        groups = self._checked_z(z)
        count = len(next(iter(groups.values())))
        return np.asarray(in_blocks(self._decode, groups, self._one_hot(labels, count)))

    def reconstruct(self, x: np.ndarray, *, labels: Labels = None, any_values: bool = False) -> np.ndarray:
        """Return the expected x given the posterior's mean, [B, *X], for x [B, *X]; it takes what `encode` takes."""
        return self.decode(self.means(x, labels=labels, any_values=any_values), labels=labels)

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        expected: bool = True,
        labels: Labels = None,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """Return `count` examples from the prior through the decoder, [count, *X]; equal seeds give equal examples.

        Args:
            count: how many.
            seed: of the latents and, for draws, of the likelihood.
            expected: return expected values; False draws from the likelihood.
            labels: the class of each example, for a conditional model; by default all classes in turn.
            temperature: factor of the prior's noise; 1 is the prior, less gives more typical examples.

        Raises:
            UsageError: if memory is not sufficient, or there is no such class.
        """
        pixels, width = math.prod(self.x_shape), generation_noise_size(self.latents)
        require_examples(count, pixels * (1 if expected else 3) + 4 * self.latent_size, "examples", "count (--count)")
        noise = np.asarray(Noise(seed, "sample/z").normal(0, 0, count, width))
        if self.classes and labels is None:
            labels = np.arange(count) % self.classes
        if expected:
            return self.generate(noise, labels=labels, temperature=temperature)
        uniform = np.asarray(Noise(seed, "sample/x").uniform(0, 0, count, pixels)).reshape((count, *self.x_shape))
        one_hot = self._one_hot(labels, count)
        return np.asarray(in_blocks(lambda e, u, c: self._draw(e, u, c, temperature), noise, uniform, one_hot))

    def generate(self, noise: np.ndarray, *, labels: Labels = None, temperature: float = 1.0) -> np.ndarray:
        """Return the expected x given z from the prior, [B, *X], for given noise.

        Args:
            noise: standard normal, [B, N], N the sum of the groups' `generation_noise_size`.
            labels: the class of each example, for a conditional model.
            temperature: factor of the noise.
        """
        one_hot = self._one_hot(labels, len(noise))
        return np.asarray(in_blocks(lambda e, c: self._generate(e, c, temperature), noise, one_hot))

    def elbo(
        self, x: np.ndarray, *, samples: int = 1, seed: int = 0, labels: Labels = None, any_values: bool = False
    ) -> np.ndarray:
        """Return the ELBO on log p(x) of each example (equation 6), [B] nats, for x [B, *X].

        Args:
            x: prepared examples (see `prepare`).
            samples: L, the samples of z per example.
            seed: of the noise.
            labels: the class of each example, for a conditional model.
            any_values: as in `encode`.

        Raises:
            UsageError: as `encode` does, or if memory is not sufficient.
        """
        x = self._checked_x(x, any_values=any_values)
        width, stream = noise_size(self.latents), Noise(seed, "elbo")
        require_elbo(self.model, BLOCK, samples)

        def elbo_of(x_block: tf.Tensor, first: tf.Tensor, one_hot: tf.Tensor | None) -> tf.Tensor:
            noise = stream.normal(0, first[0] * samples, BLOCK * samples, width)
            return self._elbo(x_block, tf.reshape(noise, (BLOCK, samples, width)), one_hot)

        numbers = np.arange(len(x), dtype=np.int64)
        return np.asarray(in_blocks(elbo_of, x, numbers, self._one_hot(labels, len(x))))

    def _elbos(self, x: tf.Tensor, noise: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        terms = self._averaged(lambda: self.model.terms(x, tf.transpose(noise, (1, 0, 2)), labels=labels))
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
        x = _checked(x, self.x_shape, "x")
        if not any_values and self._values is not None:
            self._values.require(x)
        return x

    def _checked_z(self, z: Latents) -> dict[str, np.ndarray]:
        if not isinstance(z, Mapping):
            if len(self.latents) > 1:
                raise UsageError(f"this model has several groups of latents: give z as a dict of {self._names()}")
            z = {self.latents[0].name: z}
        if set(z) != {group.name for group in self.latents}:
            raise UsageError(f"z has the groups {', '.join(map(str, z))}, but this model has {self._names()}")
        several = len(self.latents) > 1
        return {g.name: _checked(z[g.name], g.shape, f"z[{g.name!r}]" if several else "z") for g in self.latents}

    def _names(self) -> str:
        return ", ".join(group.name for group in self.latents)

    def _one_hot(self, labels: Labels, count: int) -> np.ndarray | None:
        """Return labels as one-hot vectors [count, C], or None if the model takes none."""
        if not self.classes:
            if labels is not None:
                raise UsageError("this model takes no labels; train with condition.labels=true")
            return None
        if labels is None:
            raise UsageError(f"this model is conditional: give the label of each example, 0 to {self.classes - 1}")
        given = np.broadcast_to(np.asarray(labels), (count,)) if np.ndim(labels) == 0 else np.asarray(labels)
        if given.shape != (count,) or given.dtype.kind not in "iu":
            raise UsageError(f"labels have shape {given.shape} and type {given.dtype}; give {count} whole numbers")
        if given.min() < 0 or given.max() >= self.classes:
            wrong = given[(given < 0) | (given >= self.classes)][0]
            raise UsageError(f"label {wrong} is not one of the {self.classes} classes 0 to {self.classes - 1}")
        return np.eye(self.classes, dtype=np.float32)[given]


def _checked(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    values = np.asarray(values, np.float32)
    if values.shape[1:] != shape or not len(values):
        raise UsageError(
            f"{name} has shape {values.shape}, but this model takes [B, {', '.join(map(str, shape))}], B >= 1"
        )
    return values
