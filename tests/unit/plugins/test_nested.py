"""Components as options of components: resolution, defaults, errors, layers, the resolved config."""

from __future__ import annotations

import tomllib
from textwrap import dedent

import pytest
from helpers import nested_plugins
from helpers.plugin_packages import site_in, without_packages

from vaeflow import Selected, Takes, select
from vaeflow.cli import main
from vaeflow.config.compose import compose, merge
from vaeflow.config.resolve import resolve
from vaeflow.config.sources import Layer
from vaeflow.errors import PluginError, UsageError
from vaeflow.plugins.registry import Registry

FILE = nested_plugins.__file__
HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated
from vaeflow import Component, Selected, Takes, hookimpl, select
Encoder = Annotated[Selected, Takes("encoder")]
"""


@pytest.fixture(scope="module", autouse=True)
def _built_in_components_alone():
    with without_packages():
        yield


@pytest.fixture(scope="module")
def registry():
    return Registry.load([FILE])


@pytest.fixture
def site(tmp_path, monkeypatch):
    with site_in(tmp_path, monkeypatch) as made:
        yield made


def resolved(registry, *settings, encoder="stacked"):
    return resolve(compose("mnist-2d", [f"encoder={encoder}", *settings]), registry)


def inside(found):
    """Return (name, options) of each component inside of another by its key."""
    return {key: (one.name, dict(one.options)) for key, one in found.components().items() if key.startswith("encoder.")}


def mlp(*hidden, activation="tanh"):
    return "mlp", {"hidden": hidden, "activation": activation, "normalization": "none"}


# Defaults


def test_defaults_are_filled_in_at_every_depth(registry):
    assert inside(resolved(registry)) == {
        "encoder.inner": mlp(8, activation="relu"),
        "encoder.levels[0].encoder": mlp(8),
        "encoder.levels[1].encoder": mlp(4),
    }


def test_a_build_function_gets_components_to_build(registry):
    options = resolved(registry, "encoder.levels=[{latent_size=2}]").encoder.options
    assert isinstance(options["inner"], Selected)
    assert (options["levels"][0].latent_size, options["levels"][0].slope) == (2, None)
    assert type(options["levels"][0]).__name__ == "Level"


def test_a_name_alone_or_a_table_selects(registry):
    by_name = resolved(registry, "encoder.inner=mlp")
    by_table = resolved(registry, 'encoder.inner={name = "mlp"}')
    assert inside(by_name) == inside(by_table)
    assert inside(by_name)["encoder.inner"] == mlp(200, 200)


def test_a_table_without_a_name_changes_the_default(registry):
    found = inside(resolved(registry, "encoder.inner.hidden=[3]", "encoder.levels=[{latent_size=1, encoder={}}]"))
    assert found["encoder.inner"] == mlp(3, activation="relu")
    assert found["encoder.levels[0].encoder"] == mlp(8)


def test_components_inside_components_inside_components(registry):
    levels = '[{latent_size = 1, encoder = {name = "around", inner = {name = "around", inner = "mlp"}}}]'
    found = inside(resolved(registry, f"encoder.levels={levels}"))
    assert found["encoder.levels[0].encoder.inner.inner"] == mlp(200, 200)


def test_unions_tables_and_lists(registry):
    found = resolved(
        registry,
        "encoder.rate=constant",
        "encoder.rate.value=0.2",
        "encoder.head={encoder = 'mlp'}",
        "encoder.many=['mlp', {name = 'around', inner = 'mlp'}]",
        "encoder.pair=['mlp', 'conv-mnist']",
    )
    keys = {"rate", "head.encoder", "many[0]", "many[1]", "many[1].inner", "pair[0]", "pair[1]"}
    assert {f"encoder.{key}" for key in keys} <= set(inside(found))
    assert found.encoder.options["pair"][1].registered.component.kind == "decoder"
    assert resolved(registry, "encoder.rate=auto", "encoder.head=none").encoder.options["rate"] == "auto"
    assert resolved(registry, "encoder.rate=2").encoder.options["rate"] == 2.0


def test_a_default_is_not_built():
    with pytest.raises(PluginError, match=r"select\('mlp', hidden=\(3,\)\) is only a default"):
        select("mlp", hidden=(3,)).build((2,))


def test_a_registry_binds_selections_in_python(registry):
    bound = registry.bind("encoder", select("around", inner=select("mlp", hidden=(5,))))
    assert bound.nested()["inner"].options["hidden"] == (5,)


# The resolved config


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("encoder.levels=[]", "encoder.inner=stacked"),
        ("encoder.levels=[{latent_size=3, slope=0.5, encoder={name='around', inner='mlp'}}]", "encoder.head={}"),
        ("encoder.many=['mlp', 'mlp']", "encoder.pair=['mlp', 'mlp']", "encoder.rate={name='constant', value=1}"),
    ],
)
def test_the_resolved_config_comes_back_from_its_file(registry, tmp_path, settings):
    first = resolved(registry, "objective=doubled", *settings)
    path = tmp_path / "config.toml"
    path.write_text(first.to_toml())
    again = resolve(compose(path), registry)
    assert again == first
    assert again.to_toml() == first.to_toml()


def test_the_resolved_config_spells_every_option_out(registry):
    tree = tomllib.loads(resolved(registry, "encoder.levels=[{latent_size=3}]").to_toml())["encoder"]
    spelled = {"name": "mlp", "hidden": [8], "activation": "tanh", "normalization": "none"}
    assert tree["levels"] == [{"latent_size": 3, "encoder": spelled, "slope": "none"}]
    assert tree["inner"] == {**spelled, "activation": "relu"}


# Layers


def layered(*trees):
    return dict(merge([Layer(str(n), {"encoder": tree}) for n, tree in enumerate(trees)]).config.encoder.options)


def test_another_name_inside_drops_the_options_of_lower_layers():
    lower = {"name": "stacked", "inner": {"name": "a", "depth": 3}}
    assert layered(lower, {"inner": {"width": 4}})["inner"] == {"name": "a", "depth": 3, "width": 4}
    assert layered(lower, {"inner": "a"})["inner"] == {"name": "a", "depth": 3}
    assert layered(lower, {"inner": {"name": "b", "width": 4}})["inner"] == {"name": "b", "width": 4}
    assert layered(lower, {"inner": "b"})["inner"] == {"name": "b"}
    assert layered(lower, {"inner": "none"})["inner"] == "none"
    assert layered({"name": "stacked", "inner": "a"}, {"inner": {"width": 4}})["inner"] == {"name": "a", "width": 4}
    assert layered({"name": "stacked", "inner": "none"}, {"inner": {"width": 4}})["inner"] == {"width": 4}
    assert "inner" not in layered(lower, "other")


def test_a_lower_layer_is_not_changed():
    lower = Layer("lower", {"encoder": {"name": "stacked", "inner": {"name": "a", "depth": 3}}})
    merge([lower, Layer("upper", {"encoder": {"inner": "b"}})])
    assert lower.tree["encoder"]["inner"] == {"name": "a", "depth": 3}


def test_errors_name_the_file_that_set_the_value(registry, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('[encoder]\nname = "stacked"\n[encoder.inner]\nname = "mlp"\nhiden = [3]\n')
    with pytest.raises(UsageError) as error:
        resolve(compose(mine, ["encoder.width=3", "encoder.inner.activation=relu"]), registry)
    assert str(error.value).startswith(f"{mine}: encoder.inner.hiden: mlp of vaeflow ")
    mine.write_text('[encoder]\nname = "stacked"\n[[encoder.levels]]\nlatent_size = 0\n')
    with pytest.raises(UsageError) as error:
        resolve(compose(mine, ["encoder.width=3"]), registry)
    assert str(error.value).startswith(f"{mine}: encoder.levels[0].latent_size: 0 is not")


# Errors


ENCODER = "a component of kind encoder: a name or a table {name = ...}"
LEVEL = "a table {latent_size, encoder, slope}"
ERRORS = {
    "option": ("inner.hiden=3", "inner.hiden: mlp of vaeflow * has no such option; did you mean 'hidden'? Available: "),
    "name": ("inner=mpl", "inner: unknown encoder 'mpl'; did you mean 'mlp'? Available: around, conv-mnist, mlp"),
    "of another kind": ("inner=adam", "inner: unknown encoder 'adam'; available: around, conv-mnist, mlp, stacked"),
    "number": ("inner=5", f"inner: 5 is not {ENCODER} (stacked of * takes inner: Selected = select('mlp', hidden=(8,)"),
    "list": ("inner=['mlp']", f"inner: ['mlp'] is not {ENCODER} (stacked of "),
    "name of another type": ("inner.name=5", "inner.name: 5 is not a text"),
    "none": ("inner=none", "inner: unknown encoder 'none'; available: around, conv-mnist, mlp, stacked"),
    "value": ("inner.hidden=x", "inner.hidden: 'x' is not a list (each: a whole number) (mlp of vaeflow "),
    "no name": ("many=[{hidden=[3]}]", "many[0].name: is missing: name a component of kind encoder (stacked of "),
    "missing option": ("inner=around", f"inner.inner: missing, but around of * needs it: inner: Selected, {ENCODER}"),
    "no list": (
        "levels=3",
        f"levels: 3 is not a list (each: {LEVEL}) of length 3 or less (stacked of ",
    ),
    "too many": ("levels=[{latent_size=1},{latent_size=1},{latent_size=1},{latent_size=1}]", "levels: [{"),
    "no table": (
        "levels=[{latent_size=1}, 3]",
        f"levels[1]: 3 is not {LEVEL} (stacked of ",
    ),
    "missing field": (
        "levels=[{}]",
        "levels[0].latent_size: missing, but Level of stacked of * needs it: latent_size: ",
    ),
    "field": (
        "levels=[{latent_size=1}, {latent_size=1, enoder='mlp'}]",
        "levels[1].enoder: Level of stacked of * has no such option; did you mean 'encoder'? Available: encoder, ",
    ),
    "value of a field": (
        "levels=[{latent_size=0}]",
        "levels[0].latent_size: 0 is not a whole number of at least 1 (Level of stacked of * takes latent_size: int)",
    ),
    "name in a list": (
        "levels=[{latent_size=1}, {latent_size=1, encoder='mpl'}]",
        "levels[1].encoder: unknown encoder 'mpl'; did you mean 'mlp'?",
    ),
    "option in a list": (
        "levels=[{latent_size=1}, {latent_size=1, encoder={name='mlp', hiden=[3]}}]",
        "levels[1].encoder.hiden: mlp of vaeflow * has no such option; did you mean 'hidden'?",
    ),
    "deep": (
        "levels=[{latent_size=1, encoder={name='stacked', levels=[{latent_size='x'}]}}]",
        "levels[0].encoder.levels[0].latent_size: 'x' is not a whole number of at least 1 (Level of stacked of ",
    ),
    "what a dataclass refuses": (
        "levels=[{latent_size=1, slope=1.0}]",
        "levels[0]: a slope of 1 is linear (Level of stacked of ",
    ),
    "too small for float32": ("levels=[{latent_size=1, slope=1e-99}]", "levels[0].slope: 1e-99 is 0 in float32"),
    "field of a model": ("head={unit=1}", "head.unit: Head of stacked of * has no such option; did you mean 'units'?"),
    "value of a model": ("head={units=0}", "head.units: 0 is not a whole number of at least 1 (Head of stacked of "),
    "name for a table": ("head=mlp", "head: 'mlp' is not a table {units, encoder} or none (stacked of "),
    "length of a pair": ("pair=['mlp']", "pair: ['mlp'] is not a list of 2 (a component of kind encoder: "),
    "order of a pair": ("pair=['mlp', 'stacked']", "pair[1]: unknown decoder 'stacked'; available: conv-mnist, mlp"),
    "number of a union": ("rate=-1", "rate: -1 is not a number greater than 0 or 'auto' or a component of kind"),
    "option of a union": ("rate={name='constant', value='x'}", "rate.value: 'x' is not a number greater than 0 ("),
    "plain option": ("width=x", "width: 'x' is not a whole number (stacked of "),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_wrong_value_is_one_line_with_its_path(registry, case):
    setting, line = ERRORS[case]
    with pytest.raises(UsageError) as error:
        resolved(registry, f"encoder.{setting}")
    said = str(error.value)
    assert not isinstance(error.value, PluginError)
    place, *parts = f"command line: encoder.{line}".split("*")
    assert said.startswith(place)
    assert all(part in said for part in parts)
    assert "\n" not in said


def test_the_command_ends_before_a_device_starts(capsys):
    command = ["train", "mnist-2d", "--plugin", FILE, "encoder=stacked", "encoder.inner.hiden=3"]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vaeflow: command line: encoder.inner.hiden: mlp of vaeflow ")


def test_a_kind_that_does_not_exist():
    with pytest.raises(PluginError, match=r"Takes\('encodr'\): unknown kind; did you mean 'encoder'\?"):
        Takes("encodr")


BROKEN = {
    "unknown kind": (
        "def outer(x_shape, *, inner: Annotated[Selected, Takes('encodr')]): ...",
        "encoder 'outer': Takes('encodr'): unknown kind; did you mean 'encoder'?",
    ),
    "no kind": (
        "def outer(x_shape, *, inner: Selected = select('mlp')): ...",
        "encoder 'outer': options must be of type int, float,",
    ),
    "default of no component": (
        "def outer(x_shape, *, inner: Encoder = select('mpl')): ...",
        "encoder.inner: unknown encoder 'mpl'; did you mean 'mlp'? Available: conv-mnist, mlp, outer; it is",
    ),
    "default with a wrong option": (
        "def outer(x_shape, *, inner: Encoder = select('mlp', hiden=3)): ...",
        "encoder.inner.hiden: mlp of vaeflow",
    ),
    "default of another type": (
        "def outer(x_shape, *, inner: Encoder = None): ...",
        "encoder.inner: unknown encoder 'none'",
    ),
    "two in a union": (
        "def outer(x_shape, *, inner: Encoder | Annotated[Selected, Takes('prior')]): ...",
        "a union may have one component, table or list of these",
    ),
    "a mapping": (
        "def outer(x_shape, *, inner: dict[str, Encoder]): ...",
        "a type that no config can hold",
    ),
    "a field called name": (
        "@dataclass\nclass Table:\n    name: str\ndef outer(x_shape, *, inner: Table): ...",
        "a field of Table can't be called 'name'",
    ),
    "a field that is not there at run time": (
        "@dataclass\nclass Table:\n    size: Missing\ndef outer(x_shape, *, inner: Table): ...",
        "the type of a field of Table can't be resolved at run time",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_plugin_that_breaks_a_rule_is_named(case, site):
    source, rule = BROKEN[case]
    hook = "\n@hookimpl\ndef vaeflow_components():\n    yield Component('encoder', 'outer', outer)\n"
    registry = Registry.load([site.module(source + hook, head=HEAD)])
    with pytest.raises(PluginError) as error:
        resolved(registry, *(() if "=" in source else ("encoder.inner={size = 1}",)), encoder="outer")
    assert rule in str(error.value)
    assert "\n" not in str(error.value)


ENDLESS = {
    "itself": """
        def one(x_shape, *, inner: Encoder = select('one')): ...
        def two(x_shape): ...
        """,
    "each other": """
        def one(x_shape, *, inner: Encoder = select('two')): ...
        def two(x_shape, *, outer: Encoder = select('one', inner=select('two'))): ...
        """,
    "by a table": """
        @dataclass(frozen=True)
        class Level:
            encoder: Encoder = select('one')
        def one(x_shape, *, levels: tuple[Level, ...] = (Level(),)): ...
        def two(x_shape): ...
        """,
}
HOOK = (
    "@hookimpl\ndef vaeflow_components():\n    yield Component('encoder', 'one', one)\n"
    "    yield Component('encoder', 'two', two)\n"
)


@pytest.mark.parametrize("case", ENDLESS)
def test_defaults_without_end_are_an_error_at_loading(case, site, capsys):
    name = site.module(dedent(ENDLESS[case]) + HOOK, head=HEAD)
    assert main(["plugins", "--plugin", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vaeflow: defaults select each other without end: ")
    assert f" of {name} (--plugin), " in line


def test_tables_whose_defaults_have_no_end(site):
    """The table is not part of a default, so only a config can enter the circle."""
    source = """
