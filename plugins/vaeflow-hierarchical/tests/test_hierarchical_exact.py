"""Evidence in closed form and by quadrature; divergences against TensorFlow Probability."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from vaeflow_hierarchical import models
from vaeflow_hierarchical.ladder import SMALLEST, combined
from vaeflow_hierarchical.models import Level

from vaeflow.components import likelihoods
from vaeflow.model.distributions import DiagonalNormal, StandardNormal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_probability as tfp

POINTS, FARTHEST = 81, 12.0
W, B1, V1, C, V, S2 = 0.8, 0.3, 0.6, -0.2, 1.4, 0.49
"""p(z2) = N(0, 1), p(z1 given z2) = N(W z2 + B1, V1), p(x given z1) = N(V z1 + C, S2)."""


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def put(network, kernel, bias):
    """Set the weights of a network of one dense layer."""
    (dense,) = network.layers
    dense.kernel.assign(np.reshape(kernel, dense.kernel.shape))
    dense.bias.assign(np.reshape(bias, dense.bias.shape))


def linear(context, build, x_shape, sizes, **options):
    """Build a linear model whose noise of x has the standard deviation 0.7."""
    keras.utils.set_random_seed(0)
    given = context(x_shape, likelihood=lambda shape: likelihoods.gaussian(shape, scale=0.7))
    return build(given, levels=tuple(Level(size) for size in sizes), **options)


def grid():
    """Nodes [L, 2] and log-weights [L] of a standard normal in two dimensions: the trapezoidal rule."""
    nodes = np.linspace(-FARTHEST, FARTHEST, POINTS)
    log_weights = norm.logpdf(nodes) + np.log(nodes[1] - nodes[0])
    both = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    return both.astype(np.float32), (log_weights[:, None] + log_weights).reshape(-1)


# Linear models with normal noise


def chain(model, rng):
    """Set a linear p of two layers; return the mean and the covariance of x."""
    up, outputs = model.latents[1].shape[0], int(np.prod(model.x_shape))
    top = model.latents[0].shape[0]
    w, b, log_var = rng.normal(size=(top, up)), rng.normal(size=up), 0.3 * rng.normal(size=up)
    v, c = rng.normal(size=(up, outputs)), rng.normal(size=outputs)
    put(model.down[1], np.hstack([w, np.zeros_like(w)]), np.hstack([b, log_var]))
    put(model.down[0], v, c)
    of_z1, inverse = w.T @ w + np.diag(np.exp(log_var)), np.diag(np.exp(-log_var))
    _put_near(model.up[0], np.linalg.inv(of_z1) + v @ v.T / S2, v.T / S2, np.linalg.solve(of_z1, b) - v @ c / S2)
    _put_near(model.up[1], np.eye(top) + w @ inverse @ w.T, inverse @ w.T, -w @ inverse @ b)
    return b @ v + c, v.T @ of_z1 @ v + S2 * np.eye(outputs)


def _put_near(network, precision, kernel, bias):
    """Set q to the mean of the exact posterior, N(P^-1 (x K + b), P^-1), and to a little more than its variances."""
    means = np.linalg.inv(precision)
    log_var = np.log(1.2 / np.diag(precision))
    put(network, np.hstack([kernel @ means, np.zeros_like(kernel)]), np.hstack([bias @ means, log_var]))


def test_evidence_of_a_linear_model_of_two_layers(context):
    model, rng = linear(context, models.stochastic_layers, (2, 2), (3, 2)), np.random.default_rng(4)
    mean, covariance = chain(model, rng)
    x = rng.multivariate_normal(mean, covariance, size=3).astype(np.float32)
    exact = multivariate_normal(mean, covariance).logpdf(x)
    terms = model.terms(tf.reshape(tf.constant(x), (3, 2, 2)), normal(5, 50_000, 3, 5))
    weights = np.asarray(terms.log_likelihood + terms.log_p - terms.log_q, np.float64)
    elbo = np.asarray(tf.reduce_mean(terms.log_likelihood, axis=0) - terms.kl)
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (elbo < exact - 0.1).all()
    np.testing.assert_array_less(np.abs(elbo - weights.mean(axis=0)), 5.0 * error)
    np.testing.assert_allclose(logsumexp(weights, axis=0) - np.log(len(weights)), exact, atol=0.03)


def inverse_softplus(value):
    return np.log(np.expm1(value))


def exact_chain(context):
    """The bottom-up model with q(z1 given x) and q(z2 given z1) that are exact."""
    model = linear(context, models.stochastic_layers, (1,), (1, 1))
    put(model.down[1], [W, 0.0], [B1, np.log(V1)])
    put(model.down[0], [V], [C])
    of_z1 = W * W + V1  # variance of z1
    gain = of_z1 * V / (V * V * of_z1 + S2)
    put(model.up[0], [gain, 0.0], [B1 - gain * (V * B1 + C), np.log(of_z1 * (1.0 - gain * V))])
    back = W / of_z1
    put(model.up[1], [back, 0.0], [-back * B1, np.log(1.0 - back * W)])
    return model


def exact_ladder(context):
    """The ladder with q(z2 given x) that is exact, and a bottom-up Gaussian of z1 that is p(x given z1)."""
    model = linear(context, models.ladder, (1,), (1, 1), normalization="none")
    put(model.down["z1"], [W, 0.0], [B1, inverse_softplus(V1 - SMALLEST)])
    put(model.down["x"], [V], [C])
    put(model.heads["z1"], [1.0 / V, 0.0], [-C / V, inverse_softplus(S2 / V**2 - SMALLEST)])
    of_x = V * V * (W * W + V1) + S2
    gain = W * V / of_x
    put(model.heads["z2"], [gain, 0.0], [-gain * (V * B1 + C), inverse_softplus(1.0 - gain * V * W - SMALLEST)])
    return model


@pytest.mark.parametrize("build", [exact_chain, exact_ladder])
def test_an_exact_posterior_has_the_exact_evidence_at_each_sample(build, context):
    x = np.array([[-1.5], [0.2], [2.0]], np.float32)
    exact = multivariate_normal(V * B1 + C, V * V * (W * W + V1) + S2).logpdf(x)
    terms = build(context).terms(tf.constant(x), normal(1, 50, 3, 2))
    weights = terms.log_likelihood + terms.log_p - terms.log_q
    np.testing.assert_allclose(weights, np.broadcast_to(exact, (50, 3)), atol=2e-4)


# Any model with two latents


def labels_of(model, rows, *, of=None):
    """Return labels of a conditional model: each row another one, or all the one of a row."""
    numbers = tf.range(rows) if of is None else tf.fill((rows,), of)
    return tf.one_hot(numbers % model.classes, model.classes) if model.classes else None


def test_evidence_by_two_quadratures(tiny):
    """Over the posterior's noise with importance weights, and over the prior's noise, which `generate` gets."""
    x = tf.constant(np.random.default_rng(2).integers(0, 2, (3, 2, 2, 1)), tf.float32)
    nodes, log_weights = grid()
    terms = tiny.terms(x, tf.repeat(tf.constant(nodes)[:, None], 3, axis=1), labels=labels_of(tiny, 3))
    ratios = np.asarray(terms.log_likelihood + terms.log_p - terms.log_q, np.float64)
    evidence = logsumexp(ratios + log_weights[:, None], axis=0)
    count = len(nodes)
    p_x = [tiny.generate(tf.constant(nodes), labels=labels_of(tiny, count, of=row)) for row in range(3)]
    given = zip(p_x, x, strict=True)
    likelihood = np.stack([of_row.log_prob(tf.repeat(one[None], count, axis=0)) for of_row, one in given], axis=1)
    np.testing.assert_allclose(evidence, logsumexp(likelihood + log_weights[:, None], axis=0), atol=2e-3)
    mean = np.exp(log_weights) @ ratios
    assert (mean < evidence - 1e-3).all()


def test_the_divergence_is_that_of_the_samples(tiny):
    """Its mean over the noise, by quadrature, is the mean of log q - log p."""
    x = tf.constant(np.random.default_rng(2).integers(0, 2, (2, 2, 2, 1)), tf.float32)
    nodes, log_weights = grid()
    every = tiny.terms(x, tf.repeat(tf.constant(nodes)[:, None], 2, axis=1), labels=labels_of(tiny, 2))
    wanted = np.exp(log_weights) @ np.asarray(every.log_q - every.log_p, np.float64)
    for row, ratio in enumerate(wanted):  # each node is one example of a batch
        labels = labels_of(tiny, len(nodes), of=row)
        kl = tiny.terms(tf.repeat(x[row][None], len(nodes), axis=0), tf.constant(nodes)[None], labels=labels).kl
        np.testing.assert_allclose(np.exp(log_weights) @ np.asarray(kl, np.float64), ratio, atol=1e-3)


def test_groups_agree_with_tensorflow_probability(tiny):
    x = tf.constant(np.random.default_rng(2).integers(0, 2, (3, 2, 2, 1)), tf.float32)
    terms = tiny.terms(x, normal(3, 4, 3, 2), labels=labels_of(tiny, 3))
    log_q = 0.0
    for group in tiny.latents:
        name, rank = group.name, len(group.shape)
        q, p, z = terms.q[name], terms.p[name], terms.z[name]
        ours = [
            tfp.distributions.Normal(0.0, 1.0) if isinstance(one, StandardNormal) else tfd_of(one) for one in (q, p)
        ]
        axes = tuple(range(-rank, 0))
        log_q += tf.reduce_sum(ours[0].log_prob(z), axis=axes)
        np.testing.assert_allclose(p.log_prob(z), tf.reduce_sum(ours[1].log_prob(z), axis=axes), rtol=1e-4, atol=1e-5)
        divergence = tf.broadcast_to(tfp.distributions.kl_divergence(*ours), z.shape)
        if name == "z1" and tiny.name == "stochastic_layers":  # by the samples
            divergence = ours[0].log_prob(z) - ours[1].log_prob(z)
        wanted = tf.reduce_sum(tf.reduce_mean(divergence, axis=0), axis=axes)
        np.testing.assert_allclose(tf.reduce_sum(terms.kl_terms[name], axis=-1), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(terms.log_q, log_q, rtol=1e-4, atol=1e-5)


def tfd_of(one):
    return tfp.distributions.Normal(one.mu, tf.exp(0.5 * one.log_var))


def test_combined_is_the_product_of_two_densities():
    first, second = (DiagonalNormal(normal(i, 5), normal(i + 9, 5)) for i in (0, 1))
    z = normal(4, 7, 5)
    both = tfd_of(first).log_prob(z) + tfd_of(second).log_prob(z)
    ratio = np.asarray(both - tfd_of(combined(first, second)).log_prob(z))
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-4, atol=1e-5)
