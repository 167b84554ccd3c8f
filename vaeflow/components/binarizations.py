"""Binarizations: turn stored pixels in [0, 1] into the model's input x.

ELBOs of different binarizations cannot be compared, so report the binarization with every metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import Binarization


@dataclass(frozen=True)
class Threshold:
    """1 where a pixel is above a level, else 0.

    Attributes:
        level: in [0, 1).
    """

    level: float
    noise = "none"

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:  # noqa: ARG002
        """Return x [B, *X] float32, 0 or 1."""
        import tensorflow as tf

        return tf.cast(pixels > self.level, tf.float32)


@dataclass(frozen=True)
class Sampled:
    """1 with the pixel's intensity as probability, else 0.

    Attributes:
        noise: 'step' for a new sample at every step, 'example' for one fixed sample.
    """

    noise: str

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Return x [B, *X] float32, 0 or 1, for uniform noise in (0, 1) of the same shape.

        Raises:
            TypeError: if there is no noise.
        """
        import tensorflow as tf

        if noise is None:
            raise TypeError("a sampled binarization needs uniform noise of the pixels' shape")
        return tf.cast(noise < pixels, tf.float32)


@dataclass(frozen=True)
class Unchanged:
    """Pixels without binarization."""

    noise = "none"

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:  # noqa: ARG002
        """Return x [B, *X] float32, in [0, 1]."""
        import tensorflow as tf

        return tf.cast(pixels, tf.float32)


def threshold(*, level: Annotated[float, Field(ge=0, lt=1)] = 0.5) -> Binarization:
    """1 where a pixel is above a level, else 0; the article's data set, in which bytes above 127.5 are 1.

    Args:
        level: threshold in [0, 1); 0.5 separates the bytes 127 and 128.
    """
    return Threshold(level)


def dynamic() -> Binarization:
    """Samples every pixel again at every step: 1 with its intensity as probability.

    This is the data set of Burda, Grosse and Salakhutdinov (2015, importance weighted autoencoders).
    """
    return Sampled("step")


def fixed() -> Binarization:
    """Samples every pixel once, independent of the run's seed: 1 with its intensity as probability.

    The construction of Salakhutdinov and Murray (2008, on the quantitative analysis of deep belief networks). Most
    papers with "fixed" or "static" binarization use one file that Larochelle made in this way (50000, 10000 and 10000
    digits). vaeflow uses the same construction with other samples, not that file, so ELBOs are not exactly the same.
    """
    return Sampled("example")


def none() -> Binarization:
    """Keeps pixels in [0, 1], for likelihoods of real numbers, levels and counts: all but bernoulli."""
    return Unchanged()
