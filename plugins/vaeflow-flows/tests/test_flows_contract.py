"""The contracts of posteriors and priors: shapes, types, gradients, compilation, the start, errors, late imports."""

from __future__ import annotations

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from vaeflow_flows import posteriors, priors

from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal
from vaeflow.plugins.registry import Registry

BUILD = {
    "planar": posteriors.planar,
    "sylvester": posteriors.sylvester,
    "householder": functools.partial(posteriors.sylvester, variant="householder"),
    "triangular": functools.partial(posteriors.sylvester, variant="triangular"),
    "iaf": posteriors.iaf,
    "maf": posteriors.maf,
    "coupling": posteriors.coupling,
    "full-gaussian": posteriors.full_gaussian,
}
SYLVESTER = ["sylvester", "householder", "triangular"]
NETWORKS = ["iaf", "maf", "coupling"]
PRIORS = {"real-nvp": priors.real_nvp, "maf": priors.maf}
CASES = [(name, size) for name in BUILD for size in (1, 2, 3, 20) if (name, size) != ("coupling", 1)]
SAMPLES, EXAMPLES, FEATURES = 2, 5, 4


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def built(name, size, **options):
    keras.utils.set_random_seed(0)
    posterior = BUILD[name](size, **options)
    posterior.distribution(tf.zeros((1, FEATURES)))
    return posterior


def value_and_gradients(posterior, features, noise):
    """Return log q and the gradients of a loss of z and log q by the variables."""
    with tf.GradientTape() as tape:
        z, log_q = posterior.distribution(features).sample_and_log_prob(noise)
        loss = tf.reduce_sum(log_q) + tf.reduce_sum(tf.square(z - 1.0) + tf.sin(z))
    return log_q, tape.gradient(loss, [v.value for v in posterior.trainable_variables])


