"""The record of what a run's bits depend on: fingerprints of code and data, and how records differ."""

from __future__ import annotations

import sys
from importlib import metadata

import numpy as np
import pytest

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.config.schema import Config
from vaeflow.contracts import Dataset, Split
from vaeflow.plugins.registry import Registry
from vaeflow.training.provenance import code, data
from vaeflow.training.provenance.changes import changes
from vaeflow.training.provenance.record import Provenance, differences

PLUGIN = """
from vaeflow import Component, hookimpl

def small(x_shape, *, width: int = 4):
    from mine_helper import activation
    from keras import Input, Model, layers
    x = Input(x_shape)
    return Model(x, layers.Dense(width, activation)(layers.Flatten()(x)))

@hookimpl
def vaeflow_components():
    yield Component("encoder", "small", small)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plugin's file, which imports another one inside its build function."""
    (tmp_path / "mine_helper.py").write_text("activation = 'relu'\n")
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "mine.py"


def code_of(*modules, settings=("encoder=small",)):
    resolved = resolve(compose("mnist-2d", settings), Registry.load([str(module) for module in modules]))
    return code.fingerprints(resolved.components().values())


def test_a_file_that_a_plugin_imports_counts(plugin):
    before = code_of(plugin)
    assert {"vaeflow", "mine.py", "mine_helper.py"} <= set(before)
    (plugin.parent / "mine_helper.py").write_text("activation = 'tanh'\n")
    after = code_of(plugin)
    assert {name for name in before if before[name] != after[name]} == {"mine_helper.py"}


def test_a_plugin_that_is_not_in_use_does_not_count(plugin):
    assert "mine.py" not in code_of(plugin, settings=())


def test_a_package_counts_as_a_whole(tmp_path, plugin, monkeypatch):
    package = tmp_path / "packaged"
    package.mkdir()
    (package / "__init__.py").write_text(plugin.read_text())
    (package / "table.csv").write_text("1,2\n")
    before = code_of("packaged")
    (package / "table.csv").write_text("1,3\n")
    assert {name for name, digest in code_of("packaged").items() if before[name] != digest} == {"packaged"}
    monkeypatch.delitem(sys.modules, "packaged")


IMPORTS = {  # what a plugin writes, and the file that it leads to
    "from blocks import sizes": "blocks/sizes.py",
    "import blocks.sizes": "blocks/sizes.py",
    "from blocks.deep.sizes import width": "blocks/deep/sizes.py",
    "import importlib; importlib.import_module('blocks.sizes')": "blocks/sizes.py",
}


@pytest.mark.parametrize("statement", IMPORTS)
def test_imports_from_folders_without_init(tmp_path, monkeypatch, statement):
    """Python imports from a folder without `__init__.py`, which has no file itself."""
    monkeypatch.syspath_prepend(tmp_path)
    helper = tmp_path / IMPORTS[statement]
    helper.parent.mkdir(parents=True, exist_ok=True)
    helper.write_text("width = 4\n")
    (tmp_path / "mine.py").write_text(PLUGIN.replace("from mine_helper import activation", statement))
    assert changed_by(tmp_path / "mine.py", helper) == {helper.name}


