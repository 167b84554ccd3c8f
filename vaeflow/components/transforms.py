"""Built-in transforms of stored pixels, which run on the device before binarization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import tensorflow as tf

    from vaeflow.contracts import Transform

Pixels = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class FunctionTransform:
    """A transform by a function of pixels and noise, see `vaeflow.contracts.Transform`.

    Attributes:
        x_shape: X of its output.
        function: takes pixels [B, ...] and noise [B, noise_size] or None, and returns pixels [B, *X].
        noise: 'none', 'step' or 'example'.
        noise_size: uniform random numbers per example.
        training_only: whether evaluations skip it.
    """

    x_shape: tuple[int, ...]
    function: Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]
    noise: str = "none"
    noise_size: int = 0
    training_only: bool = False

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Return the transformed pixels."""
        return self.function(pixels, noise)


def pad(x_shape: tuple[int, ...], *, pixels: Pixels = 2) -> Transform:
    """Adds black pixels around an image: [B, H, W, C] to [B, H + 2 pixels, W + 2 pixels, C].

    Args:
        x_shape: (H, W, C).
        pixels: on each side; 2 turns MNIST's 28 by 28 into 32 by 32.

    Raises:
        UsageError: if x is not an image.
    """
    height, width, channels = _image("pad", x_shape)

    def padded(images: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:  # noqa: ARG001
        import tensorflow as tf

        return tf.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))

    return FunctionTransform((height + 2 * pixels, width + 2 * pixels, channels), padded)


def downsample(x_shape: tuple[int, ...], *, factor: Annotated[int, Field(ge=2)] = 2) -> Transform:
    """Averages each square of pixels: [B, H, W, C] to [B, H / factor, W / factor, C].

    Args:
        x_shape: (H, W, C), H and W divisible by the factor.
        factor: side of a square in pixels.

    Raises:
        UsageError: if x is not an image, or the factor does not divide it.
    """
    height, width, channels = _image("downsample", x_shape)
    if height % factor or width % factor:
        raise UsageError(f"transform 'downsample': factor = {factor} does not divide {height}x{width} pixels")

    def pooled(images: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:  # noqa: ARG001
        import tensorflow as tf

        return tf.nn.avg_pool2d(images, factor, factor, "VALID")

    return FunctionTransform((height // factor, width // factor, channels), pooled)


def shift(x_shape: tuple[int, ...], *, pixels: Pixels = 2) -> Transform:
    """Augmentation: shifts each training image by a random number of pixels, and fills with black.

    Evaluations and plots use unshifted images.

    Args:
        x_shape: (H, W, C).
        pixels: largest shift in each direction; all shifts from -pixels to pixels are equally probable.

    Raises:
        UsageError: if x is not an image.
    """
    height, width, channels = _image("shift", x_shape)

    def shifted(images: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        import tensorflow as tf

        start = tf.cast(noise * (2 * pixels + 1), tf.int32)  # type: ignore[operator]  # [B, 2], from 0 to 2 pixels
        around = tf.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
        rows = tf.gather(around, start[:, :1] + tf.range(height), axis=1, batch_dims=1)
        return tf.gather(rows, start[:, 1:] + tf.range(width), axis=2, batch_dims=1)

    return FunctionTransform((height, width, channels), shifted, noise="step", noise_size=2, training_only=True)


def dequantize(x_shape: tuple[int, ...], *, levels: Annotated[int, Field(ge=2)] = 256) -> Transform:
    """Adds uniform noise that fills the gap between brightnesses: (levels - 1) / levels of the pixel plus u / levels.

    For continuous likelihoods of bytes (Theis, van den Oord and Bethge 2016); sampled again at every step.

    Args:
        x_shape: X, any shape.
        levels: number of brightnesses of a stored pixel.
    """
    size = 1
    for side in x_shape:
        size *= side

    def dequantized(pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        import tensorflow as tf

        return (pixels * (levels - 1) + tf.reshape(noise, tf.shape(pixels))) / levels

    return FunctionTransform(tuple(x_shape), dequantized, noise="step", noise_size=size)


def _image(name: str, x_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(x_shape) != 3:
        raise UsageError(
            f"transform {name!r} needs images (height, width, channels), but an example has shape {x_shape}"
        )
    height, width, channels = x_shape
    return height, width, channels
