"""Layers, overrides, errors and the resolved config."""

from __future__ import annotations

import tomllib

import pytest
from helpers.paths import HELPERS
from helpers.plugin_packages import without_packages
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.config.compose import compose, merge
from vaeflow.config.recipes import recipes
from vaeflow.config.resolve import ADDED, resolve, to_toml, tree_of
from vaeflow.config.schema import KINDS_OF_SELECTIONS, NAME, Config, Section, Selection
from vaeflow.config.sources import Layer, parse_overrides
from vaeflow.errors import UsageError
from vaeflow.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry():
    """The built-in components."""
    with without_packages():
        return Registry.load()


def config(*overrides, source="mnist-2d"):
    return compose(source, overrides).config


# Recipes and layers


def test_the_recipe_of_the_article():
    article = config()
    assert (article.batch_size, article.epochs, article.steps, article.latent_size) == (100, 20, None, 2)
    assert (article.optimizer.name, article.learning_rate, article.binarization.name) == ("rmsprop", 1e-3, "threshold")
    assert article.encoder.name == article.decoder.name == "conv-mnist"


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_every_recipe_is_named_has_one_line_and_resolves(recipe, registry):
    assert recipe.text.startswith("# ")
    resolved = resolve(compose(recipe.name), registry)
    assert resolved.config.name == recipe.name


def test_the_defaults_are_the_recipe_of_the_article():
    assert Config(name="mnist-2d") == config()