@pytest.mark.parametrize("statement", ["from . import sizes", "from .sizes import width"])
def test_relative_imports_without_init(tmp_path, monkeypatch, statement):
    """A plugin that is given by its name may lie in a folder without `__init__.py`, and import what lies beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "sizes.py").write_text("width = 4\n")
    (folder / "mine.py").write_text(PLUGIN.replace("from mine_helper import activation", statement))
    assert changed_by("bare.mine", folder / "sizes.py") == {"sizes.py"}
    for name in ("bare", "bare.mine"):
        sys.modules.pop(name, None)


def test_a_linked_folder_of_a_package_counts(tmp_path, plugin, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sizes.py").write_text("width = 4\n")
    (tmp_path / "elsewhere" / "round").symlink_to("..")  # a circle
    package = tmp_path / "linked"
    package.mkdir()
    (package / "__init__.py").write_text(plugin.read_text())
    (package / "shared").symlink_to("../elsewhere")
    assert changed_by("linked", tmp_path / "elsewhere" / "sizes.py") == {"linked"}
    monkeypatch.delitem(sys.modules, "linked")


def test_the_version_of_a_package_with_another_name(plugin):
    """The distribution of `dateutil` is `python-dateutil`."""
    plugin.write_text(plugin.read_text() + "import dateutil\n")
    assert code_of(plugin)["dateutil"] == f"version {metadata.version('python-dateutil')}"


def changed_by(module, helper):
    """Return the names whose fingerprints a change of a file changes."""
    before = code_of(module)
    helper.write_text("width = 5\n")
    return {name for name, digest in code_of(module).items() if before.get(name) != digest}


def test_an_installed_plugin_counts_by_its_files():
    found = code_of(settings=("posterior=planar",))
    assert found["vaeflow_flows"].startswith("sha256 ")
    assert found["pydantic"].startswith("version ")


def test_what_another_environment_has_installed_is_not_read(tmp_path, plugin, monkeypatch):
    """Environments can be layered, by PYTHONPATH or a .pth file: all of TensorFlow would be read there."""
    installed = tmp_path / "other" / "site-packages"
    (installed / "heavy").mkdir(parents=True)
    (installed / "heavy" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(installed)
    plugin.write_text(plugin.read_text() + "import heavy\n")
    assert "heavy" not in code_of(plugin)


def test_where_a_file_lies_does_not_count(tmp_path, plugin):
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "mine.py").write_text(plugin.read_text())
    assert code_of(plugin)["mine.py"] == code_of(other / "mine.py")["mine.py"]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_every_byte_of_data_counts(dtype):
    x = np.zeros((50, 4, 3), dtype)
    seen = {data.fingerprint(x)}
    for index in np.ndindex(x.shape[1:]):
        changed = x.copy()
        changed[(49, *index)] = 1
        seen.add(data.fingerprint(changed))
    assert len(seen) == 1 + 12


def test_memory_layout_does_not_count():
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert data.fingerprint(x) == data.fingerprint(np.asfortranarray(x)) == data.fingerprint(np.repeat(x, 2, 0)[::2])


def test_shape_and_type_count():
    x = np.zeros((4, 6), np.uint8)
    assert len({data.fingerprint(one) for one in (x, x.reshape(6, 4), x[:3], x.astype(np.float32))}) == 4


def test_large_data_are_sampled(monkeypatch):
    monkeypatch.setattr(data, "EXACT_BYTES", 1000)
    monkeypatch.setattr(data, "SAMPLED_BLOCKS", 3)
    monkeypatch.setattr(data, "SAMPLED_BYTES", 20)
    x = np.zeros((200, 10), np.uint8)
    before = data.fingerprint(x)
    assert "sha256 of 3 blocks of" in before
    counts = []
    for row in range(200):
        changed = x.copy()
        changed[row, 3] = 1
        counts.append(data.fingerprint(changed) != before)
    assert counts[0]
    assert counts[-1]
    assert sum(counts) == 6  # three blocks of two rows


def test_each_array_of_each_split_counts():
    x, y = np.zeros((4, 2), np.uint8), np.arange(4)
    found = data.fingerprints(Dataset("mine", Split(x, y), None, Split(x[:2]), "here"))
    assert list(found) == ["train.x", "train.y", "test.x"]


def test_what_has_changed_is_serious_or_not():
    before = Provenance({"seed": 0, "name": "a"}, {"vaeflow": "1", "mine.py": "2"}, {"train.x": "3"}, {"keras": "3.14"})
    now = Provenance({"seed": 1, "name": "b"}, {"vaeflow": "2", "mine.py": "3"}, {"train.x": "4"}, {"keras": "3.15"})
    found = changes(before, now, Config())
    assert found.serious == (
        "seed was 0 and is 1",
        "the code of mine.py was '2' and is '3'",
        "the data's train.x was '3' and is '4'",
    )
    assert found.environment == ("the code of vaeflow was '1' and is '2'", "keras was '3.14' and is '3.15'")
    assert found.harmless == ("name was 'a' and is 'b'",)


def test_a_part_that_a_record_lacks_is_not_compared():
    assert differences(Provenance({"seed": 0}), Provenance({"seed": 0}, {"vaeflow": "1"})) == []


def test_a_record_survives_json():
    record = Provenance({"seed": 0}, {"vaeflow": "1"}, {"train.x": "3"}, {"keras": "3.14"})
    assert Provenance.from_json(record.to_json()) == record
