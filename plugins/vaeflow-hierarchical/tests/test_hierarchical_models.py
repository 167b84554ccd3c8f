"""Groups, labels, shapes and recipes of the models; errors before anything is built; late imports."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from vaeflow_hierarchical import RECIPES, models
from vaeflow_hierarchical.models import Level

from vaeflow.components import likelihoods
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.errors import UsageError
from vaeflow.plugin_kit.checks.recipes import check_recipe
from vaeflow.plugins.registry import Registry

MODULE = "vaeflow_hierarchical"
NAMES = ("stochastic-layers", "ladder", "residual-hierarchy")


@pytest.fixture(scope="module")
def registry():
    return Registry.load([MODULE])


def shapes(model):
    return {group.name: group.shape for group in model.latents}


def test_groups_are_those_of_the_options_from_the_top_down(context):
    levels = (Level(5, (4,)), Level(3), Level(2, (6, 7)))
    for build in (models.stochastic_layers, models.ladder):
        model = build(context((4, 4, 1)), levels=levels)
        assert shapes(model) == {"z3": (2,), "z2": (3,), "z1": (5,)}
    maps = models.residual_hierarchy(context((8, 12, 1)), groups=(1, 2), channels=3, width=4)
    assert shapes(maps) == {"z1-2x3": (2, 3, 3), "z2-4x6": (4, 6, 3), "z3-4x6": (4, 6, 3)}


def test_the_defaults_are_those_of_the_articles(context):
    burda = models.stochastic_layers(context((28, 28, 1)))
    hidden = {network.name: [layer.units for layer in network.layers] for network in (*burda.up, *burda.down)}
    assert hidden == {
        "q_z1": [200, 200, 200],
        "q_z2": [100, 100, 100],
        "p_x": [200, 200, 784],
        "p_z1": [100, 100, 200],
    }
    ladder = models.ladder(context((28, 28, 1)))
    assert list(shapes(ladder).values()) == [(4,), (8,), (16,), (32,), (64,)]
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in ladder._flatten_layers()) == 10


def test_one_level_is_a_model_of_one_layer(context):
    for build in (models.stochastic_layers, partial(models.ladder, normalization="none")):
        model = build(context((4, 4, 1)), levels=(Level(2, (3,)),))
        terms = model.terms(tf.ones((2, 4, 4, 1)), tf.ones((3, 2, 2)))
        assert terms.kl_terms["z1"].shape == (2, 2)
        np.testing.assert_allclose(terms.kl_terms["z1"], np.asarray(terms.p["z1"].kl_terms(terms.q["z1"])))


@pytest.mark.parametrize("likelihood", [likelihoods.categorical, likelihoods.gaussian])
def test_parameters_of_any_likelihood(tiny_maps, likelihood):
    model = tiny_maps(likelihood=likelihood)
    p_x = model.generate(tf.zeros((5, sum(math.prod(group.shape) for group in model.latents))))
    assert p_x.mean().shape == (5, 4, 4, 1)


@pytest.fixture
def tiny_maps(context):
    return lambda **given: models.residual_hierarchy(context((4, 4, 1), **given), groups=(1, 1), channels=1, width=3)


@pytest.mark.parametrize("tiny", [(name, 3) for name in NAMES], indirect=True)
def test_means_and_decoded_latents_depend_on_the_label(tiny):
    x = tf.ones((1, 2, 2, 1))
    first, second = (tf.one_hot([of], tiny.classes) for of in (0, 1))
    means, others = tiny.encode(x, labels=first), tiny.encode(x, labels=second)
    assert all(abs(float(tf.squeeze(means[name] - others[name]))) > 1e-4 for name in means)
    decoded = [tiny.decode(means, labels=labels).mean() for labels in (first, second)]
    assert np.abs(decoded[0] - decoded[1]).max() > 1e-4


REFUSED = {
    "levels": (models.ladder, {"levels": ()}, {}, "model 'ladder': levels is empty"),
    "groups": (models.residual_hierarchy, {"groups": ()}, {}, "model 'residual-hierarchy': groups is empty"),
    "sides": (models.residual_hierarchy, {"groups": (1, 1, 1)}, {}, r"sides divisible by 8, .* shape \(4, 4, 1\)"),
    "vectors": (models.residual_hierarchy, {}, {"x_shape": (16,)}, r"needs images .* has shape \(16,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, context):
    build, options, given, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        build(context(**{"x_shape": (4, 4, 1), **given}), **options)


def test_an_option_in_a_level_has_its_path_in_errors(registry):
    settings = ["model=ladder", "model.levels=[{latent_size = 3}, {latent_size = 2, hiden = [5]}]"]
    with pytest.raises(UsageError, match=r"model\.levels\[1\]\.hiden: .*did you mean 'hidden'\?"):
        resolve(compose("mnist-mlp-20", settings), registry)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_resolves(name, registry):
    results = list(check_recipe(registry.recipe(name), registry))
    assert [(one.rule, one.outcome, one.message) for one in results] == [("summary", "ok", ""), ("config", "ok", "")]


def test_the_published_schedule_of_learning_rates(registry):
    config = resolve(compose("burda-2-full", find=registry.recipe), registry).config
    options, steps = config.learning_rate.options, 60_000 // config.batch_size
    ends = np.cumsum([3**i for i in range(8)])
    assert options["boundaries"] == [steps * end - 1 for end in ends[:-1]]
    assert config.epochs == ends[-1]
    assert (config.objective.name, config.objective.options["samples"]) == ("iwae", 5)
    np.testing.assert_allclose(options["values"], [1e-3 * 10 ** (-i / 7) for i in range(8)], rtol=1e-5)


def test_listing_imports_no_tensorflow():
    code = (
        f"import sys; from vaeflow.plugins.registry import Registry; r = Registry.load([{MODULE!r}]);"
        "[one.options() for one in r.all()]; print('ladder' in r.names('model'), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]
