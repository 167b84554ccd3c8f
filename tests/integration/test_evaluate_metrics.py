"""Metrics that are named at evaluation: the table, JSON, pictures, TensorBoard, feature networks, from Python."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from helpers.small_runs import train, write_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vaeflow
from vaeflow.cli import main
from vaeflow.errors import UsageError

pytestmark = pytest.mark.slow  # it trains for seconds


@pytest.fixture(scope="module")
def run(tmp_path_factory, mnist_content):
    folder = tmp_path_factory.mktemp("evaluate")
    data = write_digits(folder / "digits.npz", mnist_content, train=64, test=40)
    return train(folder / "run", data, "steps=4", "evaluate.batch_size=16", "latent_size=3")


def test_what_is_printed_and_written(run, capsys):
    (run / "tensorboard").mkdir(exist_ok=True)  # as of a run with log.tensorboard
    capsys.readouterr()
    named = ["--metric", "aggregated-posterior", "--metric", '{name="calibration", simulations=30, draws=9}']
    assert main(["evaluate", str(run), "--table", *named]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "arrays, test split, 40 examples"
    written = json.loads((run / "evaluation-test.json").read_text())
    elbo = next(line.split() for line in lines if line.startswith("test/elbo "))
    assert elbo[1] == f"{written['metrics']['test/elbo']:.4f}"
    assert written["details"]["calibration"]["simulations"] == 30
    assert np.sum(written["details"]["calibration"]["ranks"], axis=1).tolist() == [30.0] * 3
    assert len(written["kl_per_dimension"]["test"]) == 3
    assert sum(written["kl_per_dimension"]["test"]) == pytest.approx(written["metrics"]["test/kl"], rel=1e-5)
    for name in ("calibration", "aggregated-posterior"):
        assert (run / f"evaluation-test-{name}.png").stat().st_size > 5000
    logged = EventAccumulator(str(run / "tensorboard" / "evaluation-test")).Reload()
    assert "test/calibration/critical" in logged.Tags()["tensors"]
    assert [event.step for event in logged.Tensors("ELBO/test")] == [4]
    assert "images/plots/evaluation-test-calibration" in logged.Tags()["tensors"]
    main(["evaluate", str(run)])  # in place of the earlier one
    again = EventAccumulator(str(run / "tensorboard" / "evaluation-test")).Reload()
    assert "test/calibration/critical" not in again.Tags()["tensors"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_feature_networks_that_are_named(run, tmp_path, monkeypatch):
    """Of a file, of a module, and a function from Python: the same features give the same shares."""
    network = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    network.save(tmp_path / "net.keras")
    (tmp_path / "features_of_test.py").write_text(
        "import keras\nnet = keras.models.load_model('net.keras')\ndef features(x):\n    return net(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    named = {
        "net.keras": "the network net.keras",
        "features_of_test:features": "the function features_of_test:features",
    }
    found = [vaeflow.evaluate(run, metrics=["precision-recall"], features=features) for features in (*named, network)]
    assert [one["details"]["precision-recall"]["features"] for one in found] == [*named.values(), "Sequential"]
    shares = [[one["metrics"][f"test/precision-recall/{name}"] for name in ("precision", "recall")] for one in found]
    assert shares[0] == shares[1] == shares[2]
    assert found[0]["details"]["precision-recall"]["features_width"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "none.keras"], "--features none.keras: there is no such file"),
        (["--features", "net.h5"], "give the path of a .keras file or an importable module:function"),
        (["--features", "no_such_module:f"], "--features no_such_module:f can't be imported: ModuleNotFoundError"),
        (["--features", "math:pi"], "--features math:pi is no function, but float"),
        (["--features", "broken.keras"], "--features broken.keras can't be loaded"),
        (["--metric", "{draws=3}"], "it has no name"),
        (["--metric", "{name='calibration', drows=3}"], "did you mean 'draws'"),
        (["--metric", "{name='calibration'"], "--metric"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, capsys, *, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    assert main(["evaluate", str(run), "--metric", "precision-recall", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_annealing_from_python(run):
    found = vaeflow.evaluate(vaeflow.load(run), importance_samples=2, annealing_steps=3, memory=2e9)
    assert (found["importance_samples"], found["annealing_steps"]) == (2, 3)
    assert found["metrics"]["test/nll"] > 0.0
    bits = found["metrics"]["test/nll"] / 784 / np.log(2.0)
    assert found["metrics"]["test/nll_bits_per_dimension"] == pytest.approx(bits)
    with pytest.raises(UsageError, match="annealing_steps needs importance_samples"):
        vaeflow.evaluate(run, annealing_steps=20)


def test_a_config_can_have_them_too(run, tmp_path, mnist_content):
    """Then they are logged at each evaluation, with the values that an evaluation of the last step has."""
    data = write_digits(tmp_path / "digits.npz", mnist_content, train=64, test=40)
    logged = vaeflow.load(train(tmp_path / "run", data, "steps=4", "metrics=['mutual-information']"))
    value = logged.metrics["test/mutual-information"]
    assert logged.history["test/mutual-information"].iloc[-1] == value
    assert logged.evaluate()["metrics"]["test/mutual-information"] == pytest.approx(value, rel=1e-6)
