"""The three Keras models of a run: all of it, x to latents, and latents to x.

Shapes: B examples, X the shape of one, D latents, L samples of z per example. z is an array [B, D] (or [B, *shape]), or
a dict of arrays by group if the model has several groups of latents. `labels` are the class of each example, [B]
integers, for a conditional model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.errors import UsageError
from vaeflow.model.latents import generation_noise_size, noise_size
from vaeflow.training.keras_models.checks import Labels, by_group, checked, checked_labels, unpacked
from vaeflow.training.keras_models.export import Endpoint, rows
from vaeflow.training.keras_models.run_model import RunModel

if TYPE_CHECKING:
    from collections.abc import Mapping

register = keras.saving.register_keras_serializable(package="vaeflow")


@register
class GenerativeModel(RunModel):
    """The model of a run: `model(x)` is the expected x given the posterior's means, [B, *X].

    It has the weights that the run evaluates with: their EMA, if it has one. It computes in evaluation mode; the run
    trains it, `fit` does not. `save`, `keras.models.load_model`, `export` and `summary` are Keras's.

    `run.model` is one; `keras.models.load_model` returns one, after
    `from vaeflow import GenerativeModel`, which registers it.
    """

    def __call__(self, x: Any, labels: Labels = None, **options: Any) -> tf.Tensor:
        """Return the expected x given the means of q(z given x), [B, *X].

        Args:
            x: [B, *X] float32, prepared as the run's examples; or a dict of x and labels.
            labels: of the examples.
            options: of a Keras layer.

        Raises:
            UsageError: if x has another shape, or labels are missing.
        """
        return super().__call__(*self._checked(*unpacked(x, labels)), **options)

    def call(self, x: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """Return what `__call__` does."""
        return self.computation.expected(self.computation.means(x, labels), labels)

    def encode(self, x: Any, labels: Labels = None) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return the means (or codes) of q(z given x), [B, D], or by group, for x [B, *X]."""
        return self._alone(self.computation.means(*self._checked(x, labels)))

    def decode(self, z: Any, labels: Labels = None) -> tf.Tensor:
        """Return the expected x given z, [B, *X]."""
        return self.computation.expected(by_group(z, self.latents), checked_labels(labels, self.classes))

    def generate(self, noise: Any, labels: Labels = None, *, temperature: float = 1.0) -> tf.Tensor:
        """Return the expected x given z from the prior, [B, *X], for standard normal noise [B, `noise_size`].

        Args:
            noise: one row an example.
            labels: of the examples.
            temperature: factor of the prior's noise; less than 1 gives more typical examples.
        """
        noise = checked(noise, (self.noise_size,), "noise")
        return self.computation.generated(noise, checked_labels(labels, self.classes), temperature)

    def sample(self, count: int, *, seed: int = 0, labels: Labels = None, temperature: float = 1.0) -> tf.Tensor:
        """Return the expected x of latents from the prior, [count, *X]: those of `run.sample` with this seed."""
        noise = Noise(seed, "sample/z").normal(0, 0, count, self.noise_size)
        if self.classes and labels is None:
            labels = tf.range(count) % self.classes
        return self.generate(noise, labels, temperature=temperature)

    def elbo(self, x: Any, labels: Labels = None, *, samples: int = 1, seed: int = 0, noise: Any = None) -> tf.Tensor:
        """Return the ELBO on log p(x) of each example, [B] nats: those of `run.elbo` with this seed.

        Args:
            x: [B, *X].
            labels: of the examples.
            samples: L, the samples of z per example.
            seed: of the noise.
            noise: standard normal, [B, L, `posterior_noise_size`], instead of `samples` and `seed`.
        """
        x, classes = self._checked(x, labels)
        return self.computation.elbos(x, self._noise(x, samples, seed, noise), classes)

    def log_prob(
        self, x: Any, labels: Labels = None, *, samples: int = 100, seed: int = 0, noise: Any = None
    ) -> tf.Tensor:
        """Return an estimate of log p(x) of each example by importance sampling, [B] nats.

        With few samples it is too low (Burda, Grosse and Salakhutdinov 2015); all samples are in memory at a time.

        Args:
            x: [B, *X].
            labels: of the examples.
            samples: L, the samples of z per example.
            seed: of the noise.
            noise: standard normal, [B, L, `posterior_noise_size`], instead of `samples` and `seed`.

        Raises:
            UsageError: if latents are codes without noise, by which log p(x) can't be estimated.
        """
        if self._has_codes:
            raise UsageError("this model has latents that are codes without noise; they can't estimate log p(x)")
        x, classes = self._checked(x, labels)
        return self.computation.log_probs(x, self._noise(x, samples, seed, noise), classes)

    @property
    def _has_codes(self) -> bool:
        return any(group.deterministic for group in self.latents)

    def _noise(self, x: tf.Tensor, samples: int, seed: int, noise: Any) -> tf.Tensor:
        width = self.posterior_noise_size
        if noise is None:
            drawn = Noise(seed, "elbo").normal(0, 0, len(x) * samples, width)
            noise = tf.reshape(drawn, (len(x), samples, width))
        noise = tf.convert_to_tensor(noise, tf.float32)
        if noise.shape.rank != 3 or noise.shape[0] != len(x) or noise.shape[2] != width:
            raise UsageError(f"noise has shape {tuple(noise.shape)}, but this model takes [{len(x)}, L, {width}]")
        return noise

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that an example from the prior takes."""
        return generation_noise_size(self.latents)

    @property
    def posterior_noise_size(self) -> int:
        """Standard normal numbers that a sample of q(z given x) takes."""
        return noise_size(self.latents)

    def _endpoints(self) -> dict[str, Endpoint]:
        compute, x, z, labels = self.computation, rows(*self.x_shape), self._latents(), self._labels()
        prior, posterior = rows(self.noise_size), rows(None, self.posterior_noise_size)
        log_prob = Endpoint(lambda x, noise, labels=None: compute.log_probs(x, noise, labels), (x, posterior, *labels))
        return {
            "serve": Endpoint(lambda x, labels=None: self.call(x, labels), (x, *labels)),
            "encode": Endpoint(lambda x, labels=None: self._alone(compute.means(x, labels)), (x, *labels)),
            "decode": Endpoint(
                lambda z, labels=None: compute.expected(by_group(z, self.latents), labels), (z, *labels)
            ),
            "sample": Endpoint(lambda noise, labels=None: compute.generated(noise, labels), (prior, *labels)),
            "elbo": Endpoint(lambda x, noise, labels=None: compute.elbos(x, noise, labels), (x, posterior, *labels)),
            **({} if self._has_codes else {"log_prob": log_prob}),
        }


@register
class Encoder(RunModel):
    """The encoder and the posterior of a run: `encoder(x)` is the means of q(z given x), [B, D], or by group.

    It has the weights that these means depend on, and no others. `run.encoder` is one.
    """

    def __call__(self, x: Any, labels: Labels = None, **options: Any) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return the means (or codes), [B, D], or by group if there are several, for x [B, *X].

        Args:
            x: [B, *X] float32, prepared as the run's examples; or a dict of x and labels.
            labels: of the examples.
            options: of a Keras layer.

        Raises:
            UsageError: if x has another shape, or labels are missing.
        """
        return super().__call__(*self._checked(*unpacked(x, labels)), **options)

    def call(self, x: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return what `__call__` does."""
        return self._alone(self.computation.means(x, labels))

    def _variables_to_keep(self) -> list[keras.Variable]:
        return self.computation.variables_read(self.call, rows(*self.x_shape), *self._labels())

    def _endpoints(self) -> dict[str, Endpoint]:
        serve = Endpoint(lambda x, labels=None: self.call(x, labels), (rows(*self.x_shape), *self._labels()))
        return {"serve": serve}


@register
class Decoder(RunModel):
    """The decoder and the likelihood of a run: `decoder(z)` is the expected x given z, [B, *X].

    It has the weights that this depends on, and no others. `run.decoder` is one.
    """

    def __call__(self, z: Any, labels: Labels = None, **options: Any) -> tf.Tensor:
        """Return the expected x given z, [B, *X].

        Args:
            z: [B, D], or by group if there are several.
            labels: of the examples.
            options: of a Keras layer.

        Raises:
            UsageError: if z has another shape or other groups, or labels are missing.
        """
        return super().__call__(by_group(z, self.latents), checked_labels(labels, self.classes), **options)

    def call(self, z: Mapping[str, tf.Tensor], labels: tf.Tensor | None = None) -> tf.Tensor:
        """Return what `__call__` does."""
        return self.computation.expected(z, labels)

    def _variables_to_keep(self) -> list[keras.Variable]:
        z = {group.name: rows(*group.shape) for group in self.latents}
        return self.computation.variables_read(self.call, z, *self._labels())

    def _endpoints(self) -> dict[str, Endpoint]:
        inputs = (self._latents(), *self._labels())
        return {"serve": Endpoint(lambda z, labels=None: self.call(by_group(z, self.latents), labels), inputs)}
