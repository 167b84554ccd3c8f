"""The reparameterized evidence lower bound: pure functions of tensors, in nats.

Equations are those of the article (Krasser, "Latent variable models, part 2"); it follows Kingma and
Welling, "Auto-Encoding Variational Bayes", 2014. Shapes: B examples, L samples, D latent dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution, Prior


def expected_log_likelihood(log_likelihood_LB: tf.Tensor) -> tf.Tensor:
    """Return the mean over L samples of log p(x given z), the first term of equation 6.

    Args:
        log_likelihood_LB: log p(x given z_l), [L, B], nats.

    Returns:
        [B], nats.
    """
    return tf.reduce_mean(log_likelihood_LB, axis=0)


def draw(q: Distribution, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return samples of q and their log-density (equation 9).

    If the posterior has a method `sample_and_log_prob`, it is used: some densities, such as a planar flow's, are known
    only at samples. Otherwise `sample` and `log_prob` are used.

    Args:
        q: the posterior of B examples.
        noise: standard normal, [L, B, noise_size].

    Returns:
        z_LBD, and log q(z given x), [L, B] nats.
    """
    both = getattr(q, "sample_and_log_prob", None)
    if both is not None:
        return both(noise)
    z_LBD = q.sample(noise)
    return z_LBD, q.log_prob(z_LBD)


def kl_terms(q: Distribution, p: Prior, z_LBD: tf.Tensor, log_q_LB: tf.Tensor) -> tf.Tensor:
    """Return terms of KL(q, p), the second term of equation 6: closed form if there is one, else Monte Carlo.

    The Monte Carlo estimate is the mean over L samples of log q(z given x) - log p(z), unbiased and, for a single
    example, possibly negative.

    Args:
        q: the posterior of B examples.
        p: the prior.
        z_LBD: samples of q, [L, B, D].
        log_q_LB: their log-density, [L, B], nats.

    Returns:
        [B, K], nats; the sum over K is the divergence.
    """
    closed = closed_form_kl_terms(q, p)
    if closed is not None:
        return closed
    return tf.reduce_mean(log_q_LB - p.log_prob(z_LBD), axis=0)[:, None]


def closed_form_kl_terms(q: Distribution, p: Prior) -> tf.Tensor | None:
    """Return terms of KL(q, p) in closed form from the posterior, or else the prior, or None if neither has one.

    A posterior with a closed form has a method `kl_terms(p)`, whose result is as that of `vaeflow.contracts.Prior`.

    Args:
        q: the posterior of B examples.
        p: the prior.

    Returns:
        [B, K], nats, or None.
    """
    of_posterior = getattr(q, "kl_terms", None)
    known = None if of_posterior is None else of_posterior(p)
    return p.kl_terms(q) if known is None else known


def elbo(log_likelihood_LB: tf.Tensor, kl_B: tf.Tensor) -> tf.Tensor:
    """Return the ELBO on log p(x) of each example (equation 6; equation 12 for L = 1).

    Args:
        log_likelihood_LB: log p(x given z_l), [L, B], nats.
        kl_B: KL(q, p), [B], nats.

    Returns:
        [B], nats.

    >>> elbo(tf.constant([[-3.0], [-5.0]]), tf.constant([1.5])).numpy().tolist()
    [-5.5]
    """
    return expected_log_likelihood(log_likelihood_LB) - kl_B


def data_set_elbo(elbo_M: tf.Tensor, examples: int) -> tf.Tensor:
    """Return an estimate of the data set's ELBO from a minibatch (equation 11).

    Args:
        elbo_M: the ELBO of each of M examples drawn at random, [M], nats.
        examples: N, the examples in the data set.

    Returns:
        A scalar in nats, N/M times the sum of the ELBOs.

    >>> float(data_set_elbo(tf.constant([-1.0, -3.0]), examples=100))
    -200.0
    """
    return tf.reduce_sum(elbo_M) * (examples / tf.cast(tf.shape(elbo_M)[0], elbo_M.dtype))
