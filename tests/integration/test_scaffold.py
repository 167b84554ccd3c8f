"""vaeflow plugins new: what it writes can be installed, trains, is tested and clean; nothing is overwritten."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from helpers.fork_server import seed_server, server
from helpers.small_runs import python, tree
from helpers.tiers import few

from vaeflow.cli import main
from vaeflow.errors import UsageError
from vaeflow.plugin_kit.checks.forks import HASH_SEEDS
from vaeflow.plugin_kit.scaffold import selecting, write_plugin
from vaeflow.plugin_kit.scaffold.template import options, template
from vaeflow.plugins.records import KINDS
from vaeflow.plugins.registry import Registry

TINY = ("steps=3", "batch_size=16", "log.tensorboard=false", "dataset.train_examples=48", "dataset.test_examples=16")
SEEN = ("plot", "metric", "callback", "strategy")
"""Kinds whose components leave something to look at; one run has them all."""
SMALL = ("encoder.hidden=[8]", "decoder.hidden=[8]", "latent_size=3")
TOGETHER = (
    ("encoder", "decoder", "posterior", "prior", "likelihood", "transform", "schedule", "learning_rate", "optimizer"),
    ("objective", "binarization", "dataset"),
    ("model",),
)
"""Kinds that one run selects; those that are seen have a run of their own."""


def name_of(kind):
    """Return what the tests call their component of a kind."""
    return f"own-{kind.replace('_', '-')}"


def module_of(folder, kind):
    """Return the path of a package's module."""
    name = name_of(kind)
    return folder / f"vaeflow-{name}" / f"vaeflow_{name.replace('-', '_')}.py"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with a package for each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        write_plugin(kind, name_of(kind), folder)
    return folder


@pytest.fixture(scope="module")
def registry(packages):
    """The components there are, with all that were written."""
    return Registry.load([str(module_of(packages, kind)) for kind in KINDS])


# What is written


@pytest.mark.parametrize("kind", KINDS)
def test_its_component_has_typed_and_described_options(kind, registry, packages):
    registered = registry.get(kind, name_of(kind))
    assert registered.origin.module == str(module_of(packages, kind))
    found = registered.options()
    assert found
    registered.bind({}, kind)  # every default is of its type
    written = options(template(f"{kind}.py"))
    assert [name for name, *_ in written] == [option.name for option in found]
    assert all(described for *_, described in written)
    readme = (module_of(packages, kind).parent / "README.md").read_text()
    assert all(f"| `{option.name}` |" in readme for option in found)


def test_no_placeholder_is_left(packages):
    for path, content in tree(packages).items():
        assert "my" not in path
        assert not re.search(r"my[-_]name|@[A-Z]+@", (content or b"").decode()), path


