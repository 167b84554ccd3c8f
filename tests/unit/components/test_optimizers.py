"""Keras's optimizers and learning rate schedules: none forgotten, none with other options or defaults."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from vaeflow.components import learning_rates, optimizers
from vaeflow.contracts import Timeline
from vaeflow.errors import UsageError
from vaeflow.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry():
    return Registry.load()


OWNED_BY_THE_ENGINE = {
    "learning_rate", "name", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
    "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps",
}  # fmt: skip
LENGTHS = {"decay_steps", "first_decay_steps"}


def _keras_classes(module, base, others):
    found = {name: one for name, one in vars(module).items() if inspect.isclass(one) and issubclass(one, base)}
    return {name: one for name, one in found.items() if name not in others}


def _keras_options(made):
    parameters = inspect.signature(made.__init__).parameters.values()
    named = [p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]
    return {p.name: p.default for p in named if p.name not in OWNED_BY_THE_ENGINE}


def _ours(build):
    parameters = inspect.signature(build).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _kebab(name):
    return {"RMSprop": "rmsprop", "ScheduleFreeAdamW": "schedule-free-adamw"}.get(name, name.lower())


def test_every_keras_optimizer_has_its_options_and_defaults(registry):
    import keras

    others = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    classes = _keras_classes(keras.optimizers, keras.optimizers.Optimizer, others)
    assert sorted(map(_kebab, classes)) == registry.names("optimizer")
    for name, made in classes.items():
        build = registry.get("optimizer", _kebab(name)).component.build
        assert build.__module__ == optimizers.__name__
        assert _ours(build) == _keras_options(made), name
        built = registry.get("optimizer", _kebab(name)).bind({}, "optimizer").build(0.25)
        assert isinstance(built, made)
        assert float(built.learning_rate) == 0.25


def _another(value):
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value / 2


def test_every_option_reaches_the_optimizer(registry):
    for name in registry.names("optimizer"):
        registered = registry.get("optimizer", name)
        defaults = {option.name: option.default for option in registered.options()}
        others = {key: _another(value) for key, value in defaults.items() if value is not None}
        made = registered.bind(others, "optimizer").build(0.25).get_config()
        assert {key: made[key] for key in others} == pytest.approx(others), name


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_in_one_pass_is_that_of_keras(registry, name):
    import keras

    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in [(5, 7), (3,)]]
    options = {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4, "weight_decay": 0.1}
    theirs = (keras.optimizers.Adam if name == "adam" else keras.optimizers.AdamW)(0.01, **options)
    both = [registry.get("optimizer", name).bind(options, "optimizer").build(0.01), theirs]
    weights = [[keras.Variable(value) for value in start] for _ in both]
    for _ in range(20):
        gradients = [rng.normal(size=value.shape).astype(np.float32) for value in start]
        for optimizer, own in zip(both, weights, strict=True):
            optimizer.apply(gradients, own)
    for ours, keras_ in zip(both[0].variables, theirs.variables, strict=True):
        np.testing.assert_allclose(ours, keras_, rtol=1e-5, atol=1e-7, err_msg=keras_.path)
    for ours, keras_ in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, keras_, rtol=1e-6)


@pytest.mark.parametrize("length", [None, 7])
def test_a_decay_lasts_the_whole_run_unless_it_is_told_how_long(length, registry):
    given = {"initial_learning_rate": 1.0, **({"decay_steps": length} if length else {})}
    build = registry.get("learning_rate", "polynomial-decay").bind(given, "learning_rate").build
    assert build(Timeline(10, 100)).decay_steps == (length or 100)


def test_a_cosine_with_a_warm_up_ends_with_the_run(registry):
    given = {"initial_learning_rate": 0, "warmup_target": 1.0, "warmup_steps": 10, "alpha": 0.5}
    rate = registry.get("learning_rate", "cosine-decay").bind(given, "learning_rate").build(Timeline(10, 100))
    assert [float(rate(step)) for step in (0, 5, 10, 100)] == pytest.approx([0.0, 0.5, 1.0, 0.5])


def test_pieces_that_do_not_fit_are_one_line(registry):
    pieces = registry.get("learning_rate", "piecewise-constant-decay")
    with pytest.raises(UsageError, match="one more value than boundaries, not 2 values and 2 boundaries"):
        pieces.bind({"boundaries": [1, 2], "values": [1, 2]}, "learning_rate").build(Timeline(1, 1))
    with pytest.raises(UsageError, match=r"\[2, 1\] must increase"):
        pieces.bind({"boundaries": [2, 1], "values": [1, 2, 3]}, "learning_rate").build(Timeline(1, 1))


def test_every_keras_schedule_has_its_options_and_defaults(registry):
    from keras.optimizers import schedules

    classes = _keras_classes(schedules, schedules.LearningRateSchedule, {"LearningRateSchedule"})
    names = {name: "".join(f"-{c.lower()}" if c.isupper() else c for c in name)[1:] for name in classes}
    assert sorted([*names.values(), "constant"]) == registry.names("learning_rate")
    for name, made in classes.items():
        build = registry.get("learning_rate", names[name]).component.build
        assert build.__module__ == learning_rates.__name__
        theirs = {key: None if key in LENGTHS else default for key, default in _keras_options(made).items()}
        assert _ours(build) == theirs, name
