"""Build the network of an architecture, without an effect on the caller's random numbers."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.engine.layer_state import layers_of
from vaeflow.training.build_model import build_model
from vaeflow.training.sanity_check.model import try_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import LatentVariableModel


def build_network(resolved: Resolved, x_shape: tuple[int, ...], classes: int) -> LatentVariableModel:
    """Build a model and call it once, so that layers that are built on their first call have their weights.

    Args:
        resolved: the config and its components.
        x_shape: X.
        classes: C of a conditional model, else 0.

    Raises:
        VaeflowError: if a component can't be built, or breaks the contract.
    """
    with _own_random_numbers(resolved.config.seed):
        network = build_model(resolved, x_shape, classes=classes, seed_all=False)
        try_model(resolved.model, network, classes=classes)
    for layer in layers_of(network):
        layer.built = True  # heads and priors are not called as layers
    return network


@contextlib.contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Seed the generators of Python, which Keras's initializers use, and of NumPy; restore them afterwards."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
