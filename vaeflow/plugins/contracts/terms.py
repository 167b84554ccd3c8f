"""The results of one forward pass of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tensorflow as tf

    from vaeflow.plugins.contracts.distributions import Distribution


class PathGradient(Protocol):
    """Changes the gradient of samples and not their values, for objectives with `path_gradient = True`.

    `terms` of a model that supports it has a keyword `path`. If it is not None, the model passes the samples through it
    before it uses them, and computes log q of the result by `vaeflow.model.path_gradient.log_q_along_samples`, so that
    its gradient reaches the samples alone.
    """

    def weigh(self, weights_LB: tf.Tensor) -> None:
        """Multiply the gradient with respect to sample l of example b by `weights_LB[l, b]`. The objective calls it."""

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        """Return samples [L, B, D] with the same values."""


@dataclass(frozen=True)
class Terms:
    """The results of one forward pass for L samples of B examples. Groups of latents are in the model's order.

    Change one by `dataclasses.replace`, which computes `kl` again.

    Attributes:
        log_likelihood: log p(x given z), [L, B], nats.
        kl_terms: by group, [B, K] nats: the terms whose sum over K is the group's part of KL(q, p), in closed form or
            by Monte Carlo. K is 1 if they are not one per dimension.
        z: the latents by group, [L, B, *shape].
        log_q: log q(z given x) of these latents, summed over groups, [L, B], nats.
        q: the posterior of each group, given the groups above it.
        p: the prior of each group, given the groups above it; `log_prob` takes the group's z to [L, B].
        p_x: p(x given z), over [L, B].
        penalty: [B], what the model adds to the loss of each example, or None.
        valid: [B] float32, 1 for an example and 0 for padding; None if all are examples.
        labels: [B, C] one-hot float32, what the model was given; None without labels.
        x: [B, *X], the examples, for objectives that compare them with p(x given z). vaeflow sets it.
        path: changes the gradient of the samples, if the objective has `path_gradient = True`; else None.
        y: [B] int32, the label of each example, for metrics and objectives; None if the data have none.
        kl: KL(q, p), [B], nats: the sum of `kl_terms` over groups and K.
    """

    log_likelihood: tf.Tensor
    kl_terms: Mapping[str, tf.Tensor]
    z: Mapping[str, tf.Tensor]
    log_q: tf.Tensor
    q: Mapping[str, Distribution]
    p: Mapping[str, Distribution]
    p_x: Distribution
    penalty: tf.Tensor | None = None
    valid: tf.Tensor | None = None
    labels: tf.Tensor | None = None
    y: tf.Tensor | None = None
    x: tf.Tensor | None = None
    path: PathGradient | None = None
    kl: tf.Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Add up the divergence."""
        import tensorflow as tf

        groups = [tf.reduce_sum(terms, axis=-1) for terms in self.kl_terms.values()]
        object.__setattr__(self, "kl", reduce(lambda total, one: total + one, groups))

    @property
    def log_p(self) -> tf.Tensor:
        """Log p(z) of these latents, summed over groups, [L, B], nats; computed each time it is read."""
        groups = [self.p[name].log_prob(z) for name, z in self.z.items()]
        return reduce(lambda total, one: total + one, groups)
