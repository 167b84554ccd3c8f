"""The three Keras models of a run: all of it, x to latents, and latents to x.

Shapes: B examples, X the shape of one, D latents, L samples of z per example. z is an array [B, D] (or [B, *shape]), or
a dict of arrays by group if the model has several groups of latents. `labels` are the class of each example, [B]
integers, for a conditional model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.errors import UsageError
from vaeflow.training.keras_models.export import Endpoint, rows
from vaeflow.training.keras_models.run_model import Labels, RunModel, checked, variables_read
from vaeflow.model import elbo
from vaeflow.model.latents import generation_noise_size, noise_size

if TYPE_CHECKING:
    from pathlib import Path

register = keras.saving.register_keras_serializable(package="vaeflow")
SAVED_MODEL = "tf_saved_model"


@register
class GenerativeModel(RunModel):
    """The model of a run: `model(x)` is the expected x given the posterior's means, [B, *X].

    It has the weights that the run evaluates with: their EMA, if it has one. It computes in evaluation mode; the run
    trains it, `fit` does not. `save`, `keras.models.load_model`, `export` and `summary` are Keras's.

    `run.model` is one; `keras.models.load_model` returns one, after `import vaeflow.keras`.
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
        return super().__call__(*self._checked(*_unpacked(x, labels)), **options)

    def call(self, x: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """Return what `__call__` does."""
        return self._decoded(self._means(x, labels), labels)

    def encode(self, x: Any, labels: Labels = None) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return the means (or codes) of q(z given x), [B, D], or by group, for x [B, *X]."""
        return self._alone(self._means(*self._checked(x, labels)))

    def decode(self, z: Any, labels: Labels = None) -> tf.Tensor:
        """Return the expected x given z, [B, *X]."""
        return self._decoded(self._grouped(z), self._checked_labels(labels))

    def generate(self, noise: Any, labels: Labels = None, *, temperature: float = 1.0) -> tf.Tensor:
        """Return the expected x given z from the prior, [B, *X], for standard normal noise [B, `noise_size`].

        Args:
            noise: one row an example.
            labels: of the examples.
            temperature: factor of the prior's noise; less than 1 gives more typical examples.
        """
        noise, classes = checked(noise, (self.noise_size,), "noise"), self._checked_labels(labels)
        return self._generated(noise, classes, temperature)

    def sample(self, count: int, *, seed: int = 0, labels: Labels = None, temperature: float = 1.0) -> tf.Tensor:
        """Return the expected x of latents from the prior, [count, *X]: those of `run.sample` with this seed."""
        noise = Noise(seed, "sample/z").normal(0, 0, count, self.noise_size)
        if self.classes and labels is None:
            labels = tf.range(count) % self.classes
        return self.generate(noise, labels, temperature=temperature)

    def elbo(
        self, x: Any, labels: Labels = None, *, samples: int = 1, seed: int = 0, noise: Any = None
    ) -> tf.Tensor:
        """Return the ELBO on log p(x) of each example, [B] nats: those of `run.elbo` with this seed.

        Args:
            x: [B, *X].
            labels: of the examples.
            samples: L, the samples of z per example.
            seed: of the noise.
            noise: standard normal, [B, L, `posterior_noise_size`], instead of `samples` and `seed`.
        """
        x, classes = self._checked(x, labels)
        width = self.posterior_noise_size
        if noise is None:
            drawn = Noise(seed, "elbo").normal(0, 0, len(x) * samples, width)
            noise = tf.reshape(drawn, (len(x), samples, width))
        noise = tf.convert_to_tensor(noise, tf.float32)
        if noise.shape.rank != 3 or noise.shape[0] != len(x) or noise.shape[2] != width:
            raise UsageError(f"noise has shape {tuple(noise.shape)}, but this model takes [{len(x)}, L, {width}]")
        return self._elbo(x, noise, classes)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that an example from the prior takes."""
        return generation_noise_size(self.latents)

    @property
    def posterior_noise_size(self) -> int:
        """Standard normal numbers that a sample of q(z given x) takes."""
        return noise_size(self.latents)

    def _generated(self, noise: tf.Tensor, labels: tf.Tensor | None, temperature: float = 1.0) -> tf.Tensor:
        network, one_hot = self._held.network, self._one_hot(labels)
        return self._evaluated(lambda: network.generate(noise, labels=one_hot, temperature=temperature).mean())

    def _elbo(self, x: tf.Tensor, noise_BLN: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        network, one_hot = self._held.network, self._one_hot(labels)
        noise_LBN = tf.transpose(noise_BLN, (1, 0, 2))
        terms = self._evaluated(lambda: network.terms(x, noise_LBN, labels=one_hot))
        return elbo.elbo(terms.log_likelihood, terms.kl)

    def export(
        self,
        filepath: str | Path,
        format: str = SAVED_MODEL,  # noqa: A002  # Keras's name
        verbose: bool | None = None,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Write a SavedModel with signatures `serve`, `encode`, `decode`, `sample` and `elbo`, for any B.

        Args:
            filepath: a folder.
            format: `tf_saved_model`; Keras's other formats have `serve` alone.
            verbose: print the signatures; the default prints them.
            input_signature: of other formats.
            options: of other formats.
        """
        if format != SAVED_MODEL:
            super().export(filepath, format, verbose, input_signature or [rows(*self.x_shape)], **options)
            return
        x, z = rows(*self.x_shape), self._alone({g.name: rows(*g.shape) for g in self.latents})
        prior, posterior = rows(self.noise_size), rows(None, self.posterior_noise_size)
        if self.classes:
            labels = rows(dtype=tf.int64)
            endpoints = {
                "serve": Endpoint(lambda x, labels: self.call(x, labels), (x, labels)),
                "encode": Endpoint(lambda x, labels: self._alone(self._means(x, labels)), (x, labels)),
                "decode": Endpoint(lambda z, labels: self._decoded(self._grouped(z), labels), (z, labels)),
                "sample": Endpoint(lambda noise, labels: self._generated(noise, labels), (prior, labels)),
                "elbo": Endpoint(lambda x, noise, labels: self._elbo(x, noise, labels), (x, posterior, labels)),
            }
        else:
            endpoints = {
                "serve": Endpoint(lambda x: self.call(x), (x,)),
                "encode": Endpoint(lambda x: self._alone(self._means(x, None)), (x,)),
                "decode": Endpoint(lambda z: self._decoded(self._grouped(z), None), (z,)),
                "sample": Endpoint(lambda noise: self._generated(noise, None), (prior,)),
                "elbo": Endpoint(lambda x, noise: self._elbo(x, noise, None), (x, posterior)),
            }
        self._export(filepath, endpoints, verbose)


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
        return super().__call__(*self._checked(*_unpacked(x, labels)), **options)

    def call(self, x: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return what `__call__` does."""
        return self._alone(self._means(x, labels))

    def _variables_to_keep(self) -> list[keras.Variable]:
        return variables_read(self._held.network, self.call, *self._inputs())

    def _inputs(self) -> tuple[tf.TensorSpec, ...]:
        return (rows(*self.x_shape), *([rows(dtype=tf.int64)] if self.classes else []))

    def export(
        self,
        filepath: str | Path,
        format: str = SAVED_MODEL,  # noqa: A002  # Keras's name
        verbose: bool | None = None,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Write a SavedModel with the signature `serve`, for any B; the arguments are Keras's."""
        if format != SAVED_MODEL:
            super().export(filepath, format, verbose, input_signature or list(self._inputs()), **options)
            return
        serve = (lambda x, labels: self.call(x, labels)) if self.classes else (lambda x: self.call(x))
        self._export(filepath, {"serve": Endpoint(serve, self._inputs())}, verbose)


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
        return super().__call__(self._grouped(z), self._checked_labels(labels), **options)

    def call(self, z: Mapping[str, tf.Tensor], labels: tf.Tensor | None = None) -> tf.Tensor:
        """Return what `__call__` does."""
        return self._decoded(z, labels)

    def _variables_to_keep(self) -> list[keras.Variable]:
        z = {group.name: rows(*group.shape) for group in self.latents}
        return variables_read(self._held.network, self.call, z, *self._labels())

    def _labels(self) -> list[tf.TensorSpec]:
        return [rows(dtype=tf.int64)] if self.classes else []

    def export(
        self,
        filepath: str | Path,
        format: str = SAVED_MODEL,  # noqa: A002  # Keras's name
        verbose: bool | None = None,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Write a SavedModel with the signature `serve`, for any B; the arguments are Keras's."""
        z = self._alone({group.name: rows(*group.shape) for group in self.latents})
        inputs = (z, *self._labels())
        if format != SAVED_MODEL:
            super().export(filepath, format, verbose, input_signature or list(inputs), **options)
            return
        serve = (
            (lambda z, labels: self._decoded(self._grouped(z), labels))
            if self.classes
            else (lambda z: self._decoded(self._grouped(z), None))
        )
        self._export(filepath, {"serve": Endpoint(serve, inputs)}, verbose)


def _unpacked(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """Return x and labels, which may come as a dict: `predict` takes one argument."""
    if not isinstance(x, Mapping):
        return x, labels
    if not {"x"} <= set(x) <= {"x", "labels"}:
        raise UsageError(f"a dict of inputs has the keys x and labels, not {', '.join(map(str, x))}")
    return x["x"], x.get("labels", labels)
