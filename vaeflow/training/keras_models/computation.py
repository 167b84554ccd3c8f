"""What a network computes in evaluation mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.model import elbo
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import keras

    from vaeflow.contracts import LatentVariableModel


class Computation:
    """The functions of a network that its Keras models are made of. Labels are [B] integers, or None.

    Called with values they are graphs, as in a run, so that results differ at most by the rounding of another number of
    examples. It is no Keras object, so Keras does not look for layers in it: `RunModel` saves the variables itself.

    Args:
        network: any model.
        classes: C of a conditional model, else 0.
    """

    def __init__(self, network: LatentVariableModel, classes: int) -> None:
        self.network, self._classes = network, classes
        self._graphs: dict[str, Callable[..., Any]] = {}

    def means(self, x: tf.Tensor, labels: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Return the means of q(z given x) by group for x [B, *X]."""
        return self._run(self._means, x, labels)

    def expected(self, z: Mapping[str, tf.Tensor], labels: tf.Tensor | None) -> tf.Tensor:
        """Return the expected x given z, [B, *X], for latents by group."""
        return self._run(self._expected, dict(z), labels)

    def generated(self, noise: tf.Tensor, labels: tf.Tensor | None, temperature: float = 1.0) -> tf.Tensor:
        """Return the expected x of latents from the prior, [B, *X], for noise [B, N]."""
        return self._run(self._generated, noise, labels, temperature)

    def elbos(self, x: tf.Tensor, noise_BLN: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Return the ELBO of each example, [B] nats."""
        return self._run(self._elbos, x, noise_BLN, labels)

    def log_probs(self, x: tf.Tensor, noise_BLN: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Return log 1/L sum_l p(x, z_l) / q(z_l given x) of each example, [B] nats."""
        return self._run(self._log_probs, x, noise_BLN, labels)

    def variables_read(self, compute: Callable[..., Any], *specs: Any) -> list[keras.Variable]:
        """Return the network's variables that a function reads: its graph has to capture each of them."""
        traced = graph(compute).get_concrete_function(*specs)
        captured = {id(one) for one in traced.captured_inputs}
        return [variable for variable in self.network.variables if id(variable.value.handle) in captured]

    def _run(self, compute: Callable[..., Any], *inputs: Any) -> Any:
        if not tf.executing_eagerly():
            return compute(*inputs)
        compiled = self._graphs.setdefault(compute.__name__, graph(compute, reduce_retracing=True))
        return compiled(*inputs)

    def _means(self, x: tf.Tensor, labels: tf.Tensor | None) -> dict[str, tf.Tensor]:
        one_hot = self._one_hot(labels)
        return in_mode(lambda: dict(self.network.encode(x, labels=one_hot)), training=False)

    def _expected(self, z: Mapping[str, tf.Tensor], labels: tf.Tensor | None) -> tf.Tensor:
        one_hot = self._one_hot(labels)
        return in_mode(lambda: self.network.decode(z, labels=one_hot).mean(), training=False)

    def _generated(self, noise: tf.Tensor, labels: tf.Tensor | None, temperature: float) -> tf.Tensor:
        one_hot = self._one_hot(labels)
        return in_mode(
            lambda: self.network.generate(noise, labels=one_hot, temperature=temperature).mean(), training=False
        )

    def _elbos(self, x: tf.Tensor, noise_BLN: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        noise_LBN, one_hot = tf.transpose(noise_BLN, (1, 0, 2)), self._one_hot(labels)
        terms = in_mode(lambda: self.network.terms(x, noise_LBN, labels=one_hot), training=False)
        return elbo.elbo(terms.log_likelihood, terms.kl)

    def _log_probs(self, x: tf.Tensor, noise_BLN: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        noise_LBN, one_hot = tf.transpose(noise_BLN, (1, 0, 2)), self._one_hot(labels)

        def log_weights() -> tf.Tensor:
            terms = self.network.terms(x, noise_LBN, labels=one_hot)
            return terms.log_likelihood + terms.log_p - terms.log_q

        samples = tf.cast(tf.shape(noise_LBN)[0], tf.float32)
        return tf.reduce_logsumexp(in_mode(log_weights, training=False), axis=0) - tf.math.log(samples)

    def _one_hot(self, labels: tf.Tensor | None) -> tf.Tensor | None:
        return None if labels is None else tf.one_hot(labels, self._classes)
