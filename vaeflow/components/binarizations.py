"""Binarizations: how stored pixels in [0, 1] become x.

Each makes another data set, and the ELBO of one cannot be compared with that of another: name it beside every figure.
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
    """1 where a pixel lies above a level, else 0.

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
    """1 with the probability that is the pixel's intensity, else 0.

    Attributes:
        noise: 'step' for a new draw at every step, 'example' for the same draw for ever.
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
    """Pixels as they are."""

    noise = "none"

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:  # noqa: ARG002
        """Return x [B, *X] float32, in [0, 1]."""
        import tensorflow as tf

        return tf.cast(pixels, tf.float32)


def threshold(*, level: Annotated[float, Field(ge=0, lt=1)] = 0.5) -> Binarization:
    """1 where a pixel lies above a level: the article's data set, whose bytes count as 1 above 127.5.

    Args:
        level: in [0, 1); 0.5 separates the bytes 127 and 128.
    """
    return Threshold(level)


def dynamic() -> Binarization:
    """Every pixel drawn anew at every step, 1 with its intensity as probability.

    This is the data set of Burda, Grosse and Salakhutdinov (2015, importance weighted autoencoders).
    """
    return Sampled("step")


def fixed() -> Binarization:
    """Every pixel drawn once for ever, 1 with its intensity as probability, whatever the run's seed.

    The construction of Salakhutdinov and Murray (2008, on the quantitative analysis of deep belief networks). Most
    papers that say "fixed" or "static" use one file that Larochelle made in this way (50000, 10000 and 10000 digits).
    Ours is the same construction with other draws, not that very file: its ELBOs are not exactly theirs.
    """
    return Sampled("example")


def none() -> Binarization:
    """Pixels as they are, in [0, 1]: for likelihoods of real numbers, such as continuous-bernoulli and gaussian."""
    return Unchanged()
