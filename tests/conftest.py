"""What several test files need: real MNIST digits; and which tests are skipped, with the reason."""

import os
import signal

import numpy as np
import pytest

from vaeflow.data.sets import Folders
from vaeflow.data.sets.content import read_content
from vaeflow.data.sets.fetch import fetch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # as vaeflow sets it, for tests that import TensorFlow first
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what the tests start shall hear it

pytest_plugins = ("helpers.tiers",)


@pytest.fixture(scope="session")
def mnist_folders():
    """The ordinary folders, with MNIST in the cache; the first run of the tests fetches it."""
    folders = Folders.default()
    fetch("mnist", folders)
    return folders


@pytest.fixture(scope="session")
def mnist_content(mnist_folders):
    """MNIST's four arrays, mapped from the cache."""
    return read_content(mnist_folders.cache / "mnist.npz")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The only folder in which pip looks for packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def tiny_arrays(tmp_path, mnist_content):
    """A .npz file with the first 256 training and 64 test digits of MNIST, for the data set `arrays`."""
    x_train, y_train, x_test, y_test = mnist_content
    path = tmp_path / "tiny.npz"
    np.savez(path, x_train=x_train[:256], y_train=y_train[:256], x_test=x_test[:64], y_test=y_test[:64])
    return path


@pytest.fixture
def said():
    """The lines that a run's view was given to say."""
    return []


@pytest.fixture
def view(tmp_path, mnist_content, said):
    """A run as callbacks see it, around a small model on real digits."""
    from helpers import by_hand

    return by_hand.view_of(tmp_path, by_hand.digits(mnist_content), said=said)
