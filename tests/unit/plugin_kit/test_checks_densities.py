"""Whether samples have the density that is claimed for them: right ones are not doubted, wrong ones are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.plugin_kit.checks.densities import is_of_noise, require_density
from vaeflow.plugin_kit.checks.require import BrokenRuleError, SkippedRuleError
from vaeflow.plugin_kit.checks.subject import normal

DRAWS = 50_000


def log_normal(noise):
    return -0.5 * tf.reduce_sum(tf.square(noise) + math.log(2.0 * math.pi), axis=-1)


def affine(noise):
    """Correlated normals, correlation 0.99."""
    z = tf.linalg.matvec(tf.constant([[1.0, 0.0], [3.0, 0.5]]), noise)
    return z, log_normal(noise) - math.log(0.5)


def sheet(noise):
    """A thin bent sheet: a normal density near it has most of its mass where there are no samples."""
    a, b = tf.unstack(noise, axis=-1)
    return tf.stack([a, 20.0 * tf.square(a) + 0.01 * b], axis=-1), log_normal(noise) - math.log(0.01)


def overlapping(noise):
    """Two halves pushed over each other: the density of each half alone."""
    return noise - 1.5 * tf.sign(noise), log_normal(noise)


def folded(noise):
    """The absolute values, with the density of the whole."""
    return tf.abs(noise), log_normal(noise)


def of_its_own_noise(noise):
    """Samples that no gradient goes through."""
    return tf.stop_gradient(noise), log_normal(noise)


def off_by(nats):
    def draw(noise):
        z, log_density = affine(noise)
        return z, log_density + nats

    return draw


def samples(draw):
    noise = normal(DRAWS, 2, name="draws")
    return *(np.asarray(one, np.float64) for one in draw(noise)), noise[:2000]


@pytest.mark.parametrize("draw", [affine, sheet])
def test_right_ones_are_not_doubted(draw):
    z, log_density, noise = samples(draw)
    assert is_of_noise(draw, noise)
    require_density(z, log_density, "q", of_noise=True)


def test_samples_alone_do_not_tell_of_a_sheet():
    z, log_density, _ = samples(sheet)
    with pytest.raises(SkippedRuleError, match="spread too far"):
        require_density(z, log_density, "q")


@pytest.mark.parametrize("nats", [0.2, -0.2, 0.02])
def test_constants_are_found(nats):
    draw = off_by(nats)
    z, log_density, noise = samples(draw)
    assert not is_of_noise(draw, noise)
    if abs(nats) > 0.1:  # 50,000 samples tell
        with pytest.raises(BrokenRuleError, match=rf"integrates to {math.exp(-nats):.1f}"):
            require_density(z, log_density, "q")


def test_several_noises_of_one_sample_are_found():
    z, log_density, noise = samples(overlapping)
    assert is_of_noise(overlapping, noise)
    with pytest.raises(BrokenRuleError, match=r"integrates to [1-9]\."):
        require_density(z, log_density, "q", of_noise=True)


@pytest.mark.parametrize("draw", [folded, of_its_own_noise])
def test_where_the_change_of_variables_has_nothing_to_say(draw):
    assert not is_of_noise(draw, normal(2000, 2))


def test_strongly_correlated_samples_are_not_doubted():
    z, log_density, _ = samples(affine)
    require_density(z, log_density, "q")
