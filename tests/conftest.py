"""What several test files need: real MNIST digits; and which tests are skipped, with the reason."""

import os
import signal

import numpy as np
import pytest
from helpers import fork_server

from vaeflow.data.sets import Folders
from vaeflow.data.sets.content import read_content
from vaeflow.data.sets.fetch import fetch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # as vaeflow sets it, for tests that import TensorFlow first
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what the tests start shall hear it


MODES = (  # marker, option that includes its tests, why they are skipped without it
    ("repetition", "--all", "repeats another test with more seeds, ranks or components: make test-all"),
    ("cluster", "--cluster", "starts SLURM or sshd, which takes root and packages: make test-cluster"),
)
QUICK = (  # marker, why --quick skips its tests
    ("slow", "takes seconds of work: make test"),
    ("distributed", "starts a job of several replicas: make test"),
)


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="skip tests that are slow or start a job")
    parser.addoption("--all", action="store_true", help="run repetitions, too: more seeds, ranks and components")
    parser.addoption("--cluster", action="store_true", help="run the tests that start SLURM and sshd, as root")


def pytest_collection_modifyitems(config, items):
    reasons = [(marker, reason) for marker, option, reason in MODES if not config.getoption(option)]
    if config.getoption("--quick"):
        reasons += QUICK
    for item in items:
        for marker, reason in reasons:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _no_fork_server_is_left():
    yield
    if fork_server.server.cache_info().currsize:
        fork_server.server().__exit__()


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
