"""The built-in plots, registered like those of any plugin. Matplotlib is not imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.plugins.hookspecs import hookimpl
from vaeflow.plugins.records import Component

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from vaeflow.plots import Plot, Subject


def latents() -> Plot:
    """Posterior means of held-out examples, coloured by label, as in the article."""

    def plot(subject: Subject) -> Figure:
        from vaeflow.plots import latents

        return latents.draw(subject.trained, subject.examples, caption=subject.caption)

    return plot


def reconstructions() -> Plot:
    """Held-out images, each above its reconstruction."""

    def plot(subject: Subject) -> Figure | None:
        from vaeflow.plots import reconstructions

        if not _draws_images(subject):
            return None
        return reconstructions.draw(subject.trained, subject.examples, caption=subject.caption)

    return plot


def samples() -> Plot:
    """Expected images of latents drawn from the prior: by label, and by group of latents, if there are several."""

    def plot(subject: Subject) -> Figure | None:
        from vaeflow.plots import samples

        return samples.draw(subject.trained, caption=subject.caption) if _draws_images(subject) else None

    return plot


def manifold() -> Plot:
    """Images over a latent plane, as in the article; only with two latent dimensions and without labels."""

    def plot(subject: Subject) -> Figure | None:
        from vaeflow.plots import manifold

        fits = _draws_images(subject) and manifold.fits(subject.trained)
        return manifold.draw(subject.trained, caption=subject.caption) if fits else None

    return plot


def traversals() -> Plot:
    """Images for changes of each latent dimension, by group; not drawn with two, where the manifold shows it."""

    def plot(subject: Subject) -> Figure | None:
        from vaeflow.plots import manifold, traversals

        fits = _draws_images(subject) and not manifold.fits(subject.trained)
        return traversals.draw(subject.trained, subject.examples, caption=subject.caption) if fits else None

    return plot


def curves() -> Plot:
    """The ELBO, log-likelihood and KL(q, p) over training, and the last by group of latents if there are several."""

    def plot(subject: Subject) -> Figure | None:
        from vaeflow.plots import curves

        return None if subject.metrics is None else curves.draw(subject.metrics, caption=subject.caption)

    return plot


def _draws_images(subject: Subject) -> bool:
    from vaeflow.plots.grid import is_image

    return is_image(subject.trained.x_shape)


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the plots."""
    for build in (latents, reconstructions, samples, manifold, traversals, curves):
        yield Component("plot", build.__name__, build)
