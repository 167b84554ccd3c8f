"""Built-in metrics: a value per example, whose mean evaluations log by name, or values of a whole split."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import Metric, SplitMetric, Terms

Many = Annotated[int, Field(ge=2)]


def iw_bound() -> Metric:
    """The importance-weighted bound on log p(x), nats (Burda, Grosse and Salakhutdinov 2015, equation 8).

    With one sample it is an estimate of the ELBO; `evaluate.samples` sets the number of samples.
    """

    def metric(x: tf.Tensor, terms: Terms) -> tf.Tensor:  # noqa: ARG001
        import tensorflow as tf

        log_weights = terms.log_likelihood + terms.log_p - terms.log_q
        return tf.reduce_logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])

    return metric


def squared_error() -> Metric:
    """The squared distance between x and the expected x given z, summed over the elements of x, mean over samples."""

    def metric(x: tf.Tensor, terms: Terms) -> tf.Tensor:
        import tensorflow as tf

        squared = tf.square(x - terms.p_x.mean())  # [L, B, *X]
        return tf.reduce_mean(tf.reduce_sum(squared, axis=list(range(2, len(squared.shape)))), axis=0)

    return metric


def rate_distortion() -> SplitMetric:
    """KL(q, p) and -E log p(x given z), in nats and in bits per element of x (Alemi et al. 2018)."""
    from vaeflow.components.rates import RateDistortion

    return RateDistortion()


def reconstruction_error() -> SplitMetric:
    """The difference of x from the expected x given the posterior's means: squared, and absolute, per element of x."""
    from vaeflow.components.rates import ReconstructionError

    return ReconstructionError()


def mutual_information(*, examples: Many = 10_000) -> SplitMetric:
    """I(x; z) under q in nats: the mean KL(q, p) less that of the aggregated posterior (Hoffman and Johnson 2016).

    Args:
        examples: the first ones of the split that are used, at most; time grows with their square.
    """
    from vaeflow.components.aggregated_posterior import MutualInformation

    return MutualInformation(examples)


def aggregated_posterior(*, examples: Many = 10_000) -> SplitMetric:
    """KL of the aggregated posterior from the prior in nats, by dimension too; moments and histograms of both.

    Args:
        examples: the first ones of the split that are used, at most; time grows with their square.
    """
    from vaeflow.components.aggregated_posterior import AggregatedPosterior

    return AggregatedPosterior(examples)


def calibration(*, simulations: Many = 1000, draws: Many = 99) -> SplitMetric:
    """How far q(z given x) is from the posterior of the model's own data, by ranks of z (Talts et al. 2018).

    Args:
        simulations: examples drawn from the model.
        draws: from the posterior of each.
    """
    from vaeflow.components.calibration import Calibration

    return Calibration(simulations, draws)


def precision_recall(
    *, neighbours: Annotated[int, Field(ge=1)] = 3, examples: Many = 5000, expected: bool = False
) -> SplitMetric:
    """Precision and recall of samples in a space of features (Kynkäänniemi et al. 2019).

    The features are those of the network that `--features` names, or else the means of the run's own encoder.

    Args:
        neighbours: k, whose distance is the radius of a point.
        examples: the first ones of the split that are used, and as many samples, at most.
        expected: compare expected values of samples, as pictures show them, instead of draws from p(x given z).
    """
    from vaeflow.components.precision_recall import PrecisionRecall

    return PrecisionRecall(neighbours, examples, expected=expected)
