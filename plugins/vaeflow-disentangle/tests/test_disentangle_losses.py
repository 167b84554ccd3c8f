"""The objectives against closed forms, NumPy and SciPy; padding changes nothing; the discriminator learns."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm
from vaeflow_disentangle import components
from vaeflow_disentangle.factor import permute
from vaeflow_disentangle.latents import codes_of
from vaeflow_disentangle.moments import covariance
from vaeflow_disentangle.total_correlation import densities, stratified_weights, weighted_weights

from vaeflow.contracts import Terms
from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal, StandardNormal

STEP = tf.constant(3, tf.int64)
PLAIN = SimpleNamespace(penalty=lambda kl, _step: kl)
"""The schedule with the weight 1."""


def terms_of(mu, log_var, noise, *, valid=None, log_likelihood=0.0, posterior=DiagonalNormal):
    """Terms of a model with the latents `z`, for mu and log_var [B, D] and noise [L, B, D]."""
    mu, log_var, noise = (tf.constant(values, tf.float32) for values in (mu, log_var, noise))
    q, p = posterior(mu, log_var), StandardNormal(mu.shape[1])
    z = q.sample(noise)
    return Terms(
        log_likelihood=tf.zeros(z.shape[:2]) + log_likelihood,
        kl_terms={"z": p.kl_terms(DiagonalNormal(mu, log_var))},
        z={"z": z},
        log_q=q.log_prob(z),
        q={"z": q},
        p={"z": p},
        p_x=p,
        valid=None if valid is None else tf.constant(valid, tf.float32),
    )


def drawn(rows=6, size=3, samples=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, size)), rng.normal(size=(rows, size)) - 1, rng.normal(size=(samples, rows, size))


def test_weighted_densities_of_all_data_are_a_mixtures():
    """If the microbatch is the data set, q(z) is the mixture of its posteriors: no bias."""
    mu, log_var, noise = drawn()
    codes = codes_of(terms_of(mu, log_var, noise), "beta-tc")
    found = densities(codes, weighted_weights(codes))
    each = norm.logpdf(codes.z.numpy()[:, :, None].astype(np.float64), mu, np.exp(0.5 * log_var))
    np.testing.assert_allclose(found.joint, logsumexp(each.sum(-1), axis=2) - np.log(6), rtol=1e-4)
    np.testing.assert_allclose(found.product, (logsumexp(each, axis=2) - np.log(6)).sum(-1), rtol=1e-4)
    other = densities(codes, weighted_weights(codes, examples=50))
    np.testing.assert_allclose(found.joint - other.joint, np.full((2, 6), np.log(50)), rtol=1e-5)


def test_stratified_densities_are_unbiased():
    """The mean of q(z) at one sample over all batches of 3 of 5 examples that contain its own is q(z) of all 5."""
    mu, log_var, noise = drawn(rows=5, samples=1)
    density = []
    for others in itertools.permutations(range(1, 5), 2):
        batch = [0, *others]
        codes = codes_of(terms_of(mu[batch], log_var[batch], noise[:, batch]), "beta-tc")
        weights = stratified_weights(codes, 5)
        np.testing.assert_allclose(np.exp(weights).sum(1), np.ones(3), rtol=1e-6)
        density.append(np.exp(densities(codes, weights).joint[0, 0]))
    z = mu[0] + np.exp(0.5 * log_var[0]) * noise[0, 0]
    exact = np.exp(norm.logpdf(z, mu, np.exp(0.5 * log_var)).sum(-1)).mean()
    assert np.mean(density) == pytest.approx(exact, rel=1e-4)
    assert np.std(density) > 0.05 * exact


def estimates(correlation, variance, rows, seed=0):
    """TC at 1000 samples, in microbatches of some rows, and in closed form.

    Means from N(0, C) and posteriors N(mean, v I) have q(z) = N(0, C + v I): TC = -0.5 log det of its correlations.
    """
    cov = np.array([[1.0, correlation], [correlation, 1.0]])
    rng = np.random.default_rng(seed)
    mu, noise = rng.multivariate_normal(np.zeros(2), cov, 1000), rng.normal(size=(1, 1000, 2))
    found = []
    for first in range(0, 1000, rows):
        part = slice(first, first + rows)
        codes = codes_of(terms_of(mu[part], np.full((rows, 2), np.log(variance)), noise[:, part]), "beta-tc")
        found.append(densities(codes, weighted_weights(codes)))
    each = np.concatenate([(one.joint - one.product).numpy().reshape(-1) for one in found])
    return each, -0.5 * np.log(np.linalg.det((cov + variance * np.eye(2)) / (1.0 + variance)))


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_total_correlation_of_a_gaussian(correlation):
    """With wide posteriors and 1000 rows, the bias is far below the standard error, or 0.01 where that is tiny."""
    found, exact = estimates(correlation, 0.5, 1000)
    assert abs(found.mean() - exact) < 0.01 + 3 * found.std() / np.sqrt(1000)


def test_small_batches_of_narrow_posteriors_are_biased_up():
    """Each sample's own posterior is among those that estimate q(z), and weighs most in the joint density."""
    (few, exact), (many, _) = (estimates(0.8, 0.02, rows) for rows in (50, 1000))
    assert few.mean() - exact > 0.2
    assert exact < many.mean() < few.mean() - 0.1


