"""The aggregated posterior q(z) = 1/N sum_j q(z given x_j), and the mutual information of x and z.

With z_i from q(z given x_i), averages over i estimate

    KL(q(z given x), p(z))  =  I(x; z) + KL(q(z), p(z))                        (Hoffman and Johnson 2016)
    KL(q(z), p(z))          =  total correlation + sum_d KL(q(z_d), p(z_d))    (Chen et al. 2018, equation 2)

where the second line needs a prior of independent dimensions. q(z_i) is computed from all N posteriors, not from a
minibatch: B samples and B posteriors are in memory at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.components.one_group import OneGroup
from vaeflow.contracts import Findings, Histogram
from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.distributions.normal import log_normal

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution, WholeSplit

BINS = 40
DRAWN = 12  # histograms: those of the dimensions whose posteriors' means vary most


@dataclass(frozen=True)
class Densities:
    """Log-densities of one sample of z for each of N examples, nats.

    Attributes:
        z: [N, D].
        own: log q(z given x), [N].
        prior: log p(z), [N].
        aggregated: log q(z), [N].
        means: of q(z given x), [N, D].
        dimensions: log q(z_d) - log p(z_d), [N, D]; None unless q and p are normal with independent dimensions.
    """

    z: np.ndarray
    own: np.ndarray
    prior: np.ndarray
    aggregated: np.ndarray
    means: np.ndarray
    dimensions: np.ndarray | None


class MutualInformation:
    """I(x; z) under q, in nats: KL(q(z given x), p(z)) less KL(q(z), p(z)), from the same samples.

    Args:
        examples: the first ones of the split that are used, at most.
    """

    whole_split = True

    def __init__(self, examples: int) -> None:
        self._examples = examples

    def __call__(self, split: WholeSplit) -> Findings:
        """Return the estimate, its standard error over examples, log N, which it can't exceed, and both divergences."""
        found = densities(split, self._examples, "mutual-information")
        value, error = _mean(found.own - found.aggregated)
        return Findings(
            {
                "": value,
                "standard_error": error,
                "limit": math.log(len(found.own)),
                "rate": _mean(found.own - found.prior)[0],
                "aggregated_kl": _mean(found.aggregated - found.prior)[0],
            },
            about={"examples": len(found.own)},
        )


class AggregatedPosterior:
    """KL(q(z), p(z)) in nats, its parts, and the moments of q(z) beside those of p(z).

    Args:
        examples: as for `MutualInformation`.
    """

    whole_split = True

    def __init__(self, examples: int) -> None:
        self._examples = examples

    def __call__(self, split: WholeSplit) -> Findings:
        """Return the divergences, moments by dimension, and histograms."""
        found = densities(split, self._examples, "aggregated-posterior")
        drawn = _prior_samples(split, len(found.z))
        value, error = _mean(found.aggregated - found.prior)
        values = {"": value, "standard_error": error}
        arrays = {
            "mean": found.z.mean(0),
            "variance": found.z.var(0),
            "prior_mean": drawn.mean(0),
            "prior_variance": drawn.var(0),
        }
        about: dict[str, object] = {"examples": len(found.z)}
        if found.dimensions is None:
            about["dimension_kl"] = "not known: posterior or prior are not normal with independent dimensions"
        else:
            arrays["dimension_kl"] = found.dimensions.mean(0)
            values["dimension_kl"] = float(arrays["dimension_kl"].sum())
            values["total_correlation"] = value - values["dimension_kl"]
        return Findings(values, arrays, about, tuple(_histograms(found, drawn)))