def test_a_plain_ruff_has_nothing_to_say(packages):
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "."],
            cwd=packages,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_modules_bring_no_tensorflow(packages):
    paths = [str(module_of(packages, kind)) for kind in KINDS]
    code = (
        "import sys; from vaeflow.plugins.registry import Registry\n"
        "from vaeflow.plugin_kit.scaffold import write_plugin\n"
        "[r.options() for r in Registry.load(sys.argv[1:]).all()]; print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# What it does


def settings_of(kinds):
    """Return the settings of a run of three steps that selects what was written for some kinds."""
    chosen = [setting for kind in kinds for setting in selecting.settings(kind, name_of(kind))]
    small = [] if "model" in kinds else [one for one in SMALL if one.partition(".")[0] not in kinds]
    tiny = (*TINY[:3], "dataset.examples=48") if "dataset" in kinds else TINY
    drawn = [] if "plot" in kinds else ["plots.draw=[]"]
    return [*tiny, *small, *drawn, *chosen]


def trained(run, packages, *kinds):
    """Train with what was written for some kinds and return the run's config."""
    plugins = [f"--plugin={module_of(packages, kind)}" for kind in kinds]
    assert main(["train", selecting.RECIPE, *settings_of(kinds), *plugins, "--run-dir", str(run)]) == 0
    assert (run / "summary.json").exists()
    return tomllib.loads((run / "config.toml").read_text())


def selected(config, kind):
    """Return the names that a config selects for a kind."""
    for part in selecting.key_of(kind).split("."):
        config = config[part]
    return [one["name"] for one in config] if isinstance(config, list) else [config["name"]]


@pytest.mark.parametrize("kinds", TOGETHER, ids=lambda kinds: kinds[0])
def test_they_train(kinds, packages, tmp_path, mnist_folders):
    config = trained(tmp_path / "run", packages, *kinds)
    assert all(selected(config, kind) == [name_of(kind)] for kind in kinds)


def test_all_kinds_train():
    assert {kind for kinds in (*TOGETHER, SEEN) for kind in kinds} == set(KINDS)


def test_those_that_are_seen_train_and_their_output_appears(packages, tmp_path, capfd, mnist_folders):
    run = tmp_path / "run"
    config = trained(run, packages, *SEEN)
    assert all(selected(config, kind) == [name_of(kind)] for kind in SEEN)
    assert '"test/own-metric": ' in (run / "metrics.jsonl").read_text()
    assert (run / "plots" / "own-plot.png").exists()
    header, row = (run / "own-callback.csv").read_text().splitlines()
    assert header == "step,epoch,test/elbo"
    assert row.startswith("3,1.0,-")
    assert re.search(r"^largest sum: \d+ bytes per replica$", capfd.readouterr().err, re.MULTILINE)


def test_its_own_tests_pass(packages):
    """Apart from the contract, whose rules take minutes for all kinds: see below."""
    modules = os.pathsep.join(str(module_of(packages, kind).parent) for kind in KINDS)
    tests = [str(module_of(packages, kind).parent / "tests") for kind in KINDS]
    passed = own_tests(*tests, "--import-mode=importlib", "-k", "not contract", cwd=packages, modules=modules)
    assert passed >= len(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", few(KINDS, "plot"))
def test_it_keeps_the_contract_as_its_own_test_says(kind, packages):
    package = module_of(packages, kind).parent
    assert own_tests("-k", "contract", cwd=package, modules=str(package)) == 1


@pytest.mark.slow
def test_a_wheel_can_be_installed_and_its_tests_pass_there(packages, tmp_path):
    pytest.importorskip("hatchling")
    package = shutil.copytree(module_of(packages, "schedule").parent, tmp_path / "package")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    subprocess.run([*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(wheels), str(package)], check=True)
    (wheel,) = wheels.glob("*.whl")
    assert [name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name] == [
        "vaeflow_own_schedule.py"
    ]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    (package / "vaeflow_own_schedule.py").unlink()  # what is tested is what was installed
    assert own_tests("-k", "not contract", cwd=package, modules=str(site)) >= 1
    code = "from vaeflow.plugins.registry import Registry as R; print(R.load().get('schedule', 'own-schedule').origin)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "vaeflow-own-schedule 0.1.0"


PYTEST = "import runpy, sys; sys.executable = sys.argv.pop(1); runpy.run_module('pytest', run_name='__main__')"
"""`python -m pytest`, whose fixture `contract` starts commands with another Python: the first argument."""


def own_tests(*arguments, cwd, modules):
    """Run tests of packages in a fresh process and return how many passed; all must."""
    seed_server(HASH_SEEDS[0])
    done = subprocess.run(
        [
            *python(),
            "-c",
            PYTEST,
            str(server().programs / "python"),
            "-q",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": modules},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"(\d+) passed", done.stdout)[1])


# Nothing is overwritten, and errors teach


def test_what_was_written_is_said_with_what_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "metric", "sharp", "--out", "of mine"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote of mine/vaeflow-sharp:",
        *("  pyproject.toml", "  vaeflow_sharp.py", "  tests/test_sharp.py", "  README.md"),
        "next:",
        "  pip install -e 'of mine/vaeflow-sharp'",
        "  pytest 'of mine/vaeflow-sharp'",
        "  vaeflow train mnist-mlp-20 'metrics=[\"sharp\"]'",
    ]


def test_nothing_is_overwritten(tmp_path, capsys):
    write_plugin("encoder", "wide", tmp_path)
    before = tree(tmp_path)
    for kind in ("encoder", "metric"):
        assert main(["plugins", "new", kind, "wide", "--out", str(tmp_path)]) == 2
        assert "vaeflow-wide already exists and is not overwritten" in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("encodr", "wide", "unknown kind 'encodr'; did you mean 'encoder'?"),
        ("encoder", "WideNet", "'WideNet' is no name in kebab-case: .*; for example 'wide-net'"),
        ("encoder", "wide_net", "for example 'wide-net'"),
        ("encoder", "2d", "for example 'd'"),
        ("encoder", "../wide", "for example 'wide'"),
        ("encoder", "", "'' is no name in kebab-case"),
        ("encoder", "vaeflow-wide", "starts with vaeflow already.*; for example 'wide'"),
        ("encoder", "lambda", "'lambda' is a word of Python or TOML; choose another, such as 'my-lambda'"),
        ("encoder", "true", "'true' is a word of Python or TOML"),
        ("encoder", "keras", "'keras' is used in the code of the template"),
        ("encoder", "width", "'width' is used in the code of the template"),
        ("strategy", "print", "'print' is used in the code of the template"),
        ("encoder", "mlp", r"encoder 'mlp' exists already, in vaeflow [\d.]+"),
        ("metric", "active-units", r"every evaluation logs 'active-units' already; .* such as 'my-active-units'"),
    ],
)
def test_what_cannot_be_written_is_said(kind, name, line, tmp_path):
    with pytest.raises(UsageError, match=line):
        write_plugin(kind, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_may_be_used_by_another_kind(tmp_path):
    assert write_plugin("metric", "mlp", tmp_path)


def test_every_kind_has_a_template_and_every_template_a_kind():
    folder = Path(importlib.util.find_spec("vaeflow.plugin_kit.scaffold").origin).parent / "templates"
    assert {path.name for path in folder.glob("*.in")} == {f"{kind}.py.in" for kind in KINDS}
    assert {path.name for path in folder.glob("tests/*.in")} == {f"{kind}.py.in" for kind in KINDS}
    assert all(len(template(f"{kind}.py").splitlines()) < (110 if kind == "model" else 70) for kind in KINDS)