def test_the_parts_add_up_to_the_divergence():
    terms = terms_of(*drawn(), log_likelihood=-7.0)
    one, two = (
        components.beta_tc(alpha=w, beta=w, gamma=w, samples=2).loss(terms, PLAIN, STEP).numpy() for w in (1.0, 2.0)
    )
    np.testing.assert_allclose(one, 7.0 + terms.kl, rtol=1e-5)
    np.testing.assert_allclose(two - one, (terms.log_q - terms.log_p).numpy().mean(0), rtol=1e-3, atol=1e-4)


COV_TOP, CHAIN, OWN = np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([[0.9, 0.9], [0.0, 0.5]]), 0.5


def two_groups(rows, seed=3):
    """Terms of a chain: x from N(0, COV_TOP), q(top given x) = N(x, OWN I), q(low given top) = N(top CHAIN, OWN I)."""
    rng = np.random.default_rng(seed)
    x = tf.constant(rng.multivariate_normal(np.zeros(2), COV_TOP, rows), tf.float32)
    log_var, noise = (
        tf.fill((rows, 2), np.float32(np.log(OWN))),
        tf.constant(rng.normal(size=(2, 1, rows, 2)), tf.float32),
    )
    top = DiagonalNormal(x, log_var)
    z = {"top": top.sample(noise[0])}
    low = DiagonalNormal(z["top"] @ tf.constant(CHAIN, tf.float32), log_var[None])
    z["low"] = low.sample(noise[1])
    q, p = {"top": top, "low": low}, {"top": StandardNormal(2), "low": DiagonalNormal(0.5 * z["top"], 0.0 * z["top"])}
    log_q = sum(q[name].log_prob(z[name]) for name in q)
    kl_terms = {name: tf.reduce_mean(q[name].log_prob(z[name]) - p[name].log_prob(z[name]), 0)[:, None] for name in q}
    return Terms(tf.zeros((1, rows)), kl_terms, z, log_q, q, p, StandardNormal(2))


def test_the_total_correlation_of_two_groups():
    """The sum of that of each group, in closed form: both aggregated posteriors are Gaussian."""
    terms = two_groups(1000)
    one, two = (components.beta_tc(beta=weight).loss(terms, PLAIN, STEP).numpy() for weight in (1.0, 2.0))
    top = COV_TOP + OWN * np.eye(2)
    exact = [
        -0.5 * np.log(np.linalg.det(c / np.sqrt(np.outer(np.diag(c), np.diag(c)))))
        for c in (top, CHAIN.T @ top @ CHAIN + OWN * np.eye(2))
    ]
    assert min(exact) > 0.1
    found = two - one
    assert abs(found.mean() - sum(exact)) < 0.02 + 3 * found.std() / np.sqrt(1000)


