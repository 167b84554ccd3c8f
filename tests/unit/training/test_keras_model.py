"""A run's Keras models: the run's numbers, complete files, errors in one line, no trace in the caller's process."""

from __future__ import annotations

import json
import random
import shutil
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.paths import ROOT
from helpers.saved_models import (
    MLP,
    model_of,
    require_close,
    require_same_parts_when_saved,
    require_same_when_saved,
    results_of,
)

import vaeflow
from vaeflow import Decoder, Encoder, GenerativeModel
from vaeflow.errors import PluginError, UsageError

HELPERS = ROOT / "tests" / "helpers"
TWO_GROUPS = str(HELPERS / "two_groups.py")
SHAPE = (4, 4, 1)
X = (np.random.default_rng(0).random((5, *SHAPE)) > 0.5).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0])
MODELS = {
    "vamp": (SHAPE, (*MLP, "prior=vamp", "prior.components=4"), {}),
    "mixture": (SHAPE, (*MLP, "prior=mixture-of-gaussians", "likelihood=laplace", "likelihood.variance=shared"), {}),
    "state": (SHAPE, (*MLP, "encoder.normalization=batch", "precision=mixed_float16"), {}),
    "labels": (
        SHAPE,
        (*MLP, "precision=mixed_bfloat16", "prior={name='diagonal-gaussian', per_class=true}"),
        {"classes": 3},
    ),
    "groups": (SHAPE, ("model=two-groups",), {"classes": 3, "plugins": [TWO_GROUPS]}),
    "codes": (SHAPE, (*MLP, "posterior=vq"), {"plugins": [str(HELPERS / "vq_plugins.py")]}),
}
USUAL = ("state", "groups")


def made(name):
    shape, settings, more = MODELS[name]
    return model_of(shape, *settings, **more)


@pytest.fixture(scope="module")
def small():
    """A small model of one group."""
    return model_of(SHAPE, *MLP)


@pytest.fixture(scope="module")
def conditional():
    """A small model of two groups with three classes."""
    return made("groups")


@pytest.fixture(scope="module")
def run(tmp_path_factory, mnist_content):
    """A short run with an EMA of the weights; its directory is gone."""
    folder = tmp_path_factory.mktemp("run")
    x, y = (np.asarray(array[:60]) for array in mnist_content[:2])
    np.savez(folder / "digits.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    config = {
        "recipe": "mnist-2d",
        "dataset": {"name": "arrays", "path": str(folder / "digits.npz")},
        "batch_size": 20,
        "steps": 3,
        "ema": 0.5,
        "log": {"tensorboard": False},
        "plots": {"draw": []},
        "condition": {"labels": True},
        **{kind: {"name": "mlp", "hidden": [8]} for kind in ("encoder", "decoder")},
    }
    trained = vaeflow.train(config, run_dir=folder / "run")
    shutil.rmtree(folder / "run")
    return trained


@pytest.mark.slow
def test_it_gives_the_numbers_of_the_run(run, tmp_path):
    x, labels = run.examples(count=50), run.labels(count=50)
    run.model.save(tmp_path / "x.keras")
    for model in (run.model, keras.models.load_model(tmp_path / "x.keras")):
        require_close(model.encode(x, labels), run.encode(x, labels=labels))
        require_close(model(x, labels), run.reconstruct(x, labels=labels))
        require_close(model.predict({"x": x, "labels": labels}, verbose=0), run.reconstruct(x, labels=labels))
        require_close(model.sample(50, seed=3, temperature=0.7), run.sample(50, seed=3, temperature=0.7))
        require_close(model.elbo(x, labels, samples=2, seed=3), run.elbo(x, samples=2, seed=3, labels=labels))
    z = run.encode(x, labels=labels)
    require_close(run.encoder(x, labels), z)
    require_close(run.decoder(z, labels), run.decode(z, labels=labels))


@pytest.mark.slow
def test_it_has_the_averaged_weights(run):
    assert run.model is run.model
    averages = [np.asarray(value) for _, value in run.experiment.average.mapping()]
    assert all(map(np.array_equal, run.model.get_weights(), averages))
    assert not any(map(np.array_equal, run.model.get_weights()[::2], run.experiment.model.get_weights()[::2]))


@pytest.mark.slow
def test_more_training_makes_another_model(run):
    before = run.model
    run.step += 1
    assert run.model is not before


