"""What `vaeflow encode` and `vaeflow export` write, beside the run's own numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.small_runs import on, train, write_digits

import vaeflow
from vaeflow.cli import main
from vaeflow.errors import UsageError

pytestmark = pytest.mark.slow  # it trains or samples for seconds

SETTINGS = ("steps=3", "ema=0.5", "latent_size=3")


@pytest.fixture(scope="module")
def run(tmp_path_factory, mnist_content):
    folder = tmp_path_factory.mktemp("hand-on")
    data = write_digits(folder / "digits.npz", mnist_content, train=40, test=23)
    return vaeflow.load(train(folder / "run", data, *SETTINGS))


def exported(run, tmp_path, to):
    assert main(["export", str(run.directory), "--to", to, "--out", str(tmp_path / "out"), "--licence", "CC0"]) == 0
    return tmp_path / "out"


def test_metrics_can_be_named_at_evaluation(run):
    """They are not in the run's config; the bound of 20 samples is below log p(x) of 300."""
    found = run.evaluate(samples=20, importance_samples=300, metrics=["iw-bound", "squared-error"])["metrics"]
    assert found["test/squared-error"] > 0.0
    assert found["test/elbo"] < found["test/iw-bound"] < -found["test/nll"] + 0.5
    assert "test/iw-bound" not in run.evaluate()["metrics"]
    with pytest.raises(UsageError, match="--metric: unknown metric 'iw-bond'; did you mean 'iw-bound'"):
        run.evaluate(metrics=["iw-bond"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_encode_writes_the_means_in_their_order(run, tmp_path, split):
    out = tmp_path / "z.npy"
    assert main(["encode", str(run.directory), "--split", split, "--out", str(out)]) == 0
    assert np.array_equal(np.load(out), run.encode(run.examples(split)))
    assert main(["encode", str(run.directory), "--split", split, "--out", str(tmp_path / "z.npz")]) == 0
    assert np.array_equal(np.load(tmp_path / "z.npz")["z"], np.load(out))


def test_encode_of_a_conditional_model(tmp_path, mnist_content):
    data = write_digits(tmp_path / "digits.npz", mnist_content, train=40, test=23)
    folder = tmp_path / "run"
    assert main(["train", "mnist-2d", "--run-dir", str(folder), *on(data, *SETTINGS, "condition.labels=true")]) == 0
    run = vaeflow.load(folder)
    x, labels = run.examples("test"), run.labels("test")
    assert np.array_equal(run.embeddings("test"), run.encode(x, labels=labels))


def test_a_keras_file_has_the_runs_numbers(run, tmp_path):
    model = keras.models.load_model(exported(run, tmp_path, "keras") / "model.keras")
    x = run.examples("test")
    assert np.allclose(model.encode(x), run.encode(x), atol=1e-6)


def test_a_saved_model_has_the_runs_numbers(run, tmp_path):
    model = tf.saved_model.load(str(exported(run, tmp_path, "saved-model") / "saved_model"))
    x = run.examples("test")
    assert np.allclose(model.encode(x), run.encode(x), atol=1e-6)
    assert np.allclose(model.decode(run.encode(x)), run.reconstruct(x), atol=1e-6)


def test_npz_has_the_weights(run, tmp_path):
    weights = np.load(exported(run, tmp_path, "npz") / "weights.npz")
    assert sum(weights[name].size for name in weights) == sum(int(np.prod(v.shape)) for v in run.model.variables)


def test_the_card_says_what_it_is(run, tmp_path):
    card = (exported(run, tmp_path, "npz") / "README.md").read_text()
    assert f"sha256 {run.experiment.state.weights_sha256()}" in card
    assert "| data | arrays: train 40, test 23 examples |" in card
    assert "| binarization | threshold |" in card
    assert "| licence | CC0 |" in card
    assert f"| test/elbo | {run.metrics['test/elbo']:.4f} |" in card
    assert 'name = "mnist-2d"' in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--to", "keras", "--out", "there"], "--out there already exists and is not overwritten"),
        (["export", "--to", "pt", "--out", "new"], "'pt' is not one of 'keras', 'saved-model', 'onnx', 'npz'"),
        (["export", "--to", "npz", "--out", "no/new"], "--out no/new: there is no directory no"),
        (["encode", "--out", "z.txt"], "--out z.txt: the file's name must end with .npy or .npz"),
        (["encode", "--out", "z.npy", "--split", "validation"], "has no split 'validation'"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, capsys, *, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert main([arguments[0], str(run.directory), *arguments[1:]]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