def test_the_parts_of_two_groups_add_up_to_the_divergence():
    terms = two_groups(7)
    one, two = (components.beta_tc(alpha=w, beta=w, gamma=w).loss(terms, PLAIN, STEP).numpy() for w in (1.0, 2.0))
    np.testing.assert_allclose(one, terms.kl, rtol=1e-5)
    np.testing.assert_allclose(two - one, (terms.log_q - terms.log_p)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_the_penalty_of_covariances(variant):
    mu, log_var, noise = drawn(rows=9)
    terms = terms_of(mu, log_var, noise)
    expected = np.cov(mu.T, bias=True) + (variant == "ii") * np.diag(np.exp(log_var).mean(0))
    np.testing.assert_allclose(covariance(codes_of(terms, "dip-vae"), variant), expected, rtol=1e-5, atol=1e-6)
    loss = components.dip_vae(variant=variant, off_diagonal=3.0).loss(terms, PLAIN, STEP)
    off = expected[~np.eye(3, dtype=bool)]
    diagonal = {"i": 30.0, "ii": 3.0}[variant]
    penalty = 3.0 * np.square(off).sum() + diagonal * np.square(np.diag(expected) - 1).sum()
    np.testing.assert_allclose(loss - terms.kl, np.full(9, penalty), rtol=1e-4)


OBJECTIVES = {
    "weighted": lambda: components.beta_tc(alpha=2.0, gamma=3.0),
    "stratified": lambda: components.beta_tc(estimator="stratified", examples=40),
    "dip i": lambda: components.dip_vae(variant="i"),
    "dip ii": components.dip_vae,
    "factor": lambda: components.factor_vae(hidden=(8,)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_changes_nothing(name):
    """The losses, and their gradients, of 4 examples with 3 padded rows among them; all rows padded are finite."""
    objective, (mu, log_var, noise) = OBJECTIVES[name](), drawn(rows=7, samples=1)
    kept = np.array([1, 0, 1, 1, 0, 1, 0], bool)
    mu[~kept] += 30.0
    functions = [lambda terms: objective.loss(terms, PLAIN, STEP)]
    functions += [
        lambda terms, player=player: player.loss(terms, None, STEP) for player in getattr(objective, "players", ())
    ]

    def loss_and_gradient(rows, valid):
        means = tf.constant(mu[rows], tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(means)
            terms = terms_of(means, log_var[rows], noise[:, rows], valid=valid)
            losses = [function(terms) for function in functions]
            totals = [tf.reduce_sum(loss * terms.valid) for loss in losses]
        return [np.c_[loss, tape.gradient(total, means)] for loss, total in zip(losses, totals, strict=True)]

    alone, padded = loss_and_gradient(kept, np.ones(4)), loss_and_gradient(slice(None), kept)
    for one, other in zip(alone, padded, strict=True):
        np.testing.assert_allclose(other[kept], one, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(other[~kept, 1:], np.zeros((3, 3)))
    for empty in loss_and_gradient(slice(None), np.zeros(7)):
        assert np.isfinite(empty).all()


def test_each_dimension_has_its_own_permutation():
    mu, log_var, noise = drawn(rows=50, samples=2)
    codes = codes_of(terms_of(mu, log_var, noise), "factor-vae")
    moved = permute(codes, STEP).numpy()
    np.testing.assert_array_equal(np.sort(moved, axis=1), np.sort(codes.z, axis=1))
    orders = [np.argmax(codes.z[0, None, :, d] == moved[0, :, None, d], axis=1) for d in range(3)]
    assert all((one != other).mean() > 0.8 for one, other in itertools.combinations([*orders, np.arange(50)], 2))
    np.testing.assert_array_equal(permute(codes, STEP), moved)
    assert (permute(codes, STEP + 1).numpy() != moved).mean() > 0.8


def test_the_discriminator_learns_the_total_correlation():
    """Its loss falls when it alone trains, and the mean of its log-odds comes near the closed form."""
    tf.keras.utils.set_random_seed(0)
    rng, cov = np.random.default_rng(0), np.array([[1.0, 0.9], [0.9, 1.0]])
    objective = components.factor_vae(gamma=1.0, hidden=(32, 32), discriminator_rate=3e-3)
    (player,) = objective.players
    mu = rng.multivariate_normal(np.zeros(2), cov, 2000)
    terms = terms_of(mu, np.full_like(mu, -30.0), np.zeros((1, 2000, 2)))
    player.loss(terms, None, STEP)
    player.optimizer.build(player.variables)

    @tf.function
    def update(step):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(player.loss(terms, None, step))
        player.optimizer.apply(tape.gradient(loss, [v.value for v in player.variables]), player.variables)
        return loss

    losses = [float(update(tf.constant(step, tf.int64))) for step in range(150)]
    assert losses[0] == pytest.approx(np.log(2), abs=0.1)
    assert losses[-1] < 0.52
    estimate = float(tf.reduce_mean(objective.loss(terms, PLAIN, STEP) - terms.kl))
    assert estimate == pytest.approx(-0.5 * np.log(np.linalg.det(cov)), abs=0.12)


class Twisted(DiagonalNormal):
    """A subclass may have another density."""


def test_what_they_are_not_for_is_one_line():
    terms = terms_of(*drawn(), posterior=Twisted)
    for objective in (components.beta_tc(), components.dip_vae()):
        with pytest.raises(UsageError, match=r"needs posterior = 'diagonal-gaussian'.* is a Twisted"):
            objective.loss(terms, PLAIN, STEP)
    with pytest.raises(UsageError, match=r"estimator = 'stratified' needs .* set objective.examples"):
        components.beta_tc(estimator="stratified")
    two = SimpleNamespace(z={"a": tf.zeros((1, 2, 3)), "b": tf.zeros((1, 2, 4))}, valid=None)
    with pytest.raises(UsageError, match=r"factor-vae needs a model with one group .* it has a \[3\], b \[4\]"):
        components.factor_vae().loss(two, PLAIN, STEP)
    maps = SimpleNamespace(z={"a": tf.zeros((1, 2, 3)), "b": tf.zeros((1, 2, 4, 4, 1))}, valid=None)
    with pytest.raises(UsageError, match=r"beta-tc needs groups of latents that are vectors; it has .* b \[4, 4, 1\]"):
        components.beta_tc().loss(maps, PLAIN, STEP)
    with pytest.raises(UsageError, match=r"encoder 'conv-64' needs images .* shape is \[784\]"):
        components.conv_encoder((784,))
