"""The ELBO, its divergence and its gradients against closed forms, integrals, quadrature and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from vaeflow.components import objectives, posteriors, priors, schedules
from vaeflow.contracts import Timeline
from vaeflow.model import elbo
from vaeflow.model.distributions import Bernoulli, DiagonalNormal, Normal, StandardNormal

SEEDS = st.integers(0, 10**6)
STEP = tf.constant(0, tf.int64)


def random(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def normals(seed: int, batch: int, latent: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return mu and log_var [B, D] float32."""
    return random(seed, batch, latent, scale=scale), random(seed + 1, batch, latent, scale=scale)


# The divergence


@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 3.0]))
@builders.examples(15)
def test_closed_form_divergence_is_that_of_tfp(seed, scale):
    mu, log_var = normals(seed, 4, 3, scale)
    terms = StandardNormal(3).kl_terms(DiagonalNormal(tf.constant(mu), tf.constant(log_var)))
    assert terms.dtype == tf.float32
    tfd = builders.tfd()
    q = tfd.Normal(mu.astype(np.float64), np.exp(0.5 * log_var.astype(np.float64)))
    p = tfd.Normal(np.float64(0.0), np.float64(1.0))
    np.testing.assert_allclose(terms, tfd.kl_divergence(q, p), rtol=5e-6, atol=5e-7)


@pytest.mark.parametrize(("mu", "log_var"), [(0.0, 0.0), (1.5, -3.0), (-0.3, 1.0), (4.0, -0.5)])
def test_closed_form_divergence_is_the_integral(mu, log_var):
    q, p = stats.norm(mu, np.exp(0.5 * log_var)), stats.norm()
    integral, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *(mu + s * 12.0 * q.std() for s in (-1, 1))
    )
    got = StandardNormal(1).kl_terms(DiagonalNormal(tf.constant([[mu]]), tf.constant([[log_var]])))
    assert float(got[0, 0]) == pytest.approx(integral, abs=2e-6)


def test_sampled_kl_is_unbiased_without_a_closed_form():
    mu, log_var = normals(5, 4, 3, 0.7)
    prior = DiagonalNormal(tf.constant(random(7, 3)), tf.constant(random(8, 3, scale=0.5)))
    q = DiagonalNormal(tf.constant(mu), tf.constant(log_var))
    z = q.sample(builders.normal_noise(20_000, 4, 3))
    terms = elbo.kl_terms(q, builders.NormalPrior(prior), z, q.log_prob(z))
    assert terms.shape == (4, 1)
    mean, spread = prior.mu.numpy().astype(np.float64), prior.log_var.numpy().astype(np.float64)
    tfd = builders.tfd()
    exact = tfd.kl_divergence(
        tfd.MultivariateNormalDiag(mu.astype(np.float64), np.exp(0.5 * log_var.astype(np.float64))),
        tfd.MultivariateNormalDiag(mean, np.exp(0.5 * spread)),
    ).numpy()
    error = (q.log_prob(z) - prior.log_prob(z)).numpy().std(0) / np.sqrt(20_000)
    assert np.all(np.abs(terms[:, 0].numpy() - exact) < 4.0 * error)
    assert np.all(error < 0.05)  # else the line above says little


def test_sampled_kl_of_the_prior_itself_is_zero():
    q = DiagonalNormal(tf.zeros((4, 3)), tf.zeros((4, 3)))
    terms = elbo.kl_terms(q, builders.NormalPrior(q), *elbo.draw(q, builders.normal_noise(1, 4, 3)))
    np.testing.assert_allclose(terms, np.zeros((4, 1)), atol=1e-6)


def test_standard_normal_has_no_closed_form_for_unknown_types():
    q = Normal(tf.zeros((4, 3)), 0.0, rank=1)
    assert StandardNormal(3).kl_terms(q) is None
    z = builders.normal_noise(2, 4, 3)
    expected = (q.log_prob(z) - StandardNormal(3).log_prob(z)).numpy().mean(0)
    np.testing.assert_allclose(elbo.kl_terms(q, priors.standard_normal(3), z, q.log_prob(z))[:, 0], expected, rtol=1e-6)


def test_a_posterior_may_bring_a_closed_form_of_its_own():
    """It is asked first, and may know none."""

    class Own(Normal):
        def kl_terms(self, p):
            return tf.fill((4, 1), 7.0) if isinstance(p, StandardNormal) else None

    q, z = Own(tf.zeros((4, 3)), 0.0, rank=1), builders.normal_noise(2, 4, 3)
    np.testing.assert_array_equal(elbo.kl_terms(q, StandardNormal(3), z, q.log_prob(z)), np.full((4, 1), 7.0))
    other = builders.NormalPrior(Normal(tf.zeros((4, 3)), 0.0, rank=1))
    np.testing.assert_array_equal(elbo.kl_terms(q, other, z, q.log_prob(z)), np.zeros((4, 1)))


