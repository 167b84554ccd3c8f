"""Seeing what plugins do: tracing, leaving one out, listing, and runs that lack theirs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from helpers.plugin_packages import GOOD, site_in
from helpers.small_runs import on, train, write_digits

from vaeflow.cli import main
from vaeflow.errors import PluginError
from vaeflow.plugins.registry import Registry
from vaeflow.training.existing import resolve_run
from vaeflow.training.run_files.directory import RunDirectory

WIDE = """
def wide(x_shape: tuple[int, ...], *, hidden: tuple[int, ...] = (8,)):
    '''One dense layer.'''
    import keras
    x = keras.Input(x_shape)
    return keras.Model(x, keras.layers.Dense(hidden[0])(keras.layers.Flatten()(x)))

@hookimpl
def vaeflow_components():
    yield Component("encoder", "wide", wide)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    with site_in(tmp_path, monkeypatch) as made:
        yield made


def test_tracing_says_what_was_found_and_how_long_it_took(site, monkeypatch, capfd):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    name, broken = site.install(GOOD), site.install("raise RuntimeError('boo')", "vaeflow-broken", "3")
    Registry.load()
    lines = capfd.readouterr().err.splitlines()
    assert f"vaeflow: plugins: found vaeflow-made 1.2 (module {name})" in lines
    assert any(re.fullmatch(rf"vaeflow: plugins: imported {name} \(\d+ ms\)", line) for line in lines)
    assert f"vaeflow: plugins: {name} has vaeflow_components: encoder resnet" in lines
    why = f"plugin vaeflow-broken 3 (module {broken}) was not loaded: RuntimeError: boo"
    assert f"vaeflow: plugins: {why}" in lines


def test_without_the_variable_nothing_is_traced(site, capfd):
    site.install(GOOD)
    Registry.load()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("by", ["distribution", "module"])
def test_an_installed_plugin_can_be_left_out(by, site, capsys):
    name = site.install(GOOD)
    left_out = "vaeflow-made" if by == "distribution" else name
    assert main(["plugins", "--disable-plugin", left_out]) == 0
    out = capsys.readouterr().out
    assert "resnet" not in out
    assert out.splitlines()[-1] == f"  vaeflow-made 1.2 (module {name}): disabled by --disable-plugin"
    assert main(["plugins", "show", "encoder", "resnet", "--disable-plugin", left_out]) == 2
    assert "disabled by --disable-plugin: vaeflow-made 1.2" in capsys.readouterr().err


def test_leaving_out_what_is_not_installed_names_the_nearest(site, capsys):
    site.install(GOOD)
    assert main(["plugins", "--disable-plugin", "vaeflow-mad"]) == 2
    assert "no plugin 'vaeflow-mad' is installed; did you mean 'vaeflow-made'?" in capsys.readouterr().err


def test_a_broken_plugin_that_is_left_out_warns_no_more(site, capsys, caplog):
    site.install("raise RuntimeError('boo')")
    assert main(["plugins", "--disable-plugin", "vaeflow-made"]) == 0
    assert not caplog.records


def test_the_list_has_source_version_hooks_and_file(site, capsys):
    name = site.install(GOOD)
    assert main(["plugins"]) == 0
    expected = f"  vaeflow-made 1.2 (module {name}): 1 component by vaeflow_components, from {site.path / name}.py"
    assert expected in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_a_run_names_the_plugin_that_it_lacks(site, tmp_path, mnist_content, capfd):
    site.install(WIDE, "vaeflow-wide", "0.3")
    data = write_digits(tmp_path / "digits.npz", mnist_content)
    run = train(tmp_path / "run", data, "encoder=wide", "steps=2", "metrics=['squared-error']")
    components = json.loads((run / "environment.json").read_text())["components"]
    assert components["encoder"] == "vaeflow-wide 0.3"
    assert components["metrics[0]"].startswith("vaeflow ")
    lacks = "unknown encoder 'wide'.* The run was made with vaeflow-wide 0.3, which is missing now: install it"
    with pytest.raises(PluginError, match=lacks):
        resolve_run(RunDirectory(run), ["no:vaeflow-wide"])
    capfd.readouterr()
    for command in ("resume", "evaluate", "plot"):
        assert main([command, str(run), "--disable-plugin", "vaeflow-wide"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert re.search(lacks, line)


def test_listing_imports_no_tensorflow_with_plugins_too(site, tmp_path):
    site.install(GOOD)
    code = f"import sys; sys.path.insert(0, {str(site.path)!r}); from vaeflow.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('tensorflow' in sys.modules)", "plugins"], capture_output=True, text=True
    )
    assert "resnet" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_the_launcher_hands_on_what_is_left_out(site, capsys, tmp_path):
    site.install(GOOD)
    arguments = [
        "launch",
        "local",
        "mnist-2d",
        "--processes",
        "2",
        "--strategy",
        "multiworker",
        *on(tmp_path / "x.npz"),
    ]
    assert main([*arguments, "--disable-plugin", "vaeflow-made"]) == 0
    assert "--disable-plugin=vaeflow-made" in capsys.readouterr().out
