"""The hooks that a plugin may implement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, cast

import pluggy

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from os import PathLike

    from vaeflow.plugins.records import Component

NAMESPACE = "vaeflow"
"""The name of the pluggy project, and of the entry-point group of plugins."""

_Hook = TypeVar("_Hook", bound=Callable[..., object])
hookspec = cast("Callable[[_Hook], _Hook]", pluggy.HookspecMarker(NAMESPACE))
hookimpl = cast("Callable[[_Hook], _Hook]", pluggy.HookimplMarker(NAMESPACE))
"""Marks a function as the implementation of a hook."""


@hookspec
def vaeflow_components() -> Iterable[Component]:
    """Return the components of a plugin.

    It is called once for each run, before TensorFlow is imported, so import TensorFlow inside the build functions.

    Example, a complete plugin in one module `vaeflow_resnet.py`:

        from vaeflow import Component, hookimpl

        def resnet(x_shape: tuple[int, int, int], *, depth: int = 20, width: int = 64):
            \"\"\"Residual encoder: [B, H, W, C] images to [B, F] features.\"\"\"
            import keras
            ...
            return keras.Model(images, features)

        @hookimpl
        def vaeflow_components():
            yield Component("encoder", "resnet", resnet)

    `vaeflow train mnist-2d encoder=resnet encoder.depth=32 --plugin vaeflow_resnet.py` uses it without
    installing it. An installed distribution is found by an entry point in its pyproject.toml:

        [project.entry-points.vaeflow]
        resnet = "vaeflow_resnet"

    Returns:
        The components, as any iterable (a generator is usual).
    """
    raise NotImplementedError  # A specification is never called.


@hookspec
def vaeflow_recipes() -> Iterable[str | PathLike[str] | Traversable]:
    """Return the TOML files of a plugin that are recipes.

    `vaeflow train NAME` trains NAME.toml. A recipe may be based on another one by `recipe = "mnist-2d"`. Its first line
    is a comment, which `vaeflow recipes` prints. The files are part of the package; each is read once for each command
    that loads plugins, so there is no cost but that of reading it.

    Example, a package `vaeflow_wide` with a file `recipes/wide-mnist.toml`:

        from importlib.resources import files

        from vaeflow import hookimpl

        @hookimpl
        def vaeflow_recipes():
            return [files("vaeflow_wide") / "recipes" / "wide-mnist.toml"]

    Returns:
        Absolute paths, or those of `importlib.resources.files`, as any iterable.
    """
    raise NotImplementedError  # A specification is never called.