def test_later_layers_win(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('recipe = "mnist-2d"\nepochs = 3\nseed = 4\n[encoder]\nwidth = 7\n')
    found = config("seed=5", source=str(mine))
    assert (found.name, found.epochs, found.seed, dict(found.encoder.options)) == ("mnist-2d", 3, 5, {"width": 7})


def test_a_file_without_a_recipe_stands_on_the_defaults(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("latent_size = 9\n")
    assert config(source=mine) == Config(latent_size=9)


def test_another_name_drops_the_options_of_the_lower_layers():
    lower = Layer("lower", {"encoder": {"name": "a", "depth": 3}})
    same = merge([lower, Layer("upper", {"encoder": {"width": 4}})]).config.encoder
    again = merge([lower, Layer("upper", {"encoder": "a"})]).config.encoder
    other = merge([lower, Layer("upper", {"encoder": {"name": "b", "width": 4}})]).config.encoder
    short = merge([lower, Layer("upper", {"encoder": "b"})]).config.encoder
    assert (same.name, dict(same.options)) == ("a", {"depth": 3, "width": 4})
    assert dict(again.options) == {"depth": 3}
    assert (other.name, dict(other.options)) == ("b", {"width": 4})
    assert (short.name, dict(short.options)) == ("b", {})


def test_rate_as_number_and_as_selection_replace_each_other():
    chosen = config("learning_rate=cosine-decay", "learning_rate.initial_learning_rate=0.1")
    assert chosen.learning_rate.name == "cosine-decay"
    layers = [Layer("a", {"learning_rate": {"name": "x", "y": 1}}), Layer("b", {"learning_rate": 0.5})]
    assert merge(layers).config.learning_rate == 0.5


def test_steps_and_epochs_clear_each_other():
    assert (config("steps=7").steps, config("steps=7").epochs) == (7, None)
    layers = [Layer("a", {"steps": 7}), Layer("b", {"epochs": 2})]
    assert (merge(layers).config.steps, merge(layers).config.epochs) == (None, 2)
    assert merge([Layer("a", {"steps": 7}), Layer("b", {"epochs": "none"})]).config.steps == 7
    assert (Config(steps=7).steps, Config(steps=7).epochs) == (7, None)


# Overrides


def test_the_order_of_a_name_and_its_options_does_not_matter():
    expected = {"encoder": {"name": "mlp", "hidden": [3]}}
    assert parse_overrides(["encoder=mlp", "encoder.hidden=[3]"]) == expected
    assert parse_overrides(["encoder.hidden=[3]", "encoder=mlp"]) == expected
    assert parse_overrides(["encoder.hidden=[3]", "encoder.name=mlp"]) == expected


def test_of_two_settings_for_one_key_the_last_counts():
    assert config("seed=1", "seed=2").seed == 2


@given(
    st.recursive(st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(alphabet="abc "), st.lists, max_leaves=5)
)
def test_a_value_is_read_as_toml(value):
    assert parse_overrides([f"key.sub={_toml(value)}"]) == {"key": {"sub": value}}


def _toml(value):
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def test_what_is_not_toml_is_text():
    assert parse_overrides(["name=my run", "a=.5", "b=2020-01-01", "c=1\nd=2"]) == {
        "name": "my run", "a": ".5", "b": "2020-01-01", "c": "1\nd=2",
    }  # fmt: skip


# Errors


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("epoch=3", "command line: epoch: unknown key; did you mean 'epochs'? Available: accumulate,"),
        ("checkpoint.every=3", "command line: checkpoint.every: unknown key; did you mean 'every_steps'?"),
        ("batch_size=x", "command line: batch_size: 'x' is not a whole number of at least 1"),
        ("batch_size=true", "command line: batch_size: true is not a whole number of at least 1"),
        ("batch_size=2.5", "command line: batch_size: 2.5 is not a whole number of at least 1"),
        ("batch_size=0", "command line: batch_size: 0 is not a whole number of at least 1"),
        ("xla=1", "command line: xla: 1 is not true or false"),
        ("microbatches=x", "command line: microbatches: 'x' is not 'auto' or a whole number of at least 1"),
        ("microbatches=200", "command line: microbatches = 200 is larger than batch_size = 100"),
        ("precision=half", "command line: precision: 'half' is not 'float32' or 'mixed_bfloat16' or 'mixed_float16'"),
        ("ema=1", "command line: ema: 1 is not a number greater than 0 and less than 1 or none"),
        ("clip_norm=nan", "command line: clip_norm: nan is not a number"),
        ("encoder=5", "command line: encoder: 5 is not a component's name or a table {name = ...}"),
        ("encoder.name=5", "command line: encoder.name: 5 is not a text"),
        ("checkpoint=3", "command line: checkpoint: 3 is not a table"),
        ("callbacks=3", "command line: callbacks: 3 is not a list (each: a component's name or a table"),
        ("learning_rate.alpha=4", "command line: learning_rate.name: is missing: name a component"),
        ("learning_rate=-1", "command line: learning_rate: -1 is not a number greater than 0 or a component's name"),
        ("name=''", "command line: name: '' is not a text of length 1 or more"),
        ("epochs=none", "command line: exactly one of epochs and steps must be set, but none is"),
        ("epochs", "command line: 'epochs' is not KEY=VALUE, such as epochs=5"),
        ("=5", "command line: '=5' is not KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_one_line(override, line):
    with pytest.raises(UsageError) as error:
        config(override)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["encoder=resnet"], "command line: encoder: unknown encoder 'resnet'; available: conv-mnist, mlp"),
        (["optimizer=adm"], "command line: optimizer: unknown optimizer 'adm'; did you mean 'adam'?"),
        (["encoder.widht=3"], "command line: encoder.widht: conv-mnist of vaeflow "),
        (["encoder.width=x"], "command line: encoder.width: 'x' is not a whole number"),
        (["kl_schedule=liner"], "command line: kl_schedule: unknown schedule 'liner'; did you mean 'linear'?"),
        (
            ["learning_rate=cosine-decay"],
            "command line: learning_rate.initial_learning_rate: missing, but cosine-decay",
        ),
        (["callbacks=['no-such']"], "command line: callbacks[0]: unknown callback 'no-such'; "),
    ],
)
def test_a_wrong_component_or_option_is_one_line(overrides, line, registry):
    with pytest.raises(UsageError) as error:
        resolve(compose("mnist-2d", overrides), registry)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_an_error_names_the_file_that_set_the_value(tmp_path, registry):
    mine = tmp_path / "mine.toml"
    mine.write_text('recipe = "mnist-2d"\n[encoder]\nwidth = "x"\n')
    with pytest.raises(UsageError) as error:
        resolve(compose(str(mine), ["encoder.name=conv-mnist", "seed=3"]), registry)
    assert str(error.value).startswith(f"{mine}: encoder.width: 'x' is not")
    mine.write_text("seed = -1\n")
    with pytest.raises(UsageError) as error:
        compose(str(mine), ["epochs=2"])
    assert str(error.value).startswith(f"{mine}: seed: -1 is not")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"epochs = ", "not valid TOML"),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (b'recipe = "mnist-3d"', "recipe: unknown recipe 'mnist-3d'; did you mean 'mnist-2d'?"),
        (b"recipe = 3", "recipe: 3 is not the name of a recipe"),
        (b"epochs = 3\nsteps = 3", "epochs and steps are both set"),
        (b"[encoder]\nwidth = 3\n[encoder.x]\ny = 1979-05-27", None),
    ],
)
def test_a_file_that_cannot_be_used(content, line, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_bytes(content)
    with pytest.raises(UsageError) as error:
        compose(str(mine))
    assert str(error.value).startswith(f"{mine}: {line or 'encoder.name: is missing'}")


def test_a_file_or_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        compose(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="it is a directory, not a regular file"):
        compose(f"{tmp_path}/")
    with pytest.raises(UsageError, match=r"unknown recipe 'mnist'; did you mean 'mnist-2d'\?"):
        compose("mnist")


def test_contradictions():
    with pytest.raises(UsageError, match="accumulate = 2 needs microbatches = 'auto', but it is 4"):
        config("microbatches=4", "accumulate=2")
    with pytest.raises(UsageError, match=r"command line: encoder is set to 3, so encoder\.width can't be set"):
        config("encoder=3", "encoder.width=4")


# The resolved config


def test_a_resolved_config_comes_back_from_its_file(registry, tmp_path):
    chosen = ["steps=5", "encoder=mlp", "encoder.hidden=[3, 4]", "optimizer=adam", "learning_rate=polynomial-decay"]
    resolved = resolve(compose("mnist-2d", [*chosen, "learning_rate.initial_learning_rate=1"]), registry)
    path = tmp_path / "config.toml"
    path.write_text(resolved.to_toml())
    again = resolve(compose(path), registry)
    assert again.config == resolved.config
    assert again.to_toml() == resolved.to_toml()
    assert again == resolved


@given(
    epochs=st.none() | st.integers(1, 99),
    clip=st.none() | st.floats(1e-9, 1e9),
    ema=st.none() | st.floats(0.01, 0.99),
    name=st.from_regex(NAME, fullmatch=True),
    microbatches=st.just("auto") | st.integers(1, 100),
    every=st.none() | st.integers(1, 9),
)
def test_every_config_comes_back_from_its_toml(*, epochs, clip, ema, name, microbatches, every):
    length = {"epochs": epochs} if epochs else {"steps": 3}
    checkpoint = {"every_steps": every}
    written = Config(name=name, clip_norm=clip, ema=ema, microbatches=microbatches, checkpoint=checkpoint, **length)
    tree = tomllib.loads(to_toml(written))
    assert merge([Layer("file", tree)]).config == written


def test_the_resolved_config_spells_every_option_out(registry):
    tree = tomllib.loads(resolve(compose("mnist-2d"), registry).to_toml())
    assert set(tree) == set(Config.model_fields) - set(ADDED)  # as before there were these keys
    assert tree["optimizer"] == {
        "name": "rmsprop", "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False, "weight_decay": "none",
    }  # fmt: skip
    assert tree["learning_rate"] == 0.001


def test_a_plain_learning_rate_is_elbo_as_a_constant(registry):
    assert resolve(Config(), registry).learning_rate.build(None) == 1e-3


def test_every_key_is_described():
    sections = [Config, *Section.__subclasses__()]
    assert all(field.description for section in sections for field in section.model_fields.values())
    assert set(KINDS_OF_SELECTIONS) <= set(Config.model_fields)


# Models


@pytest.fixture(scope="module")
def with_groups():
    """The components, with a model that uses the likelihood alone."""
    return Registry.load([str(HELPERS / "two_groups.py")])


def test_keys_below_the_model_may_be_those_of_another_one(with_groups, tmp_path):
    found = resolve(compose("mnist-mlp-20", ["model=two-groups"]), with_groups)
    assert (found.config.latent_size, found.config.encoder.name) == (2, "conv-mnist")  # unused: as if they were not set
    assert {"encoder", "latent_size"}.isdisjoint(found.tree())
    (tmp_path / "config.toml").write_text(found.to_toml())
    again = resolve(compose(tmp_path / "config.toml"), with_groups)
    assert again == found
    assert "encoder" not in again.components()


@pytest.mark.parametrize(
    ("text", "settings", "place"),
    [
        ('recipe = "mnist-2d"\nmodel = "two-groups"\nencoder = "mlp"\n', [], "mine.toml"),
        ('recipe = "mnist-2d"\nmodel = "two-groups"\n', ["encoder=mlp"], "command line"),
        ('recipe = "mnist-2d"\nencoder = "mlp"\n', ["encoder.hidden=[3]", "model=two-groups"], "command line"),
    ],
)
def test_a_key_set_with_a_model_that_ignores_it(with_groups, tmp_path, text, settings, place):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=rf"{place}: encoder has no effect: model 'two-groups' does not use it"):
        resolve(compose(tmp_path / "mine.toml", settings), with_groups)
    with pytest.raises(UsageError, match=r"^encoder has no effect"):
        resolve(Config(model=Selection(name="two-groups"), encoder=Selection(name="mlp")), with_groups)


def test_the_default_model_is_not_written():
    assert {"model", "condition"}.isdisjoint(tree_of(Config()))
    assert tree_of(Config(condition={"labels": True}))["condition"] == {"labels": True}
    assert "formats" not in tree_of(Config())["plots"]
    assert tree_of(Config(plots={"formats": ["png", "pdf"]}))["plots"]["formats"] == ["png", "pdf"]


@pytest.mark.parametrize("formats", ['["svg"]', "[]", "pdf"])
def test_an_unknown_format_of_plots(formats):
    with pytest.raises(UsageError, match=r"command line: plots\.formats: .* is not a list \(each: 'png' or 'pdf'\)"):
        compose("mnist-2d", [f"plots.formats={formats}"])