def densities(split: WholeSplit, limit: int, metric: str) -> Densities:
    """Return the log-densities for the first examples of a split.

    Args:
        split: with the model.
        limit: most examples.
        metric: that needs them, for errors.

    Raises:
        UsageError: if the model has several groups of latents, or codes, or a posterior whose density is known only at
            its own samples.
    """
    group, count = OneGroup.of(split, metric), min(limit, split.examples)

    def rows(first: tf.Tensor) -> tf.Tensor:
        terms = split.terms(first, 1)
        q, p, z = terms.q[group.name], terms.p[group.name], terms.z[group.name][0]
        prior = _by_dimension(p, z) if type(q) is DiagonalNormal else None
        joint, each = _aggregated(split, group.name, z, count, by_dimension=prior is not None)
        columns = [terms.log_q[0][:, None], terms.log_p[0][:, None], joint[:, None]]
        columns += [tf.reshape(z, (split.rows, -1)), tf.reshape(_mean_of(q, z), (split.rows, -1))]
        none = tf.fill((split.rows, group.size), math.nan)
        columns.append(each - prior if each is not None and prior is not None else none)
        return tf.concat(columns, axis=1)

    try:
        table = split.table("densities", rows, 3 + 3 * group.size, count)
    except NotImplementedError as error:
        raise UsageError(
            f"metric {metric!r} needs log q of any z, but this posterior knows it only of its own samples: {error}"
        ) from error
    own, prior, aggregated = table[:, :3].T
    z, means, dimensions = np.split(table[:, 3:], 3, axis=1)
    return Densities(z, own, prior, aggregated, means, None if np.isnan(dimensions).all() else dimensions)


def _aggregated(
    split: WholeSplit, name: str, z: tf.Tensor, count: int, *, by_dimension: bool
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return log q(z) [B], and log q(z_d) [B, D] if it is wanted, of z [B, *shape] by all `count` posteriors."""
    rows = split.rows
    width = 1 + (z.shape[1] if by_dimension else 0)

    def step(block: tf.Tensor, largest: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        q = split.terms(block * rows, 1).q[name]
        if isinstance(q, DiagonalNormal) and by_dimension:
            one = log_normal(z[:, None], q.mu, q.log_var)  # [B, B of the block, D]
            found = tf.concat([tf.reduce_sum(one, axis=-1, keepdims=True), one], axis=-1)
        else:
            found = q.log_prob(tf.repeat(z[:, None], rows, axis=1))[..., None]
        inside = block * rows + tf.range(rows, dtype=tf.int64) < count
        found = tf.where(inside[None, :, None], found, -math.inf)
        new = tf.maximum(largest, tf.reduce_max(found, axis=1))
        weights = tf.reduce_sum(tf.cast(tf.exp(found - new[:, None]), tf.float64), axis=1)
        return block + 1, new, total * tf.exp(tf.cast(largest - new, tf.float64)) + weights

    first = (tf.constant(0, tf.int64), tf.fill((rows, width), -math.inf), tf.zeros((rows, width), tf.float64))
    blocks = -(-count // rows)
    _, largest, total = tf.while_loop(lambda block, *_: block < blocks, step, first, parallel_iterations=1)
    found = largest + tf.cast(tf.math.log(total) - math.log(count), tf.float32)
    return found[:, 0], found[:, 1:] if by_dimension else None


def _by_dimension(p: Distribution, z: tf.Tensor) -> tf.Tensor | None:
    """Return log p(z_d) of z [B, D], [B, D], of a normal prior; None for others."""
    if type(p) is StandardNormal:
        return log_normal(z, tf.zeros(()), 0.0)
    if isinstance(p, DiagonalNormal):
        return log_normal(z, p.mu, p.log_var)
    return None


def _mean_of(q: Distribution, z: tf.Tensor) -> tf.Tensor:
    mean = q.mean()
    return mean if mean.shape.rank == z.shape.rank else z


def _prior_samples(split: WholeSplit, count: int) -> np.ndarray:
    """Return samples of p(z), [count, D]: for labels, as many of each class as the examples have."""
    group = OneGroup.of(split, "aggregated-posterior")

    def rows(first: tf.Tensor) -> tf.Tensor:
        prior = split.terms(first, 1).p[group.name]
        drawn = prior.sample(split.normal("prior", first, group.prior_noise_size)[None])
        return tf.reshape(drawn, (split.rows, -1))

    return split.table("prior", rows, group.size, count)


def _histograms(found: Densities, drawn: np.ndarray) -> list[Histogram]:
    """Return histograms of z beside those of the prior, of the dimensions whose posteriors' means vary most."""
    order = np.argsort(-found.means.var(0), kind="stable")[:DRAWN]
    histograms = []
    for dimension in sorted(order.tolist()):
        both = np.concatenate([found.z[:, dimension], drawn[:, dimension]])
        edges = np.linspace(both.min(), both.max() + 1e-6, BINS + 1)
        density, expected = (np.histogram(v[:, dimension], edges, density=True)[0] for v in (found.z, drawn))
        histograms.append(Histogram(f"dimension {dimension}", edges, density, expected, "z"))
    return histograms


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return float(values.mean()), error
