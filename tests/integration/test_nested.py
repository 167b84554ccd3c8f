"""A run whose components take components: trained, killed, resumed, and refused if the code inside has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import nested_plugins
from helpers.cut_runs import cut_back, moved
from helpers.small_runs import on, summary, tree, vaeflow, write_digits

from vaeflow.cli import main
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.plugins.registry import Registry

INNER = """
from vaeflow import Component, hookimpl

def narrow(x_shape, *, units: int = 4):
    from keras import Input, Model, layers
    x = Input(x_shape)
    return Model(x, layers.Dense(units, activation="relu")(layers.Flatten()(x)), name="narrow")

@hookimpl
def vaeflow_components():
    yield Component("encoder", "narrow", narrow)
"""
LEVELS = "encoder.levels=[{latent_size = 3, encoder = 'narrow'}, {latent_size = 2, slope = 0.5}]"
CHOSEN = ("encoder=stacked", LEVELS, "encoder.inner={name = 'around', inner = {name = 'narrow', units = 5}}")
SETTINGS = (*CHOSEN, "objective=doubled", "epochs=1", "checkpoint.every_steps=4")
PLUGINS = ("--plugin", "inner.py", "--plugin", "outer.py")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, mnist_content):
    """A run as a kill leaves it at step 4 of 8, its data and its plugins beside it, and the whole run."""
    folder = tmp_path_factory.mktemp("stopped")
    data = write_digits(folder / "digits.npz", mnist_content)
    shutil.copy(nested_plugins.__file__, folder / "outer.py")
    (folder / "inner.py").write_text(INNER)
    plugins = [word if word.startswith("--") else str(folder / word) for word in PLUGINS]
    usual = [one for one in on(data) if not one.startswith(("encoder", "epochs"))]
    assert main(["train", "mnist-2d", "--run-dir", str(folder / "run"), *plugins, *usual, *SETTINGS]) == 0
    shutil.copytree(folder / "run", folder / "whole")
    cut_back(folder / "run", 4)
    return folder


@pytest.fixture
def run(tmp_path, stopped, monkeypatch):
    """A copy of it, in a folder that is the working directory."""
    return moved(stopped, tmp_path / "here", monkeypatch)


def test_it_resumes_to_the_same_state(run):
    assert main(["resume", str(run), *PLUGINS]) == 0
    assert summary(run) == summary(run.with_name("whole"))
    assert summary(run)["changes"] == []


def test_its_config_comes_back_from_the_file(run):
    registry = Registry.load(["inner.py", "outer.py"])
    again = resolve(compose(run / "config.toml"), registry)
    assert again.to_toml() == (run / "config.toml").read_text()
    assert again.encoder.nested()["inner.inner"].options == {"units": 5}
    assert again.encoder.nested()["levels[0].encoder"].options == {"units": 4}
    assert again.objective.nested()["inner"].options == {"beta": 2.0, "samples": 1}


def test_it_records_the_components_inside(run):
    environment = json.loads((run / "environment.json").read_text())
    origins = {key: Path(one.split(" ")[0]).name for key, one in environment["components"].items() if "." in key}
    assert origins["encoder.inner.inner"] == origins["encoder.levels[0].encoder"] == "inner.py"
    assert origins["encoder.inner"] == "outer.py"
    assert origins["objective.inner"] == "vaeflow"
    assert {"inner.py", "outer.py", "vaeflow"} <= set(environment["code"])


def change_code(run):
    plugin = run.parent / "inner.py"
    plugin.write_text(plugin.read_text().replace("relu", "tanh"))
    return "the code of inner.py was 'sha256 "


def change_option(run):
    config = run / "config.toml"
    config.write_text(config.read_text().replace("slope = 0.5", "slope = 0.25"))
    return "encoder.levels[1].slope was 0.5 and is 0.25"


def change_objective(run):
    config = run / "config.toml"
    config.write_text(config.read_text().replace("beta = 2.0", "beta = 3.0"))
    return "objective.inner.beta was 2.0 and is 3.0"


CHANGES = [change_code, change_option, change_objective]


@pytest.mark.parametrize("change", CHANGES)
def test_resume_refuses_a_change_inside(run, capsys, change):
    words, before = change(run), tree(run)
    assert main(["resume", str(run), *PLUGINS]) == 2
    assert "since the checkpoint of step 4 was saved, " + words in capsys.readouterr().err
    assert tree(run) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_inside_is_accepted_by_name(run, change):
    words = change(run)
    assert main(["resume", str(run), *PLUGINS, "--accept-changes"]) == 0
    (recorded,) = summary(run)["changes"]
    assert recorded.startswith(f"step 4: {words}")


def test_evaluate_refuses_changed_code_inside(run, capsys):
    words = change_code(run)
    assert main(["evaluate", str(run), *PLUGINS]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_plugin_inside_is_named(run, capsys):
    assert main(["resume", str(run), "--plugin", "outer.py"]) == 2
    error = capsys.readouterr().err
    assert "config.toml: encoder.inner.inner: unknown encoder 'narrow'" in error
    assert "/inner.py (--plugin), " in error


def test_plugins_check_takes_components_as_options(run):
    options = ["levels=[{latent_size = 2, encoder = 'narrow'}]", "inner=narrow", "inner.units=3"]
    command = ["plugins", "check", "encoder", "stacked", *options, *PLUGINS, "--rule", "bits"]
    done = vaeflow(*command)
    assert done.returncode == 0, done.stderr
    wrong = vaeflow(*command, "inner.unit=3")
    assert wrong.returncode == 2
    assert "encoder.inner.unit: narrow of " in wrong.stderr