def test_closed_form_of_the_posterior_precedes_the_priors():
    class Wide(DiagonalNormal):
        def kl_terms(self, p):
            return tf.fill((4, 1), 7.0)

    wide = Wide(tf.zeros((4, 3)), tf.zeros((4, 3)))
    np.testing.assert_array_equal(elbo.closed_form_kl_terms(wide, StandardNormal(3)), np.full((4, 1), 7.0))
    known = DiagonalNormal(tf.zeros((4, 3)), tf.zeros((4, 3)))
    assert elbo.closed_form_kl_terms(known, StandardNormal(3)).shape == (4, 3)


def test_posterior_head_is_linear_in_the_features():
    head = posteriors.diagonal_gaussian(2)
    features = random(3, 5, 4)
    q = head.distribution(tf.constant(features))
    for got, dense in ((q.mu, head.mu), (q.log_var, head.log_var)):
        kernel, bias = (w.numpy().astype(np.float64) for w in dense.trainable_variables)
        np.testing.assert_allclose(got, features @ kernel + bias, rtol=1e-5, atol=1e-6)
    assert head.noise_size == 2


# Equation 12, by hand


def sigmoid_cross_entropy(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (x * special.log_expit(logits) + (1.0 - x) * special.log_expit(-logits)).sum(-1)


@given(seed=SEEDS, samples=st.sampled_from([1, 2, 5]))
@builders.examples(15)
def test_elbo_is_equation_12(seed, samples):
    mu, log_var = normals(seed, 4, 3)
    kernel, eps = random(seed + 2, 3, 6), random(seed + 3, samples, 4, 3)
    x = builders.binary_pixels(4, 6, seed)
    q = DiagonalNormal(tf.constant(mu), tf.constant(log_var))
    z = q.sample(tf.constant(eps))
    log_likelihood = Bernoulli(tf.einsum("lbd,dx->lbx", z, kernel), rank=1).log_prob(tf.constant(x))
    got = elbo.elbo(log_likelihood, tf.reduce_sum(elbo.kl_terms(q, StandardNormal(3), z, q.log_prob(z)), -1))
    mu, log_var, kernel, eps = (a.astype(np.float64) for a in (mu, log_var, kernel, eps))
    by_hand = sigmoid_cross_entropy((mu + np.exp(0.5 * log_var) * eps) @ kernel, x).mean(0)
    by_hand += 0.5 * (1.0 + log_var - mu**2 - np.exp(log_var)).sum(-1)
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, by_hand, rtol=1e-5, atol=1e-5)


def test_terms_of_a_model_are_equation_12_for_five_samples():
    vae, x, eps = builders.tiny_vae(), builders.binary_pixels(7, 6), builders.normal_noise(5, 7, 2)
    terms = vae.terms(tf.constant(x), eps)
    assert terms.log_likelihood.shape == (5, 7)
    assert terms.kl_terms["z"].shape == (7, 2)
    assert terms.z["z"].shape == (5, 7, 2)
    got = elbo.elbo(terms.log_likelihood, terms.kl)
    assert all(t.dtype == tf.float32 for t in (terms.log_likelihood, terms.kl, terms.kl_terms["z"], terms.z["z"], got))
    expected = builders.elbo_by_hand(vae.trainable_variables, x, eps.numpy())
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def elbo_of(vae, x, eps):
    """Return the ELBO of each example, [B]."""
    terms = vae.terms(x, eps)
    return elbo.elbo(terms.log_likelihood, terms.kl)


