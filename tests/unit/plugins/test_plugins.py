"""The registry, its rules, and options."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers.plugin_packages import GOOD, site_in, without_packages

from vaeflow.errors import DataError, PluginError, UsageError
from vaeflow.plugins import hookspecs
from vaeflow.plugins.records import KINDS, Component, Origin
from vaeflow.plugins.registered import Registered
from vaeflow.plugins.registry import Registry


def select(name, **options):
    return SimpleNamespace(name=name, options=options)


@pytest.fixture(scope="module", autouse=True)
def _built_in_components_alone():
    with without_packages():
        yield


@pytest.fixture
def site(tmp_path, monkeypatch):
    with site_in(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(scope="module")
def builtins():
    return Registry.load()


# What is built in


def test_every_builtin_has_valid_options_and_a_docstring(builtins):
    for registered in builtins.all():
        assert registered.doc, registered.label
        optional = all(not option.required for option in registered.options())
        if optional:
            bound = registered.bind({}, "x")
            assert dict(registered.bind(bound.toml_options(), "x").options) == dict(bound.options)


def test_every_kind_of_the_model_has_a_builtin(builtins):
    assert [kind for kind in KINDS if not builtins.names(kind)] in ([], ["callback"])


def test_the_names_of_the_brief_are_there(builtins):
    assert builtins.names("encoder") == ["conv-mnist", "mlp"]
    binary, counts = ["bernoulli", "categorical", "continuous-bernoulli"], ["laplace", "poisson"]
    assert builtins.names("likelihood") == [*binary, "discretized-logistic-mixture", "gaussian", *counts]
    assert {"diagonal-gaussian", "mixture-of-gaussians", "standard-normal"} <= set(builtins.names("prior"))
    assert builtins.names("schedule") == ["capacity", "constant", "cyclical", "linear"]
    assert builtins.names("binarization") == ["dynamic", "fixed", "none", "threshold"]


def test_loading_imports_no_tensorflow():
    code = (
        "import sys; from vaeflow.plugins.registry import Registry; r = Registry.load()\n"
        "[x.bind({}, 'x') for x in r.all() if not any(o.required for o in x.options())]\n"
        "sys.exit(bool({'tensorflow', 'keras', 'numpy'} & set(sys.modules)) * 3)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_example_of_the_hook_specification_runs(site):
    doc = hookspecs.vaeflow_components.__doc__
    example = doc.partition("vaeflow_resnet.py`:\n")[2].partition("`vaeflow train")[0]
    name = site.module(example.replace("        ", "", 1).replace("\n        ", "\n"), head="")
    registered = Registry.load([name]).get("encoder", "resnet")
    assert [str(option) for option in registered.options()] == ["depth: int = 20", "width: int = 64"]


# Finding plugins


def test_an_installed_plugin_is_found_with_its_origin(site):
    name = site.install(GOOD)
    registry = Registry.load()
    registered = registry.get("encoder", "resnet")
    assert registered.origin.full == f"vaeflow-made 1.2 (module {name})"
    assert registered.summary == "Residual encoder."
    assert registry.bind("encoder", select("resnet", depth=3)).build((28, 28)) == ("resnet", (28, 28), 3)


def test_a_module_and_a_file_are_found_by_name(site):
    name = site.module(GOOD)
    assert "resnet" in Registry.load([name]).names("encoder")
    assert "resnet" in Registry.load([str(site.path / f"{name}.py")]).names("encoder")


def test_an_installed_plugin_that_is_named_too_is_taken_once(site):
    name = site.install(GOOD)
    file = str(site.path / f"{name}.py")
    for named in ([name, name], [file], [file, name]):
        assert Registry.load(named).names("encoder").count("resnet") == 1
    assert Registry.load([name]).get("encoder", "resnet").origin.full == f"vaeflow-made 1.2 (module {name})"


def test_registries_know_nothing_of_each_other(site):
    name = site.module(GOOD)
    assert "resnet" in Registry.load([name]).names("encoder")
    assert "resnet" not in Registry.load().names("encoder")


BROKEN = {
    "import": ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "syntax": ("def (", "SyntaxError"),
    "record": (
        "@hookimpl\ndef vaeflow_components():\n    yield ('encoder', 'x', print)",
        "must yield Component records, but yielded ('encoder', 'x',",
    ),
    "nothing returned": ("@hookimpl\ndef vaeflow_components():\n    pass", "but returned None"),
    "kind": (
        "@hookimpl\ndef vaeflow_components():\n    yield Component('encodr', 'x', print)",
        "'x' is of unknown kind 'encodr'; did you mean 'encoder'?",
    ),
    "generator": (
        GOOD.replace(
            "yield Comp", "yield Component('encoder', 'other', resnet)\n    raise KeyError('boo')\n    yield Comp"
        ),
        "KeyError: 'boo'",
    ),
    "misspelt": (GOOD.replace("vaeflow_components", "vaeflow_component"), "did you mean 'vaeflow_components'?"),
    "unmarked": (GOOD.replace("@hookimpl", ""), "write @hookimpl above it"),
    "no hook": ("x = 1", "it has no hook"),
    "arguments": ("@hookimpl\ndef vaeflow_components(config):\n    return []", "PluginValidationError"),
    "signature": (GOOD.replace("x_shape: tuple[int, ...], ", ""), "takes 0 positional parameters, not 1"),
    "twice": (GOOD + "    yield Component('encoder', 'resnet', resnet)\n", "yields encoder 'resnet' twice"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_a_warning_by_name(case, site, caplog):
    source, reason = BROKEN[case]
    name = site.install(source)
    registry = Registry.load()
    assert registry.names("encoder") == ["conv-mnist", "mlp"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"vaeflow: warning: plugin vaeflow-made 1.2 (module {name}) was not loaded: ")
    assert reason in line
    assert "\n" not in line
    assert [str(broken) for broken in registry.broken] == [line.removeprefix("vaeflow: warning: ")]


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_that_is_named_stops_the_run(case, site):
    source, reason = BROKEN[case]
    name = site.module(source)
    with pytest.raises(PluginError) as error:
        Registry.load([name])
    assert reason in str(error.value)
    assert name in str(error.value)


def test_selecting_from_a_broken_plugin_stops_the_run(site):
    site.install(BROKEN["generator"][0])
    with pytest.raises(PluginError, match=r"encoder 'other' can't be used: plugin vaeflow-made 1\.2 .*KeyError: 'boo'"):
        Registry.load().bind("encoder", select("other"))


def test_an_unknown_name_beside_a_broken_plugin_names_it(site):
    site.install(BROKEN["import"][0])
    with pytest.raises(PluginError, match=r"unknown encoder 'resnet'; .*vaeflow-made 1\.2"):
        Registry.load().bind("encoder", select("resnet"))


def test_a_module_that_is_not_there(site):
    with pytest.raises(
        PluginError, match=r"there is no module 'nowhere'; for a file give its path, such as ./nowhere\.py"
    ):
        Registry.load(["nowhere"])
    with pytest.raises(PluginError, match="no such file"):
        Registry.load([str(site.path / "nowhere.py")])


def test_one_name_from_two_distributions_names_both(site):
    first = site.install(GOOD, "vaeflow-one", "1.0")
    second = site.install(GOOD, "vaeflow-two", "2.0")
    with pytest.raises(PluginError) as error:
        Registry.load()
    assert f"vaeflow-one 1.0 (module {first})" in str(error.value)
    assert f"vaeflow-two 2.0 (module {second})" in str(error.value)


def test_unknown_names_and_kinds_teach(builtins):
    with pytest.raises(UsageError, match=r"encoder: unknown encoder 'conv-minst'; did you mean 'conv-mnist'\?"):
        builtins.bind("encoder", select("conv-minst"))
    with pytest.raises(UsageError, match=r"unknown kind 'encodr'; did you mean 'encoder'\?"):
        builtins.names("encodr")


# Building


def test_an_exception_in_a_build_function_names_the_component(site):
    name = site.install(GOOD.replace('return ("resnet"', 'raise ZeroDivisionError("no\\nway"); return ("resnet"'))
    with pytest.raises(PluginError) as error:
        Registry.load().bind("encoder", select("resnet")).build((1,))
    expected = f"encoder 'resnet' of vaeflow-made 1.2 (module {name}) could not be built: ZeroDivisionError: no way"
    assert str(error.value) == expected
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_an_error_of_vaeflow_passes_a_build_function(builtins):
    with pytest.raises(DataError):
        builtins.bind("dataset", select("arrays", path="nowhere.npz")).build(None)


# What is built


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.members], ids=lambda kind: kind.name)
def test_what_lacks_a_member_of_its_type_is_refused(kind):
    given = ", ".join(name for name, _ in kind.parameters)
    scope = {}
    exec(f"def bare({given}):\n    return object()", scope)
    bound = Registered(Component(kind.name, "bare", scope["bare"]), Origin("here")).bind({}, "x")
    with pytest.raises(PluginError) as caught:
        bound.build(*(None for _ in kind.parameters))
    missing = [name for name in kind.members if not hasattr(object(), name)]
    assert str(caught.value) == (
        f"{kind.name} 'bare' of here (--plugin) built object, which has no {', '.join(missing)}, not a {kind.returns}"
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_members_are_those_of_the_protocol(kind):
    """Of Keras's classes and of callbacks, which are classes, nothing need be listed."""
    module, _, name = kind.returns.rpartition(".")
    if not module.startswith("vaeflow") or name == "Callback":
        return
    type_ = getattr(importlib.import_module(module), name)
    parts = [part for part in type_.__mro__ if part.__module__.startswith("vaeflow")]
    found = {member for part in parts for member in (*vars(part), *vars(part).get("__annotations__", {}))}
    calls = {"__call__"} & found
    assert set(kind.members) == {member for member in found if not member.startswith("_")} | calls
