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
from vaeflow.plots.palette import colours_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vaeflow.plots.examples import Examples

LABELS, SPRITE, CONFIG = "labels.tsv", "sprite.png", "projector_config.pbtxt"
LEAST_DIMENSIONS = 3
SPRITE_SIDE = 8192  # pixels; browsers take no larger texture
DISC, FRAME = 16, 2  # pixels: the side of a disc, the width of a frame
FAINT = 0.1  # fainter pixels are transparent


def write_projector(folder: Path, means: Mapping[str, np.ndarray], examples: Examples) -> None:
    """Write latent means for the projector, `latents.tsv`, or `latents_GROUP.tsv` if there are several groups.

    Args:
        folder: where the event files are.
        means: [N, *shape] by group, of the examples; below three dimensions, zeros are added.
        examples: N examples, whose pictures have the colours of their labels. Missing labels are skipped, and so are
            pictures if the sprite would have more than 8192 pixels per side.

    Raises:
        OSError: if writing fails.
    """
    config = projector.ProjectorConfig()
    if examples.y is not None:
        write_text(folder / LABELS, "".join(f"{label}\n" for label in examples.y))
    pictures = _shown(examples)
    if pictures is not None:
        _write_sprite(folder / SPRITE, pictures)
    for name, of_group in means.items():
        several = len(means) > 1
        vectors = f"latents_{name}.tsv" if several else "latents.tsv"
        write_text(folder / vectors, _tsv(of_group.reshape((len(of_group), -1))))
        group = f" of {name}" if several else ""
        embedding = config.embeddings.add(tensor_name=f"latent means{group} ({examples.split})", tensor_path=vectors)
        if examples.y is not None:
            embedding.metadata_path = LABELS
        if pictures is not None:
            embedding.sprite.image_path = SPRITE
            embedding.sprite.single_image_dim.extend([pictures.shape[2], pictures.shape[1]])
    write_text(folder / CONFIG, text_format.MessageToString(config))  # TensorBoard's own function writes in place


def _tsv(means: np.ndarray) -> str:
    # The projector draws nothing (its components are NaN) below three dimensions, so missing ones are set to zero.
    padded = np.pad(means, ((0, 0), (0, max(0, LEAST_DIMENSIONS - means.shape[1]))))
    return "".join("\t".join(f"{value:.6g}" for value in row) + "\n" for row in padded)


def _shown(examples: Examples) -> np.ndarray | None:
    """Return the picture of each point, [N, H, W, 3 or 4] in [0, 1], or None for plain points.

    The page itself can't be told to colour points by label, so the pictures have the colours: grey images become ink of
    the label's colour on a transparent ground, colour images get a frame, and other examples are discs.
    """
    count, shape, coloured = len(examples.x), examples.x.shape[1:], examples.y is not None and examples.y.ndim == 1
    if is_image(shape):
        images = np.clip(np.nan_to_num(examples.x), 0.0, 1.0)
    elif coloured:
        across = np.linspace(-1.0, 1.0, DISC)
        images = np.tile((np.hypot(*np.meshgrid(across, across)) <= 1.0)[None, :, :, None], (count, 1, 1, 1))
    else:
        return None
    if math.ceil(math.sqrt(count)) * max(images.shape[1:3]) > SPRITE_SIDE:
        return None
    if not coloured:
        return images
    colours = colours_of(np.asarray(examples.y))[:, None, None, :]
    if images.shape[-1] == 1:
        return np.concatenate([1.0 - (1.0 - colours) * images, images >= FAINT], axis=-1)
    framed = np.array(np.broadcast_to(colours, images.shape))
    framed[:, FRAME:-FRAME, FRAME:-FRAME] = images[:, FRAME:-FRAME, FRAME:-FRAME]
    return framed


def _write_sprite(path: Path, images: np.ndarray) -> None:
    """Write images [N, H, W, C] as one of equally many rows and columns, which the projector expects."""
    side = math.ceil(math.sqrt(len(images)))
    square = np.zeros((side * side, *images.shape[1:]), np.float32)
    square[: len(images)] = images
    pixels = np.round(tile(square, side) * 255.0).astype(np.uint8)
    with written_aside(path) as aside:
        aside.write_bytes(tf.io.encode_png(pixels).numpy())
