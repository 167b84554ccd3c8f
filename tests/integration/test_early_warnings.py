"""Data and models that can be trained and make no sense: what is said before a step is taken."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import HELPERS
from helpers.small_runs import on

from vaeflow.cli import main
from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets import sampled_rows as looked_at
from vaeflow.data.sets.image_warnings import data_warnings

PLUGIN = HELPERS / "nonsense_plugins.py"
FLOATS = ("binarization=none", "likelihood=gaussian")
FREE = ("dataset.check=false", *FLOATS)
COUNTS = ("dataset.check=false", "binarization=none", "likelihood=poisson")


def _same(arrays):
    return arrays


def _with(**changed):
    """Return what replaces arrays by functions of all arrays."""
    return lambda arrays: arrays | {name: change(arrays) for name, change in changed.items()}


def _floats(factor):
    return _with(**{x: (lambda a, x=x: (a[x] / 255.0 * factor).astype(np.float32)) for x in ("x_train", "x_test")})


def _shuffled(a):
    return np.random.default_rng(0).permutation(a["y_train"])


def _holes(a):
    x = (a["x_train"] / 255.0).astype(np.float32)
    x[5, 3, 3] = np.nan
    return x


WARNINGS = {
    "copies of the training split": (
        _with(x_test=lambda a: a["x_train"][:100]),
        (),
        "100 of 100 test examples are also in the t",
    ),
    "a test split that overlaps": (
        _with(x_test=lambda a: np.concatenate([a["x_test"][:97], a["x_train"][-3:]])),
        (),
        "3 of 100 test examples are also in the train split: m",
    ),
    "a validation split that overlaps": (
        _with(x_validation=lambda a: a["x_test"][:50]),
        (),
        "50 of 100 test examples are also in the validation split",
    ),
    "duplicates": (
        _with(x_train=lambda a: np.tile(a["x_train"][:100], (4, 1, 1))),
        (),
        "300 of 400 training examples are c",
    ),
    "images of one colour": (
        _with(
            x_train=lambda a: np.where(
                np.arange(400)[:, None, None] % 5 == 0, np.arange(400)[:, None, None] % 256, a["x_train"]
            ).astype(np.uint8)
        ),
        (),
        "80 of 400 checked train examples have one v",
    ),
    "all the same": (
        _with(x_train=lambda a: np.repeat(a["x_train"][:1], 400, 0)),
        (),
        "399 of 400 training examples are copies of",
    ),
    "divided twice": (
        _floats(1 / 255),
        FLOATS,
        r"the largest pixel of train is 0\.0039\d* of 1 in 400",
    ),
    "dark bytes": (
        _with(x_train=lambda a: a["x_train"] // 32),
        (),
        "the largest pixel of train is 7 of 255 in 400 checked",
    ),
    "nothing above the threshold": (
        _with(x_train=lambda a: a["x_train"] // 4),
        (),
        r"every element of x is 0 in the 16 training exam",
    ),
    "floats like bytes": (_floats(255), FREE, "train has whole floats up to 255: only byt"),
    "not finite": (
        _with(x_train=_holes, x_test=lambda a: (a["x_test"] / 255).astype(np.float32)),
        FREE,
        "1 of 400 checked train examples have values",
    ),
    "channels first": (
        _with(x_train=lambda a: a["x_train"][:, None], x_test=lambda a: a["x_test"][:, None]),
        (),
        r"an example has shape \(1, 28, 28\), which looks like",
    ),
    "more validation than training": (
        _same,
        ("dataset.validation=300",),
        "validation has 300 examples, more than the 100 tr",
    ),
    "a batch larger than the data": (
        _same,
        ("batch_size=500",),
        "batch_size = 500 is larger than the 400 training examp",
    ),
    "one label": (_with(y_train=lambda a: 0 * a["y_train"] + 7), (), "all 400 labels of train are 7"),
    "sorted labels": (
        _with(x_train=lambda a: a["x_train"][np.argsort(a["y_train"])], y_train=lambda a: np.sort(a["y_train"])),
        (),
        "train is sorted by its labels: dataset.train_example",
    ),
    "shuffled labels": (
        _with(y_train=_shuffled),
        (),
        r"labels of train seem to be unrelated to its images",
    ),
    "numbers for labels": (
        _with(y_train=lambda a: np.arange(400)),
        (),
        "train has 400 different labels for 400 examples",
    ),
    "negative labels": (_with(y_train=lambda a: a["y_train"].astype(int) - 1), (), "train has negative labels: -1"),
    "unknown labels": (
        _with(y_test=lambda a: a["y_test"] + 20),
        (),
        r"test has labels that no training example has: 20, 21",
    ),
    "greys of a Bernoulli": (
        _same,
        ("binarization=none",),
        r"likelihood 'bernoulli' supports only the values 0 and 1,",
    ),
    "greys of counts": (
        _same,
        ("binarization=none", "likelihood=poisson"),
        r"likelihood 'poisson' supports only multiples of 1 from 0, but binarization 'none' makes 0\.\d+: ",
    ),
    "greys of few levels": (
        _same,
        ("binarization=none", "likelihood=categorical", "likelihood.levels=4"),
        r"likelihood 'categorical' supports only multiples of 0\.3333 from 0, but ",
    ),
    "negative counts": (
        _with(x_train=lambda a: a["x_train"] - np.float32(7), x_test=lambda a: a["x_test"] - np.float32(7)),
        COUNTS,
        r"likelihood 'poisson' supports only multiples of 1 from 0, but binarization 'none' makes -7: ",
    ),
    "a sigmoid too many": (
        _same,
        ("decoder=activated",),
        r"decoder 'activated' can only return values from \S+ to 1,",
    ),
    "a relu too many": (
        _same,
        ("decoder=activated", "decoder.activation=relu"),
        r"is between 0\.5 and 1, but x is between 0 and 1",
    ),
    "a tanh too many": (
        _same,
        ("decoder=activated", "decoder.activation=tanh"),
        r"decoder 'activated' can only return values from -1 to 1",
    ),
    "a dead encoder": (
        _same,
        ("encoder=dead",),
        "the gradient of every weight of the encoder is 0 for",
    ),
    "a tiny variance": (
        _same,
        (*FLOATS, "likelihood.scale=0.001"),
        r"log p\(x given z\) is -\S+ nats per element before t",
    ),
    "no learning rate": (
        _same,
        ("learning_rate=still",),
        "the learning rate is 0 at every step: the weights w",
    ),
    "no divergence": (
        _same,
        ("kl_schedule={name='constant', weight=0}",),
        r"the weight of KL\(q, p\) is 0 at every step: the m",
    ),
    "no beta": (
        _same,
        ("objective={name='beta-vae', beta=0}",),
        r"the loss does not depend on KL\(q, p\): the model is",
    ),
    "as many latents as pixels": (
        _same,
        ("latent_size=784",),
        "latent_size = 784 is not less than the 784 elements o",
    ),
    "numbers without end": (
        _with(
            x_train=lambda a: np.full((400, 8), 3e38, np.float32),
            x_test=lambda a: np.full((9, 8), 3e38, np.float32),
            y_test=lambda a: np.arange(9),
        ),
        FREE,
        "the loss of 16 training examples is inf before the f",
    ),
}

SENSIBLE = {
    "digits": (),
    "a threshold and a Gaussian": ("binarization=threshold", "likelihood=gaussian"),
    "grey and continuous": ("binarization=none", "likelihood=continuous-bernoulli"),
    "a Gaussian's sigmoid": (*FLOATS, "decoder=activated"),
    "a learned variance": ("binarization=none", "likelihood={name='gaussian', variance='shared', scale=0.1}"),
    "a decoded variance": ("binarization=none", "likelihood={name='gaussian', variance='decoded'}"),
    "grey and Laplace": ("binarization=none", "likelihood=laplace"),
    "grey levels": ("binarization=none", "likelihood=categorical"),
    "grey logistics": ("binarization=none", "likelihood=discretized-logistic-mixture"),
    "bytes as counts": ("binarization=none", "likelihood=poisson", "likelihood.counts_per_unit=255"),
    "a learned prior": ("prior=mixture-of-gaussians",),
    "a long warm-up": ("kl_schedule={name='linear', epochs=1000}",),
    "a capacity": ("kl_schedule={name='capacity', nats=5.0}",),
    "convolutions": ("encoder=conv-mnist", "decoder=conv-mnist"),
    "mixed precision": ("precision=mixed_bfloat16",),
    "a cosine": ("learning_rate={name='cosine-decay', initial_learning_rate=0.001, decay_steps=10}",),
    "held out": ("dataset.validation=50",),
}


@pytest.fixture(scope="module")
def arrays(mnist_content):
    """The first digits of MNIST."""
    x_train, y_train, x_test, y_test = mnist_content
    return {"x_train": x_train[:400], "y_train": y_train[:400], "x_test": x_test[:100], "y_test": y_test[:100]}


def said_of(arrays, settings, capfd):
    """Return the lines of a dry run that begin with `warning: `."""
    np.savez("data.npz", **arrays)
    conv = any(setting.startswith("encoder=") for setting in settings)
    given = [one for one in on(Path("data.npz")) if not (conv and one.startswith("encoder"))]
    given = [
        one for one in given if not (one.startswith("decoder") and any(s.startswith("decoder=") for s in settings))
    ]
    command = ["train", "mnist-2d", *given, *settings, "--plugin", str(PLUGIN), "--dry-run"]
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert "arning" not in err
    return [line.removeprefix("warning: ") for line in out.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize("name", WARNINGS)
def test_a_doubt_is_a_line(name, arrays, tmp_path, monkeypatch, capfd):
    change, settings, expected = WARNINGS[name]
    monkeypatch.chdir(tmp_path)
    lines = said_of(change(arrays), settings, capfd)
    assert any(re.match(f".*{expected}", line) for line in lines), lines


@pytest.mark.parametrize("name", SENSIBLE)
def test_nothing_is_said_of_what_makes_sense(name, arrays, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert said_of(arrays, SENSIBLE[name], capfd) == []


def test_nothing_is_said_of_floats_that_are_counts(arrays, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    counts = {name: array.astype(np.float32) if name.startswith("x") else array for name, array in arrays.items()}
    assert said_of(counts, COUNTS, capfd) == []


def test_values_that_a_likelihood_cannot_have_are_an_error(arrays, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", **_floats(255)(arrays))
    for likelihood in ("bernoulli", "continuous-bernoulli", "categorical", "discretized-logistic-mixture"):
        settings = ("dataset.check=false", "binarization=none", f"likelihood={likelihood}")
        assert main(["train", "mnist-2d", *on(Path("data.npz"), *settings), "--run-dir", "made"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert f"likelihood '{likelihood}' supports only values from 0 to 1, but binarization 'none' makes " in line
        assert not Path("made").exists()


def test_a_run_says_it_and_goes_on(arrays, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", **arrays)
    settings = on(Path("data.npz"), "binarization=none", "steps=1", "plots.draw=[]")
    assert main(["train", "mnist-2d", *settings, "--run-dir", "made"]) == 0
    lines = capfd.readouterr().out.splitlines()
    expected = "warning: likelihood 'bernoulli' supports only the values 0 and 1"
    assert sum(line.startswith(expected) for line in lines) == 1
    assert main(["evaluate", "made"]) == 0
    assert "warning" not in capfd.readouterr().out


def test_of_huge_data_the_first_examples_are_looked_at(monkeypatch):
    monkeypatch.setattr(looked_at, "BYTES", 64 * 100)
    x = np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 1), np.uint8)
    made = Dataset("made", Split(x), None, Split(x[50:150]), "here")
    (line,) = data_warnings(made, 10)
    expected = "50 of 100 test examples are also in the train split (the first 100 of 1000 were checked): "
    assert line.startswith(expected)


def test_data_of_the_size_of_mnist_take_a_moment():
    x = np.random.default_rng(0).integers(0, 256, (70_000, 28, 28, 1), np.uint8)
    y = np.random.default_rng(0).integers(0, 10, 70_000)
    started = time.process_time()
    list(data_warnings(Dataset("made", Split(x[:60_000], y[:60_000]), None, Split(x[60_000:]), "here"), 10))
    assert time.process_time() - started < 2.0
