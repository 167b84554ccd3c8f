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
    from collections.abc import Mapping
    from pathlib import Path

    from vaeflow.plots.examples import Examples

LABELS, SPRITE, CONFIG = "labels.tsv", "sprite.png", "projector_config.pbtxt"
LEAST_DIMENSIONS = 3
SPRITE_SIDE = 8192  # pixels; browsers take no larger texture


def write_projector(folder: Path, means: Mapping[str, np.ndarray], examples: Examples) -> None:
    """Write latent means for the projector, `latents.tsv`, or `latents_GROUP.tsv` if there are several groups.

    Args:
        folder: where the event files are.
        means: [N, *shape] by group, of the examples; below three dimensions, zeros are added.
        examples: N examples; missing labels are skipped, and so are pictures if the sprite would have more than 8192
            pixels per side.

    Raises:
        OSError: if writing fails.
    """
    config = projector.ProjectorConfig()
    if examples.y is not None:
        write_text(folder / LABELS, "".join(f"{label}\n" for label in examples.y))
    if _fits(examples):
        _write_sprite(folder / SPRITE, examples.x)
    for name, of_group in means.items():
        several = len(means) > 1
        vectors = f"latents_{name}.tsv" if several else "latents.tsv"
        write_text(folder / vectors, _tsv(of_group.reshape((len(of_group), -1))))
        group = f" of {name}" if several else ""
        _describe(config.embeddings.add(), f"latent means{group} ({examples.split})", vectors, examples)
    write_text(folder / CONFIG, text_format.MessageToString(config))  # TensorBoard's own function writes in place


def _describe(embedding: projector.EmbeddingInfo, name: str, vectors: str, examples: Examples) -> None:
    embedding.tensor_name, embedding.tensor_path = name, vectors
    if examples.y is not None:
        embedding.metadata_path = LABELS
    if _fits(examples):
        height, width = examples.x.shape[1:3]
        embedding.sprite.image_path = SPRITE
        embedding.sprite.single_image_dim.extend([width, height])


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
