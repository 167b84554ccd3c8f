"""Images of reconstructions, samples, and the manifold or traversals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.plots import manifold, reconstructions, samples
from vaeflow.plots.traversals import Traversal

if TYPE_CHECKING:
    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples


NAMES = ("reconstructions", "samples", "manifold", "traversals")
"""The plots whose pictures `write_images` writes."""


def write_images(trained: TrainedVAE, examples: Examples, step: int) -> None:
    """Write reconstructions below originals, samples, and the manifold (two latent dimensions) or traversals.

    Args:
        trained: a model with images for examples.
        examples: held-out ones.
        step: optimizer steps taken.
    """
    pictures = {
        "images/reconstructions": reconstructions.picture(trained, examples),
        "images/samples": samples.picture(trained),
    }
    if len(trained.latents) > 1:
        pictures["images/samples_by_group"] = samples.picture_by_group(trained)
    if manifold.fits(trained):
        pictures["images/manifold"] = manifold.picture(trained)
    else:
        pictures["images/traversals"] = Traversal.of(trained, examples).picture()
    for name, picture in pictures.items():
        tf.summary.image(name, picture[None], step=step)
