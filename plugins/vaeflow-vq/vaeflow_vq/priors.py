"""Distributions of a map of codes: the logits of each position, given the codes before it in raster order."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def code_prior(name: str, grid: tuple[int, int], codes: int, *, width: int, layers: int) -> CodePrior:
    """Return the prior of a name for maps of a grid [h, w]."""
    if name == "uniform":
        return CodePrior(grid, codes)
    if name == "independent":
        return Independent(grid, codes)
    return Autoregressive(grid, codes, width=width, layers=layers)


@keras.saving.register_keras_serializable(package="vaeflow_vq")
class CodePrior(keras.layers.Layer):
    """All codes are equally probable at all positions.

    Args:
        grid: h and w; P = h w positions, in raster order.
        codes: K.
    """

    sequential = False
    """Whether a position depends on those before it."""

    def __init__(self, grid: tuple[int, int], codes: int) -> None:
        super().__init__(name="code_prior", dtype="float32")
        self.grid, self.codes = tuple(grid), codes

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"grid": list(self.grid), "codes": self.codes}

    @property
    def positions(self) -> int:
        """P."""
        return self.grid[0] * self.grid[1]

    def logits(self, indices: tf.Tensor) -> tf.Tensor:
        """Return unnormalized log-probabilities, [N, P, K], for codes [N, P]."""
        return tf.zeros((tf.shape(indices)[0], self.positions, self.codes))

    def log_prob(self, indices: tf.Tensor) -> tf.Tensor:
        """Return log p(codes), [N], nats, for codes int32 [N, P]."""
        chosen = tf.one_hot(indices, self.codes) * tf.nn.log_softmax(self.logits(indices))
        return tf.reduce_sum(chosen, axis=(1, 2))

    def sample(self, noise: tf.Tensor, temperature: float) -> tf.Tensor:
        """Return codes int32 [N, P] for standard normal noise [N, P], one number per position.

        The code of a position is the quantile of its distribution at Phi(noise).
        """
        uniform = 0.5 * (1.0 + tf.math.erf(noise * np.float32(np.sqrt(0.5))))
        indices = tf.zeros(tf.shape(noise), tf.int32)
        if not self.sequential:
            return _quantiles(self.logits(indices) / temperature, uniform)
        places = tf.range(self.positions)

        def draw_next(position: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            drawn = _quantiles(self.logits(indices) / temperature, uniform)
            return position + 1, tf.where(places == position, drawn, indices)

        return tf.while_loop(lambda position, _: position < self.positions, draw_next, (0, indices))[1]


@keras.saving.register_keras_serializable(package="vaeflow_vq")
class Independent(CodePrior):
    """A distribution of codes for each position."""

    def __init__(self, grid: tuple[int, int], codes: int) -> None:
        super().__init__(grid, codes)
        self.table = self.add_weight(shape=(self.positions, codes), initializer="zeros", name="logits")
        self.built = True

    def logits(self, indices: tf.Tensor) -> tf.Tensor:
        """Return the same logits for all codes, [N, P, K]."""
        table = tf.convert_to_tensor(self.table)
        return tf.broadcast_to(table, tf.concat([tf.shape(indices)[:1], tf.shape(table)], axis=0))


@keras.saving.register_keras_serializable(package="vaeflow_vq")
class Autoregressive(CodePrior):
    """Masked convolutions over the map (PixelCNN; van den Oord, Kalchbrenner and Kavukcuoglu 2016), with gates.

    Args:
        grid: h and w.
        codes: K.
        width: channels.
        layers: masked layers after the first, each 3 x 3 and residual.
    """

    sequential = True

    def __init__(self, grid: tuple[int, int], codes: int, *, width: int, layers: int) -> None:
        super().__init__(grid, codes)
        self.width = width
        self.first = MaskedConvolution(codes, 2 * width, side=5, sees_itself=False)
        self.inner = [MaskedConvolution(width, 2 * width, side=3, sees_itself=True) for _ in range(layers)]
        self.last = keras.layers.Dense(codes, dtype="float32")
        self.last.build((None, width))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "width": self.width, "layers": len(self.inner)}

    def logits(self, indices: tf.Tensor) -> tf.Tensor:
        """Return logits of each position given those before it, [N, P, K]."""
        maps = tf.reshape(tf.one_hot(indices, self.codes), (-1, *self.grid, self.codes))
        h = _gated(self.first(maps))
        for layer in self.inner:
            h = h + _gated(layer(h))
        return tf.reshape(self.last(tf.nn.relu(h)), (-1, self.positions, self.codes))


@keras.saving.register_keras_serializable(package="vaeflow_vq")
class MaskedConvolution(keras.layers.Layer):
    """A convolution whose outputs see the positions above and to the left, and perhaps their own."""

    def __init__(self, inputs: int, outputs: int, *, side: int, sees_itself: bool) -> None:
        super().__init__(dtype="float32")
        self._config = {"inputs": inputs, "outputs": outputs, "side": side, "sees_itself": sees_itself}
        mask = np.zeros((side, side, 1, 1), np.float32)
        mask[: side // 2] = 1.0
        mask[side // 2, : side // 2 + sees_itself] = 1.0
        self.mask = mask
        initializer = keras.initializers.GlorotUniform()
        self.kernel = self.add_weight(shape=(side, side, inputs, outputs), initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(outputs,), initializer="zeros", name="bias")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return dict(self._config)

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Return [N, h, w, outputs] for [N, h, w, inputs]."""
        return tf.nn.conv2d(maps, self.kernel * self.mask, 1, "SAME") + self.bias


def _gated(h: tf.Tensor) -> tf.Tensor:
    value, gate = tf.split(h, 2, axis=-1)
    return tf.tanh(value) * tf.sigmoid(gate)


def _quantiles(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Return the first index whose cumulated probability is above a number from 0 to 1, int32 [N, P]."""
    cumulated = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    below = tf.reduce_sum(tf.cast(cumulated <= uniform[..., None], tf.float32), axis=-1)
    return tf.minimum(tf.cast(below, tf.int32), logits.shape[-1] - 1)
