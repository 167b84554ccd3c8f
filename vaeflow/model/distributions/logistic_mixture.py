"""Mixtures of discretized logistics (Salimans, Karpathy, Chen and Kingma 2017, "PixelCNN++").

Level k of K is y = 2 k / (K - 1) - 1 in [-1, 1], as in the paper. Its probability is that of the interval of half width
1 / (K - 1) around y; the intervals of the first and the last level have no outer end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example
from vaeflow.model.distributions.categorical import level_of

SMALLEST_LOG_SCALE = -7.0  # that of the paper's code
NARROW = 0.1  # below this width, in scales, the series of its logarithm is used


def log_width(log_scale: tf.Tensor, levels: int) -> tf.Tensor:
    """Return log(1 - e^-w) for the width w of an interval, in scales: w = 2 / (K - 1) / s.

    For small w, it is log w - w / 2 + w^2 / 24, finite for every scale, with a finite gradient.
    """
    log_w = math.log(2.0 / (levels - 1)) - log_scale
    w = tf.exp(log_w)
    narrow = w < NARROW
    safe = tf.where(narrow, tf.ones_like(w), w)
    small = tf.where(narrow, w, tf.zeros_like(w))
    return tf.where(narrow, log_w - 0.5 * small + tf.square(small) / 24.0, tf.math.log(-tf.math.expm1(-safe)))


def log_mass(level: tf.Tensor, mean: tf.Tensor, log_scale: tf.Tensor, levels: int) -> tf.Tensor:
    """Return the log-probability of each level under one discretized logistic, nats.

    With the ends a > b of the interval, in scales from the mean, sigmoid(a) - sigmoid(b) =
    sigmoid(a) sigmoid(-b) (1 - e^(b - a)): no difference of nearly equal numbers, so that far levels need none of the
    approximations of the paper's code.

    Args:
        level: from 0 to K - 1.
        mean: in [-1, 1], where the levels are.
        log_scale: logarithm of the logistic's scale s.
        levels: K.
    """
    inverse, half = tf.exp(-log_scale), 1.0 / (levels - 1)
    distance = 2.0 * half * level - 1.0 - mean
    below_upper = -tf.math.softplus(-inverse * (distance + half))
    above_lower = -tf.math.softplus(inverse * (distance - half))
    inside = below_upper + above_lower + log_width(log_scale, levels)
    return tf.where(level < 0.5, below_upper, tf.where(level > levels - 1.5, above_lower, inside))


def _sizes(x_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return how many logits, means, log scales and coefficients a place has for each of its logistics."""
    channels = x_shape[-1] if len(x_shape) == 3 else 1
    return 1, channels, channels, channels * (channels - 1) // 2


@dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """A mixture of M discretized logistics at each place, over its C channels together.

    The mean of a channel is shifted by the coefficients times the channels before it, as in the paper's equation 3.

    Attributes:
        logits: of the M weights, [..., *S, M] float32, for places S.
        means: [..., *S, C, M] in units of y.
        log_scales: [..., *S, C, M]; less than -7 is taken as -7, as in the paper's code.
        coefficients: [..., *S, C (C - 1) / 2, M], those of channel 1, then those of channel 2, and so on.
        rank: number of axes of S.
        levels: K.
        channel_axis: whether X is [*S, C]; otherwise C is 1 and X is S.
    """

    logits: tf.Tensor
    means: tf.Tensor
    log_scales: tf.Tensor
    coefficients: tf.Tensor
    rank: int
    levels: int
    channel_axis: bool

    @staticmethod
    def numbers_per_logistic(x_shape: tuple[int, ...]) -> int:
        """Return how many parameters a place has for each of its M logistics.

        >>> [DiscretizedLogisticMixture.numbers_per_logistic(shape) for shape in ((8, 8, 3), (8, 8, 1), (64,))]
        [10, 3, 3]
        """
        return sum(_sizes(x_shape))

    @classmethod
    def of(
        cls, parameters: tf.Tensor, x_shape: tuple[int, ...], mixtures: int, levels: int
    ) -> DiscretizedLogisticMixture:
        """Return the mixture of a decoder's outputs.

        Args:
            parameters: [..., H, W, M N] for images, else [..., *X[:-1], X[-1] M N], for N `numbers_per_logistic`: M
                logits, then the means, log scales and coefficients before tanh, of each channel in turn.
            x_shape: X; the last of three axes is that of channels.
            mixtures: M.
            levels: K.
        """
        image, sizes = len(x_shape) == 3, _sizes(x_shape)
        places = x_shape[:-1] if image else x_shape
        lead = tf.shape(parameters)[: parameters.shape.rank - len(x_shape)]
        by_place = tf.reshape(parameters, tf.concat([lead, (*places, sum(sizes), mixtures)], axis=0))
        logits, means, log_scales, coefficients = tf.split(by_place, sizes, axis=-2)
        coefficients = tf.math.tanh(coefficients)
        return cls(logits[..., 0, :], means, log_scales, coefficients, len(places), levels, channel_axis=image)

    @property
    def mean_is_exact(self) -> bool:
        """Whether `mean` is the mean: only for one channel."""
        return self.means.shape[-2] == 1

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return levels in [0, 1] for uniform noise in (0, 1), [..., *X].

        Each channel comes from the quantile function of its distribution given the channels before it.
        """
        log_weights = tf.nn.log_softmax(self.logits)
        found: list[tf.Tensor] = []
        for channel, uniform in enumerate(self._channels(noise)):
            logistics = self._logistics(channel, found)
            found.append(self._quantile(uniform, log_weights, *logistics))
            log_weights = tf.nn.log_softmax(log_weights + log_mass(found[-1], *logistics, self.levels))
        return self._joined(found) / (self.levels - 1.0)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of the levels nearest to x [..., *X], [...] in nats."""
        found = self._channels(level_of(value, self.levels))
        total = tf.nn.log_softmax(self.logits)
        for channel, level in enumerate(found):
            total += log_mass(level, *self._logistics(channel, found), self.levels)
        return sum_example(tf.reduce_logsumexp(total, axis=-1), self.rank)

    def mean(self) -> tf.Tensor:
        """Return the expected x, [..., *X] in [0, 1].

        With several channels it is near the mean: in each logistic, a channel's mean is that given the means of the
        channels before it. The two differ where levels are cut off at the ends.
        """
        found: list[tf.Tensor] = []
        for channel in range(self.means.shape[-2]):
            found.append(self._expected_level(*self._logistics(channel, found)))
        weights = tf.exp(tf.nn.log_softmax(self.logits))
        mixed = [tf.reduce_sum(weights * level, axis=-1, keepdims=True) for level in found]
        return self._joined(mixed) / (self.levels - 1.0)

    def _channels(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Return each channel of [..., *X], [..., *S, 1]."""
        return [channel[..., None] for channel in tf.unstack(x if self.channel_axis else x[..., None], axis=-1)]

    def _joined(self, channels: list[tf.Tensor]) -> tf.Tensor:
        """Return [..., *X] of channels [..., *S, 1]."""
        return tf.concat(channels, axis=-1) if self.channel_axis else channels[0][..., 0]

    def _logistics(self, channel: int, before: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return means and log scales [..., *S, M] of a channel, given the levels of those before it."""
        mean, first = self.means[..., channel, :], channel * (channel - 1) // 2
        for index in range(channel):
            y = 2.0 * before[index] / (self.levels - 1.0) - 1.0
            mean += self.coefficients[..., first + index, :] * y
        return mean, tf.maximum(self.log_scales[..., channel, :], SMALLEST_LOG_SCALE)

    def _from(self, level: tf.Tensor, mean: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
        """Return the probability of a level and those above it, for levels of 1 or more."""
        lower_end = (2.0 * level - 1.0) / (self.levels - 1.0) - 1.0
        return tf.math.sigmoid((mean - lower_end) * tf.exp(-log_scale))

    def _quantile(self, noise: tf.Tensor, log_weights: tf.Tensor, mean: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
        """Return the largest level below which is less probability than the noise [..., *S, 1], by bisection."""
        weights, level = tf.exp(log_weights), tf.zeros_like(noise)
        for power in reversed(range((self.levels - 1).bit_length())):
            higher = level + float(2**power)
            from_it = tf.reduce_sum(weights * self._from(higher, mean, log_scale), axis=-1, keepdims=True)
            level = tf.where((higher < self.levels) & (1.0 - from_it < noise), higher, level)
        return level

    def _expected_level(self, mean: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
        """Return the mean level of each logistic: the sum over k of the probability of k and those above it."""
        return tf.while_loop(
            lambda level, _: level < self.levels,
            lambda level, total: (level + 1.0, total + self._from(level, mean, log_scale)),
            (tf.constant(1.0), tf.zeros_like(mean)),
        )[1]
