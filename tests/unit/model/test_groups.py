"""Groups of latents: their noise, the terms by group, labels of the single-layer model, and the columns of a row."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import builders, two_groups
from helpers.builders import tf
from scipy import stats

from vaeflow.components import likelihoods, models, networks, posteriors, priors
from vaeflow.contracts import LatentGroup, ModelContext, Terms
from vaeflow.data.batches import Batch
from vaeflow.engine.columns import Columns, columns_of
from vaeflow.engine.forward import forward, loss_of
from vaeflow.engine.step_row import StepRow
from vaeflow.errors import PluginError
from vaeflow.model import latents
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.variable_names import named_weights
from vaeflow.training.build_model import require_groups

GROUPS = (LatentGroup("a", (2,), 2), LatentGroup("code", (4,), 0, deterministic=True, prior_noise_size=3))
PARTS = SimpleNamespace(
    encoder=lambda x_shape: networks.mlp_encoder(x_shape, hidden=(5,)),
    posterior=posteriors.diagonal_gaussian,
    prior=priors.standard_normal,
    decoder=lambda size, shape: networks.mlp_decoder(size, shape, hidden=(5,)),
    likelihood=likelihoods.bernoulli,
)


def two(classes=0, **options):
    keras.utils.set_random_seed(1)
    return two_groups.two_groups(ModelContext((6,), 2, classes, PARTS), **options)


def batch_of(model, rows=5, classes=0):
    x = tf.constant(builders.binary_pixels(rows, 6))
    y = tf.range(rows) % max(classes, 1)
    labels = tf.one_hot(y, classes) if classes else None
    noise = builders.normal_noise(3, rows, latents.noise_size(model.latents))
    return Batch(x, tf.ones((rows,)), y, labels), noise


def test_each_group_has_its_own_slice_of_the_noise():
    assert latents.noise_size(GROUPS) == 2
    assert latents.generation_noise_size(GROUPS) == 5
    noise = builders.normal_noise(4, 5)
    drawn = latents.split_noise(noise, GROUPS, generating=True)
    np.testing.assert_array_equal(drawn["a"], noise[:, :2])
    np.testing.assert_array_equal(drawn["code"], noise[:, 2:])
    assert (
        latents.split_noise(noise, GROUPS[:1])["a"] is noise
    )  # one group: the same tensor as before there were groups


def test_the_divergence_is_the_sum_over_groups():
    q, p = DiagonalNormal(tf.ones((4, 2)), tf.zeros((4, 2))), StandardNormal(2)
    z = {"a": builders.normal_noise(3, 4, 2), "b": builders.normal_noise(3, 4, 2, name="b")}
    terms = Terms(
        log_likelihood=tf.zeros((3, 4)),
        kl_terms={"a": tf.ones((4, 2)), "b": 3.0 * tf.ones((4, 1))},
        z=z,
        log_q=tf.zeros((3, 4)),
        q={"a": q, "b": q},
        p={"a": p, "b": p},
        p_x=p,
    )
    np.testing.assert_array_equal(terms.kl, np.full(4, 5.0))
    np.testing.assert_array_equal(replace(terms, kl_terms={"a": tf.ones((4, 2))}).kl, np.full(4, 2.0))
    expected = sum(stats.norm.logpdf(np.asarray(one, np.float64)).sum(-1) for one in z.values())
    np.testing.assert_allclose(terms.log_p, expected, rtol=1e-5)


def test_terms_of_two_groups_are_those_of_their_normals():
    model = two()
    batch, noise = batch_of(model)
    terms = forward(model, batch, noise, training=False)
    q, p = terms.q["low-maps"].flat, terms.p["low-maps"].flat
    top, low = np.asarray(terms.z["top"], np.float64), np.asarray(terms.z["low-maps"], np.float64).reshape(3, 5, 4)

    def log_density(of, z):
        return stats.norm.logpdf(z, of.mu, np.exp(0.5 * np.asarray(of.log_var, np.float64))).sum(-1)

    log_q = log_density(terms.q["top"], top) + log_density(q, low)
    log_p = stats.norm.logpdf(top).sum(-1) + log_density(p, low)
    np.testing.assert_allclose(terms.log_q, log_q, rtol=1e-4)
    np.testing.assert_allclose(terms.log_p, log_p, rtol=1e-4)
    kl_low = (log_density(q, low) - log_density(p, low)).mean(axis=0)
    np.testing.assert_allclose(terms.kl, np.asarray(terms.kl_terms["top"]).sum(-1) + kl_low, rtol=1e-4)


def test_columns_are_those_of_all_groups_and_the_penalty():
    model = two(penalty=0.5)
    columns = Columns.of(model)
    assert (dict(columns.widths), dict(columns.dimensions)) == ({"top": 3, "low-maps": 1}, {"top": 3, "low-maps": 4})
    terms = forward(model, *batch_of(model), training=False)
    packed = columns_of(terms).numpy()
    assert packed.shape == (5, columns.count) == (5, 5)
    means = packed.mean(axis=0)
    scalars = columns.scalars(means)
    assert list(scalars) == ["kl/top", "kl/low-maps", "penalty"]
    assert sum(list(scalars.values())[:2]) == pytest.approx(float(tf.reduce_mean(terms.kl)), rel=1e-5)
    assert scalars["penalty"] == pytest.approx(float(tf.reduce_mean(terms.penalty)), rel=1e-5)
    (name, values), *rest = columns.per_dimension("test", means).items()
    assert (name, rest) == ("test/top", [])
    np.testing.assert_array_equal(values, means[:3])


def test_one_group_is_logged_as_before_there_were_groups():
    columns = Columns.of(builders.tiny_vae())
    assert columns.scalars(np.array([1.0, 2.0])) == {}
    (found,) = columns.per_dimension("train", np.array([1.0, 2.0])).items()
    assert found[0] == "train"
    np.testing.assert_array_equal(found[1], [1.0, 2.0])


def test_the_step_minimizes_the_loss_and_the_penalty():
    model = two(penalty=0.5)
    training = builders.Training(model=model, microbatches=4)
    microbatches = training.step().microbatches
    batch, noise = microbatches.inputs(tf.constant(0, tf.int64), tf.constant(0, tf.int64))
    terms = forward(model, batch, noise, training=True)
    loss = loss_of(microbatches.objective, terms, microbatches.schedule, tf.constant(0, tf.int64))
    without = loss_of(microbatches.objective, replace(terms, penalty=None), microbatches.schedule, 0)
    np.testing.assert_allclose(loss, without + terms.penalty, rtol=1e-6)
    row = StepRow.unpack(training.step()(tf.constant(0, tf.int64)).numpy())
    assert row.kl_terms.shape == (5,)
    assert row.loss == pytest.approx(-row.elbo + row.kl_terms[4], rel=1e-5)
    assert row.kl == pytest.approx(row.kl_terms[:4].sum(), rel=1e-5)


def test_a_loss_over_the_batch_gets_its_padding():
    seen = []

    class Objective:
        samples, per_example = 1, False

        def loss(self, terms, schedule, step):
            seen.append((terms.valid, terms.y))
            return terms.kl

    training = builders.Training(objective=Objective(), microbatches=3)
    microbatches = training.step().microbatches
    step, last = tf.constant(2, tf.int64), tf.constant(2, tf.int64)  # 3 examples in 3 parts of 4 rows
    batch, noise = microbatches.inputs(step, last)
    microbatches.differentiate(batch, noise, step, last)
    assert seen[-1][0].numpy().tolist() == [0.0] * 4
    assert seen[-1][1] is None


def test_names_of_weights_start_with_the_part():
    names = {name.partition("/")[0] for name, _ in named_weights(two())}
    assert names == {"encoder", "encoder_low", "prior", "decoder"}


def test_labels_are_maps_for_images_and_follow_z():
    keras.utils.set_random_seed(0)
    model = models.single_layer(ModelContext((4, 4, 1), 2, 3, PARTS))
    assert model.encoder.input_shape == (None, 4, 4, 4)
    assert model.decoder.input_shape == (None, 5)
    x, noise = tf.ones((2, 4, 4, 1)), builders.normal_noise(3, 2, 2)
    labels = tf.one_hot([0, 2], 3)
    by_hand = tf.concat([x, tf.broadcast_to(labels[:, None, None], (2, 4, 4, 3))], axis=-1)
    q = model.posterior.distribution(model.encoder(by_hand))
    np.testing.assert_array_equal(model.encode(x, labels=labels)["z"], q.mean())
    terms = model.terms(x, noise, labels=labels)
    code = tf.concat([terms.z["z"], tf.broadcast_to(labels, (3, 2, 3))], axis=-1)
    logits = tf.reshape(model.decoder(tf.reshape(code, (6, 5))), (3, 2, 4, 4, 1))
    np.testing.assert_allclose(terms.p_x.mean(), tf.sigmoid(logits), rtol=1e-6)


def test_a_prior_may_depend_on_the_label():
    class Given(StandardNormal):
        def given(self, labels):
            return Shifted(tf.argmax(labels, axis=-1, output_type=tf.int32))

    class Shifted:
        def __init__(self, by):
            self.by = tf.cast(by, tf.float32)[..., None]

        def sample(self, noise):
            return noise + self.by

        def log_prob(self, value):
            return StandardNormal(2).log_prob(value - self.by)

        def kl_terms(self, q):
            return None

    keras.utils.set_random_seed(0)
    parts = SimpleNamespace(**{**vars(PARTS), "prior": Given})
    model = models.single_layer(ModelContext((6,), 2, 3, parts))
    labels = tf.one_hot([1, 2], 3)
    terms = model.terms(tf.ones((2, 6)), builders.normal_noise(3, 2, 2), labels=labels)
    shifted = np.asarray(terms.z["z"], np.float64) - np.array([[1.0], [2.0]])
    np.testing.assert_allclose(terms.log_p, stats.norm.logpdf(shifted).sum(-1), rtol=1e-4)
    noise = tf.zeros((2, 2))
    decoded = model.decode({"z": tf.constant([[1.0, 1.0], [2.0, 2.0]])}, labels=labels).mean()
    np.testing.assert_array_equal(model.generate(noise, labels=labels).mean(), decoded)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((), r"has latents \(\), not a tuple"),
        ((LatentGroup("a", (2,), 2), LatentGroup("a", (2,), 2)), "two groups of latents named 'a'"),
        ((LatentGroup("a/b", (2,), 2),), "'a/b' can't name latents"),
        ((LatentGroup("a", (), 2),), r"group 'a' has shape \(\)"),
        ((LatentGroup("a", (2,), 0),), "group 'a' has noise_size = 0, so its latents can't be random"),
        ((LatentGroup("a", (2,), -1),), "group 'a' has a negative noise_size"),
    ],
)
def test_wrong_groups_are_one_line(groups, message):
    with pytest.raises(PluginError, match=message):
        require_groups("model 'x'", SimpleNamespace(latents=groups))


def test_a_code_may_have_no_noise():
    require_groups("model 'x'", SimpleNamespace(latents=GROUPS))
