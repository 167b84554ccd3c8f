"""Masks of dense layers, [inputs, units], 1 where there is a weight.

Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", 2015. Latents have ranks 0 to D - 1. A hidden
unit of degree m depends on latents of rank below m, directly or through hidden units of degree m or less. The outputs
of rank r depend on hidden units of degree r or less, so only on latents of rank below r.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def ranks(latent_size: int, *, reverse: bool) -> np.ndarray:
    """Return the rank of each latent in the order, [D].

    >>> ranks(3, reverse=True).tolist()
    [2, 1, 0]
    """
    order = np.arange(latent_size)
    return order[::-1] if reverse else order


def autoregressive(latent_size: int, hidden: Sequence[int], *, reverse: bool) -> list[np.ndarray]:
    """Return the masks of a network from D latents to two numbers per latent that depend on lower ranks only.

    Degrees are spread evenly from 0 up, so a layer with fewer units than D lacks some connections. Units of degree
    0 depend on no latents, only on the other inputs of the network.

    Args:
        latent_size: D.
        hidden: units of each hidden layer.
        reverse: rank the last latent first.

    Returns:
        Masks [D, hidden[0]], ..., [hidden[-1], 2 D], float32.

    >>> first, last = autoregressive(2, [2], reverse=False)
    >>> first.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    >>> last.tolist()
    [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]
    """
    rank = ranks(latent_size, reverse=reverse)
    degrees = [np.arange(units) * latent_size // units for units in hidden]
    first = rank[:, None] < degrees[0]
    between = [before[:, None] <= after for before, after in itertools.pairwise(degrees)]
    last = degrees[-1][:, None] <= np.tile(rank, 2)
    return [mask.astype(np.float32) for mask in (first, *between, last)]


def full(inputs: int, hidden: Sequence[int], outputs: int) -> list[np.ndarray]:
    """Return the masks of a fully connected network.

    >>> [mask.shape for mask in full(2, [5], 3)]
    [(2, 5), (5, 3)]
    """
    return [np.ones(shape, np.float32) for shape in itertools.pairwise((inputs, *hidden, outputs))]