@dataclass(frozen=True)
class Level:
    encoder: Encoder = select('one', levels=({},))
def one(x_shape, *, levels: tuple[Level, ...] = ()): ...
def two(x_shape): ...
"""
    registry = Registry.load([site.module(source + HOOK, head=HEAD)])
    resolved(registry, encoder="one")
    with pytest.raises(PluginError, match="defaults select each other without end: encoder of encoder Level of one"):
        resolved(registry, "encoder.levels=[{}]", encoder="one")


def test_a_default_that_selects_itself_with_an_end(site):
    source = "def one(x_shape, *, inner: Encoder = select('one', inner=select('mlp'))): ...\n"
    registry = Registry.load([site.module(source + "def two(x_shape): ...\n" + HOOK, head=HEAD)])
    assert set(inside(resolved(registry, encoder="one"))) == {"encoder.inner", "encoder.inner.inner"}


# What is shown


def test_plugins_show_lists_the_fields_of_tables(capsys):
    assert main(["plugins", "show", "encoder", "stacked", "--plugin", FILE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  inner: Selected = select('mlp', hidden=(8,), activation='relu')  ({ENCODER})" in lines
    assert "  levels[].latent_size: int  (required; a whole number of at least 1)" in lines
    assert f"  levels[].encoder: Selected = select('mlp', hidden=(8,))  ({ENCODER})" in lines
    assert f"  head.encoder: Selected | None = None  ({ENCODER} or none)" in lines


def test_a_trace_names_components_inside(registry, monkeypatch, capfd):
    monkeypatch.setenv("VAEFLOW_TRACE_PLUGINS", "1")
    resolved(registry)
    assert "vaeflow: plugins: encoder.levels[0].encoder is mlp\n" in capfd.readouterr().err


def test_xla_is_refused_for_a_component_inside(site):
    source = "def plain(x_shape): ...\n@hookimpl\ndef vaeflow_components():\n"
    record = "Component('encoder', 'plain', plain, xla=False)"
    registry = Registry.load([FILE, site.module(f"{source}    yield {record}\n", head=HEAD)])
    with pytest.raises(UsageError, match=r"xla = true: encoder 'plain' of .* does not support XLA"):
        resolved(registry, "xla=true", "encoder.inner=plain")
