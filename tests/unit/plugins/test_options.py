"""Rules of a build function's signature, and its options."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from vaeflow import Component
from vaeflow.errors import PluginError, UsageError
from vaeflow.plugins.options import check_signature, options_of, validate
from vaeflow.plugins.spelling import as_toml

# Signatures


def encoder(build):
    return Component("encoder", "made", build)


def no_positional(*, depth: int = 1): ...
def two_positionals(x_shape, other): ...
def star_args(*x_shape): ...
def star_kwargs(x_shape, **options): ...
def no_annotation(x_shape, *, depth=1): ...
def called_name(x_shape, *, name: str = ""): ...


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (no_positional, "takes 0 positional parameters, not 1"),
        (two_positionals, "takes 2 positional parameters, not 1"),
        (star_args, "takes *x_shape"),
        (star_kwargs, "takes **options; each option is a parameter of its own"),
        (no_annotation, "its option 'depth' has no type"),
        (called_name, "can't be called 'name'"),
        (5, "build must be a function, not 5"),
    ],
)
def test_a_signature_that_breaks_a_rule(build, rule):
    with pytest.raises(PluginError) as error:
        check_signature(encoder(build))
    assert rule in str(error.value)


# Options


def made(
    x_shape: NotThereAtRunTime,  # noqa: F821
    *,
    depth: int = 32,
    rate: Annotated[float, Field(gt=0)] = 0.5,
    mode: Literal["a", "b"] = "a",
    hidden: tuple[int, ...] = (1, 2),
    copy: bool = False,
    width: int | None = None,
    label: str = "",
): ...


def needs(x_shape, *, path: str): ...
def unresolved(x_shape, *, depth: NotThereAtRunTime = 1): ...  # noqa: F821
def wrong_default(x_shape, *, depth: int = None): ...  # noqa: RUF013
def odd_type(x_shape, *, depth: memoryview = None): ...  # noqa: RUF013


def validated(build, **options):
    return validate(encoder(build), options, where="encoder", origin="pkg 1.0")


def test_defaults_and_given_values():
    assert validated(made) == {
        "depth": 32, "rate": 0.5, "mode": "a", "hidden": (1, 2), "copy": False, "width": None, "label": "",
    }  # fmt: skip
    options = validated(made, rate=1, hidden=[3], width="none", copy=True)
    assert (options["rate"], type(options["rate"]), options["hidden"], options["width"]) == (1.0, float, (3,), None)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"depth": "x"}, "encoder.depth: 'x' is not a whole number (made of pkg 1.0 takes depth: int = 32)"),
        ({"depth": True}, "encoder.depth: true is not a whole number"),
        ({"depth": 3.0}, "encoder.depth: 3.0 is not a whole number"),
        ({"rate": 0}, "encoder.rate: 0 is not a number greater than 0 (made of pkg 1.0 takes rate: float = 0.5)"),
        ({"rate": True}, "encoder.rate: true is not a number"),
        ({"mode": "c"}, "encoder.mode: 'c' is not 'a' or 'b'"),
        ({"hidden": [1, "x"]}, "encoder.hidden: [1, 'x'] is not a list (each: a whole number)"),
        ({"hidden": 3}, "encoder.hidden: 3 is not a list"),
        ({"copy": 1}, "encoder.copy: 1 is not true or false"),
        ({"width": "x"}, "encoder.width: 'x' is not a whole number or none"),
        ({"label": 3}, "encoder.label: 3 is not a text"),
        ({"label": "none", "depth": "none"}, "encoder.depth: 'none' is not a whole number"),
        (
            {"dept": 3},
            "encoder.dept: made of pkg 1.0 has no such option; did you mean 'depth'? Available: copy, depth,",
        ),
    ],
)
def test_a_wrong_option_is_one_line(options, line):
    with pytest.raises(UsageError) as error:
        validated(made, **options)
    assert not isinstance(error.value, PluginError)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_a_required_option_that_is_missing():
    with pytest.raises(UsageError) as error:
        validated(needs)
    assert str(error.value) == "encoder.path: missing, but made of pkg 1.0 needs it: path: str, a text"


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (unresolved, "the type of an option can't be resolved at run time"),
        (wrong_default, "the default of made of pkg 1.0 is not a whole number (it has depth: int = None)"),
        (odd_type, "options must be of type int, float,"),
    ],
)
def test_options_that_no_config_can_hold(build, rule):
    with pytest.raises(PluginError) as error:
        validated(build)
    assert rule in str(error.value)


class Layer:
    def __init__(self, x_shape: NotThereAtRunTime, *, depth: int = 1) -> None: ...  # noqa: F821


def test_a_class_is_a_build_function():
    check_signature(encoder(Layer))
    assert [str(option) for option in options_of(encoder(Layer))] == ["depth: int = 1"]


@given(
    depth=st.integers(-(2**60), 2**60),
    rate=st.floats(min_value=1e-300, allow_nan=False),
    hidden=st.lists(st.integers(-9, 9)),
    width=st.none() | st.integers(-9, 9),
    label=st.text(),
)
def test_options_survive_the_way_to_toml_and_back(depth, rate, hidden, width, label):
    width = "none" if width is None else width
    options = validated(made, depth=depth, rate=rate, hidden=hidden, width=width, label=label)
    assert options["label"] == label
    assert validated(made, **as_toml(options)) == options
