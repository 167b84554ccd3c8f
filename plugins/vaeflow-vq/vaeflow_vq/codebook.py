"""A codebook whose vectors are averages of the encoder's outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

KEYS = 1 << 12  # few enough that averages over microbatches keep the integer


class _State(NamedTuple):
    """What the codebook knows of the encoder's outputs.

    Attributes:
        counts: [K] uses of each code per example.
        sums: [K, D] of the outputs that used each code, per example.
        restarts: how many codes were drawn again so far.
    """

    counts: tf.Tensor
    sums: tf.Tensor
    restarts: tf.Tensor


@keras.saving.register_keras_serializable(package="vaeflow_vq")
class Codebook(keras.layers.Layer):
    """K vectors of size D, each the average of the encoder's outputs that are closest to it.

    The averages are those of van den Oord et al. 2017, appendix A.1: N = decay N + (1 - decay) n and
    m = decay m + (1 - decay) s, where n and s are the number and the sum of a code's outputs, and the code is m / N.
    Here n and s are means over examples. So vaeflow's average over microbatches is that over the batch, and the
    codebook is the same on all replicas.

    At the start the codes are standard normal. A code that is used less than `restart_below` times as often as the
    average is drawn again, from a normal distribution with the mean and the variance of the encoder's outputs. What is
    drawn follows from the run's seed and the number of codes that were drawn before.

    Args:
        codes: K.
        size: D.
        positions: P, outputs per example.
        decay: of the averages, per step.
        restart_below: share of the average use; 0 draws no code again.
    """

    def __init__(self, codes: int, size: int, *, positions: int, decay: float, restart_below: float) -> None:
        super().__init__(name="codebook", dtype="float32")
        self.codes, self.size, self.positions = codes, size, positions
        self.decay, self.restart_below = decay, restart_below
        fixed = {"trainable": False}
        self.usual = positions / codes
        count, total = keras.initializers.Constant(self.usual), keras.initializers.RandomNormal(stddev=self.usual)
        self.counts = self.add_weight(shape=(codes,), initializer=count, name="counts", **fixed)
        self.sums = self.add_weight(shape=(codes, size), initializer=total, name="sums", **fixed)
        self.mean = self.add_weight(shape=(size,), initializer="zeros", name="mean", **fixed)
        self.square = self.add_weight(shape=(size,), initializer="ones", name="square", **fixed)
        self.restarts = self.add_weight(shape=(), initializer="zeros", name="restarts", **fixed)
        self.key = self.add_weight(shape=(), initializer=keras.initializers.RandomUniform(0, KEYS), name="key", **fixed)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {name: getattr(self, name) for name in ("codes", "size", "positions", "decay", "restart_below")}

    def table(self) -> tf.Tensor:
        """Return the codes of evaluations, [K, D]."""
        return _table(self._saved())

    def usage(self) -> tf.Tensor:
        """Return the average share of each code in training, [K]."""
        counts = tf.convert_to_tensor(self.counts)
        return tf.math.divide_no_nan(counts, tf.reduce_sum(counts))

    def nearest(self, outputs: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
        """Return the index of the closest code for outputs [..., D], int32 [...]."""
        distances = tf.reduce_sum(tf.square(table), axis=-1) - 2.0 * tf.linalg.matmul(outputs, table, transpose_b=True)
        return tf.argmin(distances, axis=-1, output_type=tf.int32)

    def call(self, outputs: tf.Tensor, valid: tf.Tensor, *, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Quantize.

        Args:
            outputs: of the encoder, [B, P, D].
            valid: [B], 1 for an example and 0 for padding.
            training: whether the averages take these outputs up.

        Returns:
            the index of each output's code, int32 [B, P], and the codes, [B, P, D], without a gradient.
        """
        outputs = tf.stop_gradient(outputs)
        state = self._with_restarts() if training else self._saved()
        table = _table(state)
        indices = self.nearest(outputs, table)
        if training:
            self._average(state, outputs, indices, valid)
        return indices, tf.gather(table, indices)

    def _saved(self) -> _State:
        return _State(*map(tf.convert_to_tensor, (self.counts, self.sums, self.restarts)))

    def _with_restarts(self) -> _State:
        """Return the state with new codes for those that are hardly used; it depends on no batch."""
        state = self._saved()
        unused = state.counts < self.restart_below * self.usual
        key, restarts = (tf.cast(tf.round(one), tf.int32) for one in (self.key, state.restarts))
        drawn = tf.random.stateless_normal((self.codes, self.size), tf.stack([key, restarts]), alg="philox")
        variance = tf.maximum(self.square - tf.square(self.mean), 1e-6)
        fresh = self.mean + tf.sqrt(variance) * drawn
        return _State(
            tf.where(unused, self.usual, state.counts),
            tf.where(unused[:, None], self.usual * fresh, state.sums),
            state.restarts + tf.reduce_sum(tf.cast(unused, tf.float32)),
        )

    def _average(self, state: _State, outputs: tf.Tensor, indices: tf.Tensor, valid: tf.Tensor) -> None:
        examples = tf.maximum(tf.reduce_sum(valid), 1.0)
        used = tf.one_hot(indices, self.codes) * valid[:, None, None]
        counts = tf.reduce_sum(used, axis=(0, 1)) / examples
        sums = tf.einsum("bpk,bpd->kd", used, outputs) / examples
        every = examples * self.positions
        mean, square = (tf.einsum("b,bpd->d", valid, one) / every for one in (outputs, tf.square(outputs)))
        self.counts.assign(self._mixed(state.counts, counts))
        self.sums.assign(self._mixed(state.sums, sums))
        self.mean.assign(self._mixed(self.mean, mean))
        self.square.assign(self._mixed(self.square, square))
        self.restarts.assign(state.restarts)

    def _mixed(self, before: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        return self.decay * before + (1.0 - self.decay) * now


def _table(state: _State) -> tf.Tensor:
    return state.sums / tf.maximum(state.counts, 1e-12)[:, None]
