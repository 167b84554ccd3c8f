"""vaeflow from Python: what a run is, and what `train` and `start` take."""

from __future__ import annotations

import types

import pytest

import vaeflow
from vaeflow.callbacks import Callback
from vaeflow.config.compose import compose
from vaeflow.errors import PluginError, UsageError
from vaeflow.training import history

SMALL = {
    "recipe": "mnist-2d",
    "dataset": {"name": "digits", "train_examples": 60, "test_examples": 20},
    "encoder": "tiny",
    "decoder": {"name": "mlp", "hidden": (4,)},
    "batch_size": 30,
    "epochs": 2,
    "log": {"every_steps": 1, "tensorboard": False},
    "plots": {"draw": ["samples"]},
}


def tiny(x_shape, *, width: int = 4):
    """One dense layer."""
    import keras

    x = keras.Input(x_shape)
    return keras.Model(x, keras.layers.Dense(width)(keras.layers.Flatten()(x)))


TINY = vaeflow.Component("encoder", "tiny", tiny)


@pytest.fixture(scope="module")
def seen():
    """What callbacks given to `run` saw."""
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, seen):
    """A run of a dict, with a component and callbacks given from Python."""

    def on_epoch(run, epoch):
        seen.append(("on_epoch", epoch, run.step))

    class Counts(Callback):
        def on_end(self, run):
            seen.append(("on_end", run.step))

    def show(run, record):
        seen.append(("show", run.config.epochs, record.scalars["test/elbo"]))

    folder = tmp_path_factory.mktemp("api") / "run"
    return vaeflow.train(SMALL, run_dir=folder, plugins=[TINY], callbacks=[on_epoch, Counts(), show])


def test_the_public_names_are_listed():
    assert {"train", "start", "resume", "load", "evaluate", "Component"} <= set(dir(vaeflow))
    assert all(getattr(vaeflow, name) is not None for name in dir(vaeflow))


def test_a_run_is_one_line(run):
    assert repr(run).startswith(f"<Run mnist-2d in {run.directory}: step 4 of 4, test/elbo -")
    assert len(repr(run)) < 200


def test_a_notebook_shows_the_pictures(run):
    shown = run._repr_html_()
    assert shown.count('<img src="data:image/png;base64,') == 1
    assert str(run.directory) in shown


def test_functions_are_called_by_their_names(run, seen):
    elbo = run.metrics["test/elbo"]
    assert [one for one in seen if one[0] == "on_epoch"] == [("on_epoch", 1, 2), ("on_epoch", 2, 4)]
    assert [one for one in seen if one[0] == "on_end"] == [("on_end", 4)]
    assert [one[1:] for one in seen if one[0] == "show"][-1] == (2, elbo)


@pytest.mark.parametrize("pandas", [True, False])
def test_history_has_every_row(run, monkeypatch, pandas):
    if not pandas:
        monkeypatch.setattr(history.importlib.util, "find_spec", lambda name: None)
    found = run.history
    assert list(found["step"]) == [1, 2, 2, 3, 4, 4]
    assert list(found["test/elbo"])[-1] == run.metrics["test/elbo"]
    assert hasattr(found, "plot") == pandas


def test_a_run_and_its_directory_have_the_same_figures(run):
    here = vaeflow.evaluate(run, samples=2)
    assert here == vaeflow.evaluate(run.directory, samples=2, plugins=[TINY])
    assert here["metrics"]["test/elbo"] != run.metrics["test/elbo"]  # another number of samples


def test_load_needs_the_same_component(run):
    with pytest.raises(PluginError, match=f"unknown encoder 'tiny'.*made with {__name__}"):
        vaeflow.load(run.directory)

    loaded = vaeflow.load(run.directory, plugins=[TINY])
    assert loaded.metrics == run.metrics
    assert (loaded.sample(2) == run.sample(2)).all()


