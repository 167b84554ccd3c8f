"""The terms of the KL divergence of all groups, and the model's penalty, as columns of a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.model.latents import zero_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from vaeflow.contracts import LatentVariableModel, Player, Terms


@dataclass(frozen=True)
class Columns:
    """The columns: K of each group of latents; the penalty if the model has one; the loss of each player.

    Attributes:
        widths: K by group.
        dimensions: D by group, the number of its latents.
        vectors: the groups that are vectors.
        penalty: whether there is a column for the model's penalty.
        players: their names, in training; an evaluation has none.
    """

    widths: Mapping[str, int]
    dimensions: Mapping[str, int]
    vectors: frozenset[str]
    penalty: bool
    players: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: LatentVariableModel, *, classes: int = 0, players: Sequence[Player] = ()) -> Columns:
        """Return the columns of a model, by a forward pass.

        Args:
            model: any model.
            classes: C of a conditional model, else 0.
            players: in training.
        """
        x, noise, labels = zero_inputs(model, rows=1, classes=classes)
        terms = model.terms(x, noise, labels=labels)
        widths = {group.name: int(terms.kl_terms[group.name].shape[1]) for group in model.latents}
        dimensions = {group.name: math.prod(group.shape) for group in model.latents}
        vectors = frozenset(group.name for group in model.latents if len(group.shape) == 1)
        names = tuple(player.name for player in players)
        return cls(widths, dimensions, vectors, terms.penalty is not None, names)

    @property
    def count(self) -> int:
        """The number of columns."""
        return sum(self.widths.values()) + self.penalty + len(self.players)

    def by_group(self, columns: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each group's own columns, [..., K]."""
        first = 0
        for name, width in self.widths.items():
            yield name, columns[..., first : first + width]
            first += width

    def scalars(self, columns: np.ndarray) -> dict[str, float]:
        """Return KL(q, p) of each group as `kl/GROUP` if there are several, `penalty` if there is one, `loss/PLAYER`.

        Args:
            columns: means over examples.
        """
        groups = dict(self.by_group(columns)) if len(self.widths) > 1 else {}
        found = {f"kl/{name}": float(terms.sum()) for name, terms in groups.items()}
        rest = [*(["penalty"] if self.penalty else []), *(f"loss/{name}" for name in self.players)]
        return found | dict(zip(rest, map(float, columns[sum(self.widths.values()) :]), strict=True))

    def per_dimension(self, split: str, columns: np.ndarray) -> dict[str, np.ndarray]:
        """Return KL(q, p) of each latent dimension, [D] nats, for vectors whose divergence is a sum over dimensions.

        Args:
            split: its name is the key, or `SPLIT/GROUP` if there are several groups.
            columns: means over examples.
        """
        return {
            self.key(split, name): terms
            for name, terms in self.by_group(columns)
            if name in self.vectors and self.widths[name] == self.dimensions[name]
        }

    def key(self, split: str, group: str) -> str:
        """Return the name of a group's values of a split: `SPLIT`, or `SPLIT/GROUP` if there are several groups."""
        return split if len(self.widths) == 1 else f"{split}/{group}"


def columns_of(terms: Terms) -> tf.Tensor:
    """Return the columns of each example, [B, count] nats."""
    found = list(terms.kl_terms.values())
    if terms.penalty is not None:
        found.append(terms.penalty[:, None])
    return found[0] if len(found) == 1 else tf.concat(found, axis=1)
