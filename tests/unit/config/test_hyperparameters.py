"""The keys by which a run differs from its recipe."""

import pytest

from vaeflow.config.compose import compose
from vaeflow.config.hyperparameters import hyperparameters
from vaeflow.config.resolve import resolve
from vaeflow.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry():
    return Registry.load()


def found(registry, source, *settings):
    return hyperparameters(resolve(compose(source, settings, registry.recipe), registry))


@pytest.mark.parametrize("recipe", ["mnist-2d", "mnist-mlp-20", "fashion-2d"])
def test_a_recipe_has_its_name_and_seed(registry, recipe):
    assert found(registry, recipe) == {"name": recipe, "seed": 0}


def test_what_is_set_is_listed_even_at_the_recipes_value(registry):
    assert found(registry, "mnist-2d", "latent_size=2", "seed=4", "log.every_steps=5") == {
        "name": "mnist-2d",
        "seed": 4,
        "latent_size": 2,
    }


def test_defaults_of_another_component_are_not_listed(registry):
    listed = found(registry, "mnist-2d", "encoder=mlp", "encoder.hidden=[5]", "dataset=arrays", "dataset.path=x.npz")
    assert set(listed) == {"name", "seed", "encoder.name", "encoder.hidden", "dataset.name", "dataset.path"}
    assert listed["encoder.hidden"] == "[5]"


def test_a_file_is_compared_with_the_defaults(registry, tmp_path):
    rate = '{name = "exponential-decay", initial_learning_rate = 0.001, decay_rate = 0.5}'
    lines = ['name = "mine"', "epochs = 20", "clip_norm = 1.0", 'transforms = ["shift"]', f"learning_rate = {rate}"]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    listed = found(registry, tmp_path / "mine.toml")
    assert {key: listed[key] for key in ("name", "clip_norm", "learning_rate.name")} == {
        "name": "mine",
        "clip_norm": 1.0,
        "learning_rate.name": "exponential-decay",
    }
    assert "epochs" not in listed
    assert listed["transforms"].startswith('[{"name": "shift"')


def test_the_config_of_a_run_gives_the_same(registry, tmp_path):
    first = resolve(compose("mnist-2d", ["optimizer=adam", "epochs=3"], registry.recipe), registry)
    (tmp_path / "config.toml").write_text(first.to_toml())
    assert found(registry, tmp_path / "config.toml") == hyperparameters(first)