@pytest.mark.parametrize(
    "name", [one if one in USUAL else pytest.param(one, marks=pytest.mark.repetition) for one in MODELS]
)
def test_it_is_the_same_when_saved(name, tmp_path):
    labels = (LABELS,) if MODELS[name][2].get("classes") else ()
    model = made(name)
    require_same_when_saved(model, tmp_path, X, *labels)
    require_same_parts_when_saved(model, tmp_path, X, *labels)


def test_a_signature_names_its_inputs_and_groups(conditional, tmp_path):
    conditional.export(tmp_path / "model")
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    inputs = {name: set(one.structured_input_signature[1]) for name, one in signatures.items()}
    of_x, of_z = {"x", "labels"}, {"z_top", "z_low_maps", "labels"}
    assert (inputs["serve"], inputs["encode"], inputs["serving_default"]) == (of_x, of_x, of_x)
    assert (inputs["decode"], inputs["elbo"]) == (of_z, of_x | {"noise"})
    assert set(signatures["encode"].structured_outputs) == {"top", "low-maps"}


def names_in(path):
    """Return the names of the arrays in a .keras file."""
    with zipfile.ZipFile(path) as file, file.open("model.weights.h5") as weights, h5py.File(weights) as arrays:
        found = []
        arrays.visititems(lambda name, one: found.append(name) if isinstance(one, h5py.Dataset) else None)
    return found


def test_a_file_has_every_variable_once(tmp_path):
    model = made("state")
    model.save(tmp_path / "x.keras")
    names = [f"vars/{number:03d}_{v.name}" for number, v in enumerate(model.computation.network.variables)]
    assert sorted(names_in(tmp_path / "x.keras")) == names
    assert len(names) == len(model.variables)


def test_the_variables_are_those_of_the_network(small):
    network = small.computation.network
    assert {id(v) for v in small.variables} == {id(v) for v in network.variables}
    of_encoder = {id(v) for part in (network.encoder, network.posterior) for v in part.variables}
    assert {id(v) for v in Encoder.of(small).variables} == of_encoder
    assert {id(v) for v in Decoder.of(small).variables} == {id(v) for v in network.decoder.variables}


@pytest.mark.parametrize("wrong", ["missing", "left over", "shape"])
def test_an_incomplete_file_is_refused(wrong, small):
    class Store(dict):
        pass

    store = Store()
    small.save_own_variables(store)
    first, before = next(iter(store)), [w.copy() for w in small.get_weights()]
    if wrong == "missing":
        del store[first]
    elif wrong == "left over":
        store["999_more"] = store[first]
    else:
        store[first] = store[first][:-1]
    with pytest.raises(ValueError, match="999_more" if wrong == "left over" else first):
        small.load_own_variables(store)
    assert all(map(np.array_equal, before, small.get_weights()))


def test_building_leaves_the_callers_state_alone(small):
    def state():
        return random.getstate(), str(np.random.get_state()), keras.config.dtype_policy().name  # noqa: NPY002

    config, before = small.get_config(), state()
    config["config"] = config["config"].replace('"float32"', '"mixed_bfloat16"')
    tf.random.set_seed(4)
    drawn = [tf.random.normal((2,)).numpy().tolist() for _ in range(2)]
    tf.random.set_seed(4)
    first = tf.random.normal((2,)).numpy().tolist()
    rebuilt = GenerativeModel.from_config(config)
    assert [first, tf.random.normal((2,)).numpy().tolist()] == drawn
    assert state() == before
    assert rebuilt.computation.network.encoder.layers[-1].compute_dtype == "bfloat16"


def test_it_is_a_keras_model(small, capsys):
    assert isinstance(small, keras.Model)
    assert [layer.name for layer in small.layers] == ["encoder", "posterior", "decoder"]
    assert small.get_layer("decoder") is small.computation.network.decoder
    small.summary()
    assert f"Total params: {small.count_params():,}" in capsys.readouterr().out
    inputs = keras.Input(SHAPE)
    around = keras.Model(inputs, keras.layers.Dense(2)(Encoder.of(small)(inputs)))
    assert around(X).shape == (5, 2)


def test_the_elbo_is_that_of_any_noise(small):
    noise = np.random.default_rng(1).normal(size=(5, 3, 3)).astype(np.float32)
    each = [small.elbo(X, noise=noise[:, [sample]]) for sample in range(3)]
    np.testing.assert_allclose(small.elbo(X, noise=noise), np.mean(each, axis=0), rtol=1e-5)


