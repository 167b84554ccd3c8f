"""Recipes of plugins: found by name, listed, based on each other, checked; errors name the plugins."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile

import pytest
from helpers.plugin_packages import GOOD, site_in

import vaeflow.training.provenance.code as code_module
from vaeflow.cli import main
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.errors import PluginError, UsageError
from vaeflow.plugins.registry import Registry

WIDE = (
    '# Wide, in a minute.\nrecipe = "mnist-mlp-20"\nname = "wide"\nepochs = 3\n[encoder]\nname = "mlp"\nhidden = [7]\n'
)
HOOK = "@hookimpl\ndef vaeflow_recipes():\n    return {files}\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    with site_in(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def installed(site):
    """A function that installs a distribution with recipes, and returns the name of its module."""

    def install(distribution="vaeflow-made", version="1.2", /, **texts):
        folder = site.path / distribution
        folder.mkdir()
        files = [folder / f"{name.replace('_', '-')}.toml" for name in texts]
        for file, text in zip(files, texts.values(), strict=True):
            file.write_text(text)
        return site.install(HOOK.format(files=list(map(str, files))), distribution, version)

    return install


def config_of(source, *overrides, modules=()):
    registry = Registry.load(modules)
    return resolve(compose(source, overrides, registry.recipe), registry).config


def test_a_recipe_of_a_plugin_is_found_by_name(installed):
    installed(wide=WIDE)
    config = config_of("wide", "seed=4")
    assert (config.name, config.epochs, config.seed, config.latent_size) == ("wide", 3, 4, 20)
    assert config.encoder.options["hidden"] == [7]
    assert config.posterior.name == "diagonal-gaussian"


def test_a_plugin_that_is_not_installed_has_recipes_too(site, tmp_path):
    (site.path / "wide.toml").write_text(WIDE)
    name = site.module("from pathlib import Path\n" + HOOK.format(files="[Path(__file__).parent / 'wide.toml']"))
    assert config_of("wide", modules=[str(site.path / f"{name}.py")]).name == "wide"
    with pytest.raises(UsageError, match=r"unknown recipe 'wide'; "):
        config_of("wide")


def test_a_package_in_a_zip_file_has_recipes_too(site, tmp_path, monkeypatch):
    hook = f"from importlib.resources import files\nfrom vaeflow import hookimpl\n{HOOK}"
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as file:
        file.writestr("zipped_recipes/__init__.py", hook.format(files="[files(__name__) / 'wide.toml']"))
        file.writestr("zipped_recipes/wide.toml", WIDE)
    monkeypatch.syspath_prepend(str(tmp_path / "zipped.zip"))
    assert config_of("wide", modules=["zipped_recipes"]).epochs == 3


def test_files_and_recipes_are_based_on_recipes(installed, tmp_path):
    installed(wide=WIDE, wider='# Wider.\nrecipe = "wide"\nname = "wider"\n[encoder]\nhidden = [9]\n')
    mine = tmp_path / "mine.toml"
    mine.write_text('recipe = "wider"\nepochs = 5\n')
    config = config_of(str(mine))
    assert (config.name, config.epochs, config.encoder.options["hidden"]) == ("wider", 5, [9])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Made.\nepochz = 3\n", r"made\.toml of vaeflow-made 1\.2: epochz: unknown key; did you mean 'epochs'\?"),
        ("# Made.\nepochs = = 3\n", r"made\.toml of vaeflow-made 1\.2: not valid TOML: .* line 2"),
        ('# Made.\nrecipe = "mnist-3d"\n', r"made\.toml of vaeflow-made 1\.2: recipe: unknown recipe 'mnist-3d'; did"),
        ('# Made.\nrecipe = "made"\n', r"made\.toml of .*: recipe: recipes are based on each other: made -> made"),
    ],
)
def test_an_error_in_a_recipe_names_file_and_plugin(text, message, installed):
    installed(made=text)
    with pytest.raises(UsageError, match=message):
        config_of("made")


def test_the_nearest_recipe_is_named(installed, capsys):
    installed(wide_mnist=WIDE)
    assert main(["train", "wide-mnits"]) == 2
    assert "unknown recipe 'wide-mnits'; did you mean 'wide-mnist'?" in capsys.readouterr().err


def test_a_plugin_that_was_not_loaded_is_named(site):
    site.install("raise RuntimeError('boo')")
    with pytest.raises(PluginError, match=r"unknown recipe 'wide'; .*vaeflow-made 1\.2 .*RuntimeError: boo"):
        config_of("wide")


def test_a_name_that_is_used_twice_names_both(installed):
    first, second = installed("vaeflow-one", "1", wide=WIDE), installed("vaeflow-two", "2", wide=WIDE)
    with pytest.raises(PluginError) as error:
        Registry.load()
    assert "recipe 'wide' is registered twice: by " in str(error.value)
    assert f"vaeflow-one 1 (module {first})" in str(error.value)
    assert f"vaeflow-two 2 (module {second})" in str(error.value)


def test_a_built_in_name_is_taken(installed):
    name = installed(mnist_2d=WIDE)
    with pytest.raises(PluginError) as error:
        Registry.load()
    assert "recipe 'mnist-2d' is registered twice: by vaeflow " in str(error.value)
    assert f"(module vaeflow.config.recipes) and by vaeflow-made 1.2 (module {name})" in str(error.value)


WRONG = {
    "missing": ("['/nowhere/wide.toml']", "recipe 'wide': there is no file /nowhere/wide.toml"),
    "a folder": ("['/usr/lib.toml/../wide.toml']", "recipe 'wide': there is no file"),
    "relative": ("['wide.toml']", "recipe 'wide.toml' is a relative path"),
    "suffix": ("['/nowhere/wide.json']", "recipe 'wide.json': a recipe's file is NAME.toml"),
    "name": ("['/nowhere/My wide.toml']", "recipe 'My wide.toml': a recipe's file is NAME.toml"),
    "no list": ("'/nowhere/wide.toml'", "must yield the paths of TOML files, but returned '/nowhere/wide.toml'"),
    "nothing": ("None", "must yield the paths of TOML files, but returned None"),
    "no path": ("[3]", "must yield the paths of TOML files, but yielded 3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_no_recipes_are_named(case, site, caplog):
    files, reason = WRONG[case]
    name = site.install(GOOD + HOOK.format(files=files))
    assert "resnet" not in Registry.load().names("encoder")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"vaeflow: warning: plugin vaeflow-made 1.2 (module {name}) was not loaded: ")
    assert reason in line
    with pytest.raises(PluginError, match=re.escape(reason)):
        Registry.load([name])


def test_bytes_that_are_no_text_and_a_name_twice(site, tmp_path):
    (tmp_path / "wide.toml").write_bytes(b"\xff\n")
    file = str(tmp_path / "wide.toml")
    with pytest.raises(PluginError, match=r"recipe 'wide': .*wide\.toml: not a text file in UTF-8"):
        Registry.load([site.module(HOOK.format(files=[file]))])
    (tmp_path / "wide.toml").write_text(WIDE)
    with pytest.raises(PluginError, match="it yields recipe 'wide' twice"):
        Registry.load([site.module(HOOK.format(files=[file, file]))])


def test_they_are_listed_with_their_plugin_and_printed(installed, capsys):
    installed(wide=WIDE)
    assert main(["recipes"]) == 0
    assert re.search(r"^wide +vaeflow-made 1\.2 +Wide, in a minute\.$", capsys.readouterr().out, re.MULTILINE)
    assert main(["recipes", "wide"]) == 0
    assert capsys.readouterr().out == WIDE
    assert main(["plugins"]) == 0
    assert "): 1 recipe by vaeflow_recipes, from " in capsys.readouterr().out
    assert main(["recipes", "wide", "--disable-plugin", "vaeflow-made"]) == 2
    assert "disabled by --disable-plugin: vaeflow-made 1.2" in capsys.readouterr().err


def test_the_shell_completes_them(installed, capsys, monkeypatch):
    installed(wide=WIDE, tall=WIDE)
    for words in ("vaeflow train wi", "vaeflow recipes wi", "vaeflow launch local wi"):
        for name, value in {"VAEFLOW_COMPLETE": "bash_complete", "COMP_WORDS": words}.items():
            monkeypatch.setenv(f"_{name}" if name.startswith("V") else name, value)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        main([])
        assert capsys.readouterr().out.split() == ["plain,wide"]


def test_plugins_check_reads_recipes(installed, capsys):
    installed(wide=WIDE, tall="name = 'small'\n", broad="# Broad.\nencoder = 'convv'\n")
    assert main(["plugins", "check", "--of", "vaeflow-made", "--json"]) == 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {(row["name"], row["rule"]): (row["outcome"], row["message"]) for row in rows}
    assert found["wide", "summary"] == found["wide", "config"] == ("ok", "")
    assert found["tall", "summary"][1].startswith("the first line is \"name = 'small'\", not a comment")
    assert found["tall", "config"][1].endswith("name: it is 'small', not 'tall' like the file's")
    assert "unknown encoder 'convv'" in found["broad", "config"][1]


def test_a_changed_recipe_is_no_changed_code(tmp_path):
    package = tmp_path / "made"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").touch()
    digests = []
    for text in ("epochs = 1\n", "epochs = 2\n"):
        (package / "recipes" / "wide.toml").write_text(text)
        digests.append(code_module._digest(package))
    assert digests[0] == digests[1]


def test_the_config_of_a_run_needs_no_recipe(installed, tmp_path):
    installed(wide=WIDE)
    registry = Registry.load()
    whole = resolve(compose("wide", find=registry.recipe), registry)
    (tmp_path / "config.toml").write_text(whole.to_toml())
    assert "recipe" not in tomllib.loads(whole.to_toml())
    next((tmp_path / "site" / "vaeflow-made").iterdir()).unlink()
    again = Registry.load(["no:vaeflow-made"])
    assert resolve(compose(tmp_path / "config.toml", find=again.recipe), again).config == whole.config