@pytest.mark.parametrize(("name", "size"), CASES)
def test_shapes_and_gradients_from_the_first_step(name, size):
    posterior = built(name, size)
    features, noise = normal(0, EXAMPLES, FEATURES), normal(1, SAMPLES, EXAMPLES, size)
    q = posterior.distribution(features)
    assert posterior.noise_size == size
    assert q.sample(noise).shape == (SAMPLES, EXAMPLES, size)
    assert q.mean().shape == (EXAMPLES, size)
    log_q, gradients = value_and_gradients(posterior, features, noise)
    assert log_q.shape == (SAMPLES, EXAMPLES)
    for variable, gradient in zip(posterior.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0.0, variable.path


@pytest.mark.parametrize("name", list(BUILD))
def test_mixed_precision_leaves_the_posterior_in_float32(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        posterior = built(name, 3)
    finally:
        keras.config.set_dtype_policy(before)
    q = posterior.distribution(normal(0, EXAMPLES, FEATURES))
    z, log_q = q.sample_and_log_prob(normal(1, SAMPLES, EXAMPLES, 3))
    assert {z.dtype, log_q.dtype, q.mean().dtype} == {tf.float32}
    assert {v.dtype for v in posterior.variables} == {"float32"}
    same = built(name, 3).distribution(normal(0, EXAMPLES, FEATURES))
    np.testing.assert_array_equal(same.sample_and_log_prob(normal(1, SAMPLES, EXAMPLES, 3))[1], log_q)


@pytest.mark.parametrize("name", list(BUILD))
def test_xla_compiles_it_once_and_computes_the_same(name):
    options = {"depth": 2, "hidden": (8,)} if name in NETWORKS else {} if name == "full-gaussian" else {"depth": 2}
    posterior = built(name, 3, **options)
    compiled = tf.function(lambda f, e: value_and_gradients(posterior, f, e), jit_compile=True)
    for seed in (0, 1):
        inputs = normal(seed, EXAMPLES, FEATURES), normal(seed + 5, SAMPLES, EXAMPLES, 3)
        log_q, gradients = compiled(*inputs)
        log_q_plain, gradients_plain = value_and_gradients(posterior, *inputs)
        np.testing.assert_allclose(log_q, log_q_plain, rtol=1e-4, atol=1e-4)
        for gradient, plain in zip(gradients, gradients_plain, strict=True):
            np.testing.assert_allclose(gradient, plain, rtol=1e-3, atol=1e-3)
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", ["planar", *SYLVESTER, "maf", "coupling", "full-gaussian"])
@pytest.mark.parametrize("size", [2, 20])
def test_it_starts_close_to_the_diagonal_gaussian_of_its_heads(name, size):
    posterior = built(name, size)
    features, noise = normal(0, 50, FEATURES), normal(1, 20, 50, size)
    z, log_q = posterior.distribution(features).sample_and_log_prob(noise)
    diagonal = DiagonalNormal(posterior.mu(features), posterior.log_var(features))
    assert abs(float(tf.reduce_mean(log_q - diagonal.log_prob(z)))) < 0.02 * size  # KL, nats


def test_iaf_starts_close_to_a_narrowed_diagonal_gaussian():
    posterior = built("iaf", 20, depth=3)
    features, noise = normal(0, 50, FEATURES), normal(1, 20, 50, 20)
    z, log_q = posterior.distribution(features).sample_and_log_prob(noise)
    gate = (1.0 / (1.0 + np.exp(-2.0))) ** 3
    diagonal = DiagonalNormal(gate * posterior.mu(features), posterior.log_var(features) + 2.0 * np.log(gate))
    assert abs(float(tf.reduce_mean(log_q - diagonal.log_prob(z)))) < 0.4  # KL, nats


@pytest.mark.parametrize("name", list(BUILD))
def test_flows_say_that_their_mean_is_near_the_mean_only(name):
    q = built(name, 2).distribution(normal(0, EXAMPLES, FEATURES))
    assert getattr(q, "mean_is_exact", True) == (name == "full-gaussian")
    center = q.sample_and_log_prob(tf.zeros((1, EXAMPLES, 2)))[0][0]
    np.testing.assert_allclose(q.mean(), center, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["planar", "sylvester"])
def test_some_say_that_they_have_no_density_elsewhere(name):
    q = built(name, 2).distribution(normal(0, EXAMPLES, FEATURES))
    with pytest.raises(NotImplementedError, match=f"'{name}' has a density only for its own samples"):
        q.log_prob(tf.zeros((1, EXAMPLES, 2)))


@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_inversion_is_exact_with_unbounded_activations(activation):
    posterior = built("iaf", 20, activation=activation)
    for variable in posterior.trainable_variables:
        variable.assign(2.0 * variable)
    q = posterior.distribution(normal(0, EXAMPLES, FEATURES))
    z, log_q = q.sample_and_log_prob(normal(1, SAMPLES, EXAMPLES, 20))
    np.testing.assert_allclose(q.log_prob(z), log_q, rtol=1e-4, atol=1e-3)


def test_coupling_needs_two_latents():
    with pytest.raises(UsageError, match=r"latent_size >= 2, not 1; try 'planar'"):
        posteriors.coupling(1)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("hidden", [(), (0,), (1,), (8, 1), (-3,)])
def test_hidden_layers_without_a_path_are_refused(name, hidden):
    with pytest.raises(UsageError, match=f"posterior '{name}': hidden must be one or more layers of at least 2 units"):
        BUILD[name](3, hidden=hidden)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": 4}, "columns must be at most latent_size, 3, not 4"),
        ({"reflections": 4}, "reflections is an option of variant='householder', not of 'orthogonal'"),
        ({"columns": 2, "variant": "triangular"}, "columns is an option of variant='orthogonal', not of 'triangular'"),
    ],
)
def test_sylvester_refuses_options_without_a_meaning(options, message):
    with pytest.raises(UsageError, match=f"posterior 'sylvester': {message}"):
        posteriors.sylvester(3, **options)


def test_the_distribution_registers_every_component():
    registry = Registry.load()
    kinds = [("posterior", name) for name in BUILD if name not in SYLVESTER[1:]] + [("prior", name) for name in PRIORS]
    for kind, name in kinds:
        registered = registry.get(kind, name)
        assert registered.origin.distribution == "vaeflow-flows"
        assert registered.summary.endswith(".")
        registered.bind({}, kind)


def test_listing_imports_no_tensorflow():
    code = (
        "import sys; from vaeflow.plugins.registry import Registry; [r.options() for r in Registry.load().all()];"
        "sys.exit(bool({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
