"""What a plugin does beside computing is seen wherever in its package it does it, and by whatever name it calls it."""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from vaeflow.plugin_kit.checks import side_effects
from vaeflow.plugin_kit.checks.forks import Forks
from vaeflow.plugin_kit.checks.import_effects import require_clean_import
from vaeflow.plugin_kit.checks.pickling import pickling
from vaeflow.plugin_kit.checks.require import BrokenRuleError
from vaeflow.plugin_kit.checks.side_effects import place_of, traced, watched
from vaeflow.plugin_kit.checks.subject import Subject
from vaeflow.plugins.registry import Registry

INIT = """
import functools

from watched_package.deep.inner import act


def build(folder, how):
    return act(folder, how)


of_a_family = functools.partial(build)
"""

INNER = """
import os
import pickle
import tempfile
from io import BytesIO
from pathlib import Path
from pickle import Pickler, dumps, loads as read


def act(folder, how):
    if how == "open":
        Path(folder, "made").write_text("here")
    elif how == "rename":
        os.rename(Path(folder, "there"), Path(folder, "moved"))
    elif how == "link":
        os.symlink(folder, Path(folder, "link"))
    elif how == "temporary":
        with tempfile.TemporaryDirectory(dir=folder) as name:
            Path(name, "made").touch()
    elif how == "dumps":
        dumps([1])
    elif how == "loads":
        read(b"N.")
    elif how == "Pickler":
        Pickler(BytesIO()).dump([1])
    elif how == "Python":
        pickle._Unpickler(BytesIO(b"N.")).load()
    elif how == "autograph":
        traced(folder)


def traced(folder):
    import tensorflow as tf

    def double(x):
        if x > 0:
            x = x + x
        return x

    return tf.function(double)(tf.constant(1))
"""


EAGER = """
def build():
    return lambda x, terms: terms.kl

@hookimpl
def vaeflow_components():
    yield Component("metric", "eager", build)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package whose build function is in its __init__, and what it does in a module below."""
    folder = tmp_path_factory.mktemp("site")
    inner = folder / "watched_package" / "deep" / "inner.py"
    inner.parent.mkdir(parents=True)
    inner.write_text(INNER)
    inner.with_name("__init__.py").touch()
    inner.parent.with_name("__init__.py").write_text(INIT)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("watched_package")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("how", "written"),
    [("open", ["made"]), ("rename", ["there", "moved"]), ("link", ["link"]), ("dumps", [])],
)
@pytest.mark.parametrize("name", ["build", "of_a_family"])
def test_files_are_seen_in_the_whole_package(package, tmp_path, how, written, name):
    (tmp_path / "there").touch()
    build = getattr(package, name)
    with watched(place_of(build)) as effects:
        build(tmp_path, how)
        (tmp_path / "not its own").touch()
    assert [Path(one).name for one in effects.written] == written


def test_files_in_a_temporary_folder_are_noted_by_full_path(package, tmp_path):
    with watched(place_of(package.build)) as effects:
        package.build(tmp_path, "temporary")
    assert effects.written
    assert all(Path(one).is_relative_to(tmp_path) for one in effects.written)


def test_files_that_tensorflow_writes_have_known_names(package, tmp_path, monkeypatch):
    """When TensorFlow traces a function it writes the code that it generates; the file's name is not documented."""
    known = side_effects.OF_PYTHON_AND_TENSORFLOW
    monkeypatch.setattr(side_effects, "OF_PYTHON_AND_TENSORFLOW", ())
    with watched(place_of(package.build)) as effects:
        package.build(tmp_path, "autograph")
    assert any("__autograph_generated_file" in path for path in effects.written)
    assert [path for path in effects.written if not any(part in path for part in known)] == []


def test_the_names_of_traced_graphs_are_recorded():
    function = tf.function(lambda x: x + 1)
    with traced() as names:
        function(tf.constant(1))
        function(tf.constant(2))
    assert len(names) == 1
    with traced() as names:
        function(tf.constant(3))
    assert names == []


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("dumps", "pickle.dumps"),
        ("loads", "pickle.loads"),
        ("Pickler", "pickle.Pickler.dump"),
        ("Python", "pickle.Unpickler.load"),
    ],
)
def test_pickles_are_seen_by_whatever_name(package, tmp_path, how, what):
    with watched(place_of(package.build)) as effects:
        package.build(tmp_path, how)
        pickle.dumps("not its own")
    (line,) = effects.pickled
    assert line.startswith(f"{what} (called from inner.py, line ")


def test_pickle_is_as_it_was_afterwards(package, tmp_path):
    before = (pickle.dumps, pickle.Pickler, pickle._Unpickler.load, sys.modules["watched_package.deep.inner"].read)
    seen = []
    with pytest.raises(KeyError), pickling(seen.append):
        raise KeyError
    after = (pickle.dumps, pickle.Pickler, pickle._Unpickler.load, sys.modules["watched_package.deep.inner"].read)
    assert before == after
    pickle.dumps(1)
    assert not seen


def test_a_partial_of_a_decorated_function_is_of_its_package(package, tmp_path):
    @functools.wraps(package.build)
    def decorated(*args):
        return package.build(*args)

    with watched(place_of(functools.partial(decorated, tmp_path))) as effects:
        decorated(tmp_path, "open")
    assert len(effects.written) == 1


@pytest.fixture(scope="module")
def forks():
    """Separate processes for the rule."""
    with Forks() as forks:
        yield forks


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "pickle.loads(pickle.dumps(1))",
            r"it calls pickle\.dumps .*pickle\.loads .* while it is imported: pickle is not allowed",
        ),
        (
            "open('seen.log', 'a').close()",
            r"it writes seen\.log while it is imported, which every rank of a job would do",
        ),
        ("pass", None),
    ],
)
def test_what_is_done_at_import_is_seen(tmp_path, monkeypatch, line, message, forks):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "eager.py"
    path.write_text(f"import pickle\nfrom vaeflow import Component, hookimpl\n{line}\n{EAGER}")
    subject = Subject(Registry.load([str(path)]), "metric", "eager", forks=forks)
    if message is None:
        require_clean_import(subject)
    else:
        with pytest.raises(BrokenRuleError, match=message):
            require_clean_import(subject)


def test_a_plugin_that_can_be_imported_once_only_is_told_why(tmp_path, forks):
    path = tmp_path / "eager.py"
    path.write_text(f"from vaeflow import Component, hookimpl\n{EAGER}")
    subject = Subject(Registry.load([str(path)]), "metric", "eager", forks=forks)
    path.unlink()
    with pytest.raises(BrokenRuleError, match=r"in a separate process: .*eager\.py"):
        require_clean_import(subject)