def test_five_samples_are_the_mean_of_five_elbo():
    vae, x, eps = builders.tiny_vae(), tf.constant(builders.binary_pixels(7, 6)), builders.normal_noise(5, 7, 2)
    together = elbo_of(vae, x, eps)
    each = [elbo_of(vae, x, eps[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(together, np.mean(each, axis=0), rtol=1e-6)


# Reparameterized gradients


@given(seed=SEEDS)
@builders.examples(10)
def test_reparameterized_gradient_of_a_quadratic_is_closed(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(3, 3))
    a, b = a + a.T, rng.normal(size=3)
    mu, log_var = (tf.Variable(v.astype(np.float64)) for v in normals(seed, 4, 3))
    with tf.GradientTape() as tape:
        z = DiagonalNormal(tf.convert_to_tensor(mu), tf.convert_to_tensor(log_var)).sample(builders.sigma_points(3))
        f = 0.5 * tf.einsum("lbi,ij,lbj->lb", z, a, z) + tf.linalg.matvec(z, b)
        expectation = tf.reduce_sum(tf.reduce_mean(f, 0))
    by_mu, by_log_var = tape.gradient(expectation, [mu, log_var])
    # E f = mu'A mu / 2 + b'mu + sum_d A_dd sigma_d^2 / 2
    np.testing.assert_allclose(by_mu, mu.numpy() @ a + b, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_log_var, 0.5 * np.diag(a) * np.exp(log_var.numpy()), rtol=1e-9, atol=1e-9)


def test_reparameterized_gradient_is_unbiased_over_noise():
    mu, log_var, count = tf.fill((20_000, 1), 0.7), tf.fill((20_000, 1), -0.4), 20_000
    with tf.GradientTape() as tape:
        tape.watch([mu, log_var])
        z = DiagonalNormal(mu, log_var).sample(builders.normal_noise(1, count, 1))
        f = 1.5 * tf.square(z) - 2.0 * z
    expected = (3.0 * 0.7 - 2.0, 1.5 * np.exp(-0.4))
    for gradient, exact in zip(tape.gradient(f, [mu, log_var]), expected, strict=True):
        values = gradient.numpy()
        assert abs(values.mean() - exact) < 4.0 * values.std() / np.sqrt(count)


@given(seed=SEEDS)
@builders.examples(10)
def test_gradient_of_the_elbo_is_its_finite_difference(seed):
    rng = np.random.default_rng(seed)
    x, eps = builders.binary_pixels(4, 5, seed).astype(np.float64), rng.normal(size=(2, 4, 3))
    parameters = [rng.normal(size=s) for s in ((4, 3), (4, 3), (3, 5))]

    def total(mu, log_var, kernel):
        q = DiagonalNormal(mu, log_var)
        z = q.sample(tf.constant(eps))
        log_likelihood = Bernoulli(tf.einsum("lbd,dx->lbx", z, kernel), rank=1).log_prob(tf.constant(x))
        return tf.reduce_sum(elbo.elbo(log_likelihood, tf.reduce_sum(StandardNormal(3).kl_terms(q), -1)))

    tensors = [tf.constant(p) for p in parameters]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = total(*tensors)
    assert value.dtype == tf.float64
    directions = [rng.normal(size=p.shape) for p in parameters]
    slope = sum(float(tf.reduce_sum(g * d)) for g, d in zip(tape.gradient(value, tensors), directions, strict=True))
    ends = [total(*(p + h * d for p, d in zip(parameters, directions, strict=True))) for h in (-1e-5, 1e-5)]
    assert slope == pytest.approx(float(ends[1] - ends[0]) / 2e-5, rel=1e-6, abs=1e-6)


# Equation 11


@given(seed=SEEDS, size=st.sampled_from([1, 2, 3, 4, 6, 12]))
@builders.examples(12)
def test_minibatches_estimate_the_data_sets_elbo_without_bias(seed, size):
    bounds = random(seed, 12, scale=50.0)
    parts = np.random.default_rng(seed).permutation(bounds).reshape(-1, size)
    estimates = [float(elbo.data_set_elbo(tf.constant(part), examples=12)) for part in parts]
    assert np.mean(estimates) == pytest.approx(bounds.astype(np.float64).sum(), rel=1e-5, abs=1e-3)
    assert float(elbo.data_set_elbo(tf.constant(bounds), 12)) == pytest.approx(bounds.sum(), rel=1e-5, abs=1e-3)


def test_minibatches_estimate_the_elbo_of_the_data_set():
    vae, x, eps = builders.tiny_vae(), builders.binary_pixels(12, 6), builders.normal_noise(1, 12, 2)

    def bound(rows):
        return elbo_of(vae, tf.constant(x[rows]), eps[:, rows])

    estimates = [float(elbo.data_set_elbo(bound(slice(i, i + 4)), 12)) for i in (0, 4, 8)]
    whole = float(tf.reduce_sum(bound(slice(0, 12))))
    assert np.mean(estimates) == pytest.approx(whole, rel=1e-6)


# Objectives on top of it


@pytest.mark.slow
@given(seed=SEEDS, samples=st.sampled_from([1, 3]))
@builders.examples(10)
def test_the_objective_elbo_is_the_negative_elbo(seed, samples):
    vae = builders.tiny_vae()
    terms = vae.terms(tf.constant(builders.binary_pixels(4, 6, seed)), tf.constant(random(seed, samples, 4, 2)))
    loss = objectives.elbo(samples=samples).loss(terms, schedules.constant(Timeline(1, 1)), STEP)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, -elbo.elbo(terms.log_likelihood, terms.kl), rtol=1e-6)


def test_posterior_with_a_density_only_at_its_samples():
    class Shifted:
        def sample_and_log_prob(self, noise):
            return noise + 1.0, StandardNormal(2).log_prob(noise)

    noise = builders.normal_noise(3, 4, 2)
    z, log_q = elbo.draw(Shifted(), noise)
    np.testing.assert_array_equal(z, noise + 1.0)
    np.testing.assert_allclose(log_q, builders.tfd().MultivariateNormalDiag([1.0, 1.0]).log_prob(z), rtol=1e-5)
