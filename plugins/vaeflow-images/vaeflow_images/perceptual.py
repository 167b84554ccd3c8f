"""A perceptual distance of images, in the features of a network that the user names.

Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018,
equation 1, with all channels' weights 1.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import tensorflow as tf

from vaeflow.errors import UsageError

SMALLEST = 1e-10
"""Added to squared lengths of features."""


class Perceptual:
    """The squared distance of two images' features, of unit length over channels, a mean over positions.

    The network is not trained. A run that is loaded to sample or to evaluate does not need its file: the error comes
    with the first loss.

    Args:
        file: a .keras file of a network from images [B, H, W, C] to one or several maps of features [B, h, w, F].
        sha256: what the file must have; None allows any.

    Raises:
        UsageError: if the file can't be loaded, has code such as a Lambda layer, or another sum.
    """

    def __init__(self, file: str, sha256: str | None = None) -> None:
        self._file = file
        self._network = load(file, sha256) if Path(file).is_file() else None
        # As constants: variables would be trained, or be missed in the model. Those of a frozen network, in its order.
        variables = self._network.non_trainable_variables if self._network else []
        self._weights = [tf.constant(one.numpy()) for one in variables]

    def __call__(self, x: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Return the distance of each example, [B] float32, for images [B, H, W, C].

        Raises:
            UsageError: if the file was not there, or the network does not fit the images.
        """
        network = self._network
        if network is None:
            raise UsageError(f"objective.features: there is no file {self._file}")
        distance = tf.zeros(tf.shape(x)[:1])
        for one, two in zip(self._features(network, x), self._features(network, other), strict=True):
            squared = tf.reduce_sum(tf.square(one - two), axis=-1)
            distance += tf.reduce_mean(tf.reshape(squared, (tf.shape(squared)[0], -1)), axis=1)
        return distance

    def _features(self, network: keras.Model, x: tf.Tensor) -> list[tf.Tensor]:
        try:
            found, _ = network.stateless_call([], self._weights, x, training=False)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UsageError(f"objective.features: {self._file} can't take x {list(x.shape)}: {reason}") from error
        found = tf.nest.flatten(found)
        if any(one.shape.rank is None or one.shape.rank < 2 for one in found):
            raise UsageError(
                f"objective.features: {self._file} returns {[one.shape for one in found]}, not [B, ..., F]"
            )
        return [_unit(tf.cast(one, tf.float32)) for one in found]


def load(file: str, sha256: str | None) -> keras.Model:
    """Return the network of a .keras file, frozen; Keras's safe mode refuses code in it.

    Raises:
        UsageError: if it can't be loaded, or has another sum.
    """
    found = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    if sha256 is not None and sha256.lower() != found:
        raise UsageError(
            f"objective.features: {file} has the SHA-256 {found}, not objective.features_sha256 = {sha256}"
        )
    try:
        network = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"objective.features: {file} can't be loaded: {type(error).__name__}: {reason}") from error
    network.trainable = False
    return network


def _unit(features: tf.Tensor) -> tf.Tensor:
    return features * tf.math.rsqrt(tf.reduce_sum(tf.square(features), axis=-1, keepdims=True) + SMALLEST)
