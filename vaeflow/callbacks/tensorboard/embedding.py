"""The embedding projector: latent means with their labels and pictures.

The projector reads a TSV file of vectors, one of labels and a PNG sprite, all named in `projector_config.pbtxt`. It
ignores a folder without an event file, so these files are in the folder of the scalars.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins import projector

from vaeflow.files.write import write_text, written_aside
from vaeflow.plots.grid import is_image, tile

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.plots.examples import Examples

VECTORS, LABELS, SPRITE, CONFIG = "latents.tsv", "labels.tsv", "sprite.png", "projector_config.pbtxt"
LEAST_DIMENSIONS = 3
SPRITE_SIDE = 8192  # pixels; browsers take no larger texture


def write_projector(folder: Path, means: np.ndarray, examples: Examples) -> None:
    """Write latent means for the projector.

    Args:
        folder: where the event files are.
        means: [N, D], of the examples; below three dimensions, zeros are added.
        examples: N examples; missing labels are skipped, and so are pictures if the sprite would have more than 8192
            pixels per side.

    Raises:
        OSError: if writing fails.
    """
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = f"latent means ({examples.split})"
    embedding.tensor_path = VECTORS
    write_text(folder / VECTORS, _tsv(means))
    if examples.y is not None:
        write_text(folder / LABELS, "".join(f"{label}\n" for label in examples.y))
        embedding.metadata_path = LABELS
    if _fits(examples):
        _write_sprite(folder / SPRITE, examples.x)
        height, width = examples.x.shape[1:3]
        embedding.sprite.image_path = SPRITE
        embedding.sprite.single_image_dim.extend([width, height])
    write_text(folder / CONFIG, text_format.MessageToString(config))  # TensorBoard's own function writes in place


def _tsv(means: np.ndarray) -> str:
    # The projector draws nothing (its components are NaN) below three dimensions, so missing ones are set to zero.
    padded = np.pad(means, ((0, 0), (0, max(0, LEAST_DIMENSIONS - means.shape[1]))))
    return "".join("\t".join(f"{value:.6g}" for value in row) + "\n" for row in padded)


def _fits(examples: Examples) -> bool:
    shape = examples.x.shape[1:]
    return is_image(shape) and math.ceil(math.sqrt(len(examples.x))) * max(shape[:2]) <= SPRITE_SIDE


def _write_sprite(path: Path, images: np.ndarray) -> None:
    """Write images [N, H, W, C] as one of equally many rows and columns, which the projector expects."""
    side = math.ceil(math.sqrt(len(images)))
    square = np.zeros((side * side, *images.shape[1:]), np.float32)
    square[: len(images)] = images
    pixels = np.round(tile(square, side) * 255.0).astype(np.uint8)
    with written_aside(path) as aside:
        aside.write_bytes(tf.io.encode_png(pixels).numpy())