# Plugins


def test_a_missing_plugin_is_named_in_one_line(monkeypatch, conditional):
    config = conditional.get_config()
    for name, module in list(sys.modules.items()):  # other tests import it, too
        if str(getattr(module, "__file__", None)).endswith("two_groups.py"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(PluginError, match=r"needs the plugin two_groups\.py for its model 'two-groups', which is not"):
        GenerativeModel.from_config(config)


def test_an_imported_plugin_is_found(monkeypatch, conditional):
    monkeypatch.delitem(sys.modules, "vaeflow_plugin_two_groups")
    monkeypatch.syspath_prepend(str(HELPERS))
    __import__("two_groups")
    again = GenerativeModel.from_config(conditional.get_config())
    again.set_weights(conditional.get_weights())
    require_close(results_of(again, X, (LABELS,)), results_of(conditional, X, (LABELS,)))


def test_a_component_without_a_module_is_a_custom_object(tmp_path):
    def flat(x_shape: tuple[int, ...]):
        return keras.Sequential([keras.Input(x_shape), keras.layers.Flatten()], name="encoder")

    component = vaeflow.Component("encoder", "flat", flat)
    model = model_of(SHAPE, *MLP, "encoder={name='flat'}", plugins=[component])
    model.save(tmp_path / "x.keras")
    with pytest.raises(PluginError, match=r"for its encoder 'flat', which is not here: .* in custom_objects$"):
        keras.models.load_model(tmp_path / "x.keras")
    again = keras.models.load_model(tmp_path / "x.keras", custom_objects={"flat": component})
    require_close(results_of(again, X), results_of(model, X))


def test_a_file_imports_no_module(small):
    config = {**small.get_config(), "plugins": [dict.fromkeys(("distribution", "version"), None)]}
    config["plugins"][0] |= {"module": "antigravity", "components": [["encoder", "mlp"]]}
    with pytest.raises(PluginError, match="needs the plugin antigravity"):
        GenerativeModel.from_config(config)
    assert "antigravity" not in sys.modules


def test_another_version_is_a_warning(small, caplog):
    GenerativeModel.from_config({**small.get_config(), "vaeflow": "0.0.7"})
    assert "was made with vaeflow 0.0.7; here is" in caplog.text


def test_a_config_is_plain_data(small):
    config = json.loads(json.dumps(small.get_config()))
    assert GenerativeModel.from_config(config).get_config() == config
    with pytest.raises(UsageError, match="its config is corrupt: KeyError: 'x_shape'"):
        GenerativeModel.from_config({key: value for key, value in config.items() if key != "x_shape"})


# Errors


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda model: model(X[0]), r"x has shape \(4, 4, 1\), but this model takes \[B, 4, 4, 1\]"),
        (lambda model: model(X.astype(np.uint8)), "x is uint8, but this model takes floats"),
        (lambda model: model(X, LABELS), "takes no labels"),
        (lambda model: model({"x": X, "y": LABELS}), "has the keys x and labels, not x, y"),
        (lambda model: model.decode(np.zeros((5, 2))), r"z has shape \(5, 2\), but this model takes \[B, 3\]"),
        (lambda model: model.generate(np.zeros((5, 2))), r"noise has shape \(5, 2\)"),
        (lambda model: model.elbo(X, noise=np.zeros((5, 3))), r"noise has shape \(5, 3\), .* takes \[5, L, 3\]"),
        (lambda model: Encoder.of(model)(X[:, :2]), r"x has shape \(5, 2, 4, 1\)"),
    ],
)
def test_an_error_is_one_line(call, text, small):
    with pytest.raises(UsageError, match=text) as caught:
        call(small)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda model: model(X), "this model is conditional: give the label of each example, 0 to 2"),
        (lambda model: model(X, LABELS + 1), "label 3 is not one of the 3 classes 0 to 2"),
        (lambda model: model(X, LABELS / 2), r"labels have shape \(5,\) and type float64"),
        (lambda model: model.decode(np.zeros((5, 3)), LABELS), "give z as a dict of top, low-maps"),
        (lambda model: model.decode({"top": np.zeros((5, 3))}, LABELS), "z has the groups top, but this model has"),
    ],
)
def test_an_error_about_labels_or_groups_is_one_line(call, text, conditional):
    with pytest.raises(UsageError, match=text) as caught:
        call(conditional)
    assert "\n" not in str(caught.value)
