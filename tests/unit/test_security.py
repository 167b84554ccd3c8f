"""A stranger's files run no code. Archives are in test_horovod_build.py, data files in test_data.py."""

from __future__ import annotations

import ast
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import small_runs

import vaeflow
from vaeflow.data.sets.unpickle import load_arrays
from vaeflow.errors import DataError, UsageError
from vaeflow.training.feature_network import load_network

PACKAGE = Path(vaeflow.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
# One takes arrays alone, one names its errors, one notes who calls it and loads nothing.
MAY_NAME_PICKLE = {"data/sets/unpickle.py", "data/sets/pip_package.py", "plugin_kit/checks/pickling.py"}
# A feature network that the user names, in Keras's safe mode: test_a_feature_network_with_code_is_refused.
MAY_LOAD_MODELS = {"training/feature_network.py"}
FORBIDDEN = {"eval", "exec", "load_model", "allow_pickle", "dill", "cloudpickle", "joblib"}


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def _names(tree: ast.AST) -> set[str]:
    """Return what is called, imported, or handed over by a keyword that is not False."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.add(node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", ""))
            found |= {str(k.arg) for k in node.keywords if getattr(k.value, "value", True) is not False}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
    return found


def test_no_module_can_unpickle_or_evaluate():
    assert len(SOURCES) > 100
    for path in SOURCES:
        names = _names(ast.parse(path.read_text()))
        within = path.relative_to(PACKAGE).as_posix()
        assert not names & FORBIDDEN - ({"load_model"} if within in MAY_LOAD_MODELS else set()), path
        assert "load_model" not in names or "safe_mode=True" in path.read_text(), path
        assert "pickle" not in names or within in MAY_NAME_PICKLE, path
        assert "extractall" not in names or 'filter="data"' in path.read_text(), path


def test_a_pickle_of_anything_but_arrays_is_refused(tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(DataError, match="only numpy arrays"):
        load_arrays(io.BytesIO(pickle.dumps((np.zeros(2), Evil(mark)))))
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_a_feature_network_with_code_is_refused(tmp_path):
    """A Lambda layer has bytecode in the file; the same layer is run by Keras without safe mode."""
    import keras

    mark = tmp_path / "mark"
    touch = f"lambda x: (__import__('pathlib').Path({str(mark)!r}).touch(), x)[1]"
    layer = keras.layers.Lambda(eval(touch), output_shape=(3,))
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "net.keras")
    mark.unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"net\.keras can't be loaded"):
        load_network(str(tmp_path / "net.keras"))
    assert not mark.exists()
    keras.models.load_model(tmp_path / "net.keras", safe_mode=False)(np.zeros((1, 3), np.float32))
    assert mark.exists()


@pytest.mark.slow
def test_a_run_directory_runs_no_code_of_its_own(tmp_path, tiny_arrays, monkeypatch):
    run = small_runs.train(tmp_path / "run", tiny_arrays, "steps=2")
    mark = tmp_path / "mark"
    evil = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    for name in ("evil.py", "vaeflow_evil.py", "sitecustomize.py", "conftest.py", "tensorflow.py", "keras.py"):
        (run / name).write_text(evil)
    with (run / "checkpoints" / "evil.pkl").open("wb") as file:
        pickle.dump(Evil(mark), file)
    config = run / "config.toml"
    config.write_text(config.read_text().replace('name = "mlp"', 'name = "evil"', 1))
    monkeypatch.chdir(run)
    script = Path(sys.executable).parent / "vaeflow"  # Python's -c would look for modules here
    for command in ("resume", "evaluate", "sample", "plot"):
        done = subprocess.run([script, command, run], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "'evil'" in done.stderr
    assert not mark.exists()