def test_a_component_of_a_notebook_has_a_fingerprint(tmp_path):
    """A function that no file holds: its source decides."""
    found = []
    for width in (2, 3):
        space = {"__name__": "made_in_a_notebook"}
        exec(
            f"def bare(x_shape):\n    import keras\n    x = keras.Input(x_shape)\n    return keras.Model("
            f"x, keras.layers.Dense({width})(keras.layers.Flatten()(x)))\n",
            space,
        )
        component = vaeflow.Component("encoder", "bare", space["bare"])
        settings = {"encoder": "bare", "steps": 1, "epochs": None}
        run = vaeflow.train({**SMALL, **settings}, run_dir=tmp_path / str(width), plugins=[component])
        found.append((run, component))
    (first, _), (_, changed) = found
    with pytest.raises(UsageError, match="encoder bare"):
        vaeflow.load(first.directory, plugins=[changed])


def test_a_module_is_a_plugin():
    module = types.ModuleType("made_here")
    module.vaeflow_components = vaeflow.hookimpl(lambda: [TINY])
    run = vaeflow.start(SMALL, plugins=[module])
    assert repr(run) == "<Run mnist-2d: step 0 of 4>"
    with pytest.raises(UsageError, match="no directory before its first epoch"):
        _ = run.directory


def test_nothing_else_is_a_plugin():
    with pytest.raises(PluginError, match=r"plugins: 5 is neither a module, .* nor a vaeflow\.Component"):
        vaeflow.start(SMALL, plugins=[5])


def stops(run, record):
    """A function that would change the run."""
    run.control.stop("enough")


def on_evaluations(run, record):
    """A function with a misspelt name."""


def test_functions_cannot_change_a_run(tmp_path):
    with pytest.raises(PluginError, match=r"callback stops, given from Python, on_evaluation: run\.control\.stop: .*"):
        vaeflow.train(SMALL, run_dir=tmp_path / "run", plugins=[TINY], callbacks=[stops])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (on_evaluations, "callbacks: function on_evaluations: did you mean 'on_evaluation'"),
        ("progress", "callbacks: 'progress' is neither a function nor a"),
        (Callback, "neither a function nor a vaeflow.callbacks.Callback object"),
    ],
)
def test_wrong_callbacks_are_one_line(given, message):
    with pytest.raises(UsageError, match=message):
        vaeflow.start(SMALL, plugins=[TINY], callbacks=[given])


def test_dicts_and_texts_are_the_same_settings():
    texts = ["epochs=5", "encoder=mlp", "encoder.hidden=[64, 32]", "clip_norm=none"]
    values = {"epochs": 5, "encoder": "mlp", "encoder.hidden": (64, 32), "clip_norm": None}
    found = compose("mnist-2d", texts).config
    assert compose("mnist-2d", values).config == found
    tree = {"recipe": "mnist-2d", "epochs": 5, "encoder": {"name": "mlp", "hidden": [64, 32]}, "clip_norm": None}
    assert compose(tree).config == found
    assert compose(compose("mnist-2d").config, values).config == found


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ({"epoch": 3}, (), "config: epoch: unknown key; did you mean 'epochs'"),
        ("mnist-2d", {"batch_size": 0}, "overrides: batch_size: 0 is not a whole number of at least 1"),
        ("mnist-2d", {"batch size": 1}, "overrides: 'batch size' is not a key"),
        ("mnist-2d", {3: 1}, "overrides: 3 is not a key"),
        ("mnist-2d", "epochs=3", r"overrides: 'epochs=3' is a text, not a list of them, such as \['epochs=5'\]"),
        ({"recipe": 5}, (), "config: recipe: 5 is not the name of a recipe"),
        ("mnist-2d", {"encoder.width": 1, "encoder": 5}, "encoder"),
        ({"batch_size": {1, 2}}, (), "config: batch_size"),
    ],
)
def test_wrong_settings_are_one_line(config, overrides, message):
    with pytest.raises(UsageError, match=message) as caught:
        compose(config, overrides)
    assert "\n" not in str(caught.value)
