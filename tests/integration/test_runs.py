"""What a run leaves, what its settings do to it, and the same from Python."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
from textwrap import dedent

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import small_runs
from helpers.small_runs import RUN, on, python, rows, summary, train, write_digits
from helpers.tiers import few

import vaeflow as vf
from vaeflow.callbacks import Callback, Callbacks, RunView
from vaeflow.callbacks.group import Called
from vaeflow.cli import main
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data import source
from vaeflow.data.sets import Folders
from vaeflow.distributed.job.stop_signals import StopRequest
from vaeflow.distributed.strategies.processes import Processes
from vaeflow.errors import DataError
from vaeflow.plugins.registry import Registry
from vaeflow.training.checkpoints.background import BackgroundSaves
from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress
from vaeflow.training.elastic import Members
from vaeflow.training.loop import Loop
from vaeflow.training.position import Position
from vaeflow.training.requests import Requests
from vaeflow.training.setup import prepare

TRAINING = ("elbo", "log_likelihood", "kl", "loss", "learning_rate", "kl_weight", "gradient_norm", "skipped_steps")
EVALUATION = ("elbo", "log_likelihood", "kl", "active_units")
FILES = {"config.toml", "environment.json", "summary.json", "metrics.jsonl", "checkpoints", "plots", ".lock"}
OPTIMIZERS = ("rmsprop", "muon", "schedule-free-adamw", "lamb")
"""The default, two that are not Keras's, and one that treats matrices in its own way."""
LINEAR, CAPACITY = ((f"kl_schedule={name}", "kl_schedule.epochs=1") for name in ("linear", "capacity"))
PLOTS = {"latents", "reconstructions", "samples", "manifold", "curves"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    """A run of two epochs of 8 steps."""
    return train(tmp_path_factory.mktemp("run") / "run", digits, small_runs.PLOTS)


@pytest.fixture(scope="module")
def loaded(run):
    return vf.load(run)


class Recorder(Callback):
    """Keeps what was logged."""

    def __init__(self):
        self.training, self.evaluations = [], []

    def on_log(self, run, record):
        self.training.append(record.scalars)

    def on_evaluation(self, run, record):
        self.evaluations.append(record.scalars)


def looped(folder, data, *settings, recorder=None):
    """Train in this process without the usual callbacks; return the loop."""
    resolved = resolve(compose("mnist-2d", on(data, *settings)), Registry.load())
    experiment = prepare(resolved, Folders.default())
    view = RunView(
        directory=folder,
        config=resolved.config,
        dataset=experiment.dataset,
        trained=experiment.trained,
        first_step=0,
        total_steps=experiment.timeline.total_steps,
        steps_per_epoch=experiment.timeline.steps_per_epoch,
        say=print,
    )
    callbacks = Callbacks([Called.own(recorder or Recorder())], view)
    with contextlib.closing(BackgroundSaves(CheckpointFolder(folder, keep=3, say=print), print)) as saves:
        processes = Processes(experiment.strategy)
        requests = Requests(experiment, callbacks, view.control, processes, StopRequest(), Members())
        loop = Loop(experiment, view, callbacks, Position(Progress()), requests, saves, lambda: 0)
        assert [epoch.number for epoch in loop.epochs()]
    return loop


def weights(loop):
    return np.concatenate([v.numpy().ravel() for v in loop.experiment.model.trainable_variables])


# What a run leaves


def test_files(run):
    assert {path.name for path in run.iterdir()} == FILES
    assert {path.stem for path in (run / "plots").iterdir()} == PLOTS
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (run / "plots").iterdir())
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        "step-000000000",
        "step-000000008",
        "step-000000016",
    ]


def test_tensorboard_is_written_by_default(tmp_path, digits):
    run = train(tmp_path / "run", digits, "log.tensorboard=true", small_runs.PLOTS)
    assert {path.name for path in run.iterdir()} == FILES | {"tensorboard"}
    assert any((run / "tensorboard").glob("events.out.tfevents.*"))


def test_the_summary(run):
    found = json.loads((run / "summary.json").read_text())
    assert found["metrics"].keys() == {f"train/{name}" for name in TRAINING} | {f"test/{name}" for name in EVALUATION}
    assert found["traces"] == 1
    assert found["seconds"] > 0
    assert math.isclose(found["examples_per_second"] * found["seconds"], 512)
    said = {key: found[key] for key in ("name", "seed", "dataset", "binarization", "precision", "steps", "epochs")}
    assert said == {
        "name": "mnist-2d",
        "seed": 0,
        "dataset": "arrays",
        "binarization": "threshold",
        "precision": "float32",
        "steps": 16,
        "epochs": 2.0,
    }
    for key in ("weights_sha256", "state_sha256"):
        assert len(bytes.fromhex(found[key])) == 32


def test_the_metrics(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in found if "train/elbo" in row]
    evaluations = [row for row in found if "test/elbo" in row]
    assert [row["step"] for row in training] == [5, 10, 15, 16]
    assert [(row["step"], row["epoch"]) for row in evaluations] == [(8, 1.0), (16, 2.0)]
    names = {"step", "epoch", "train/examples_per_second"} | {f"train/{name}" for name in TRAINING}
    assert all(row.keys() == names for row in training)
    assert all(row.keys() == {"step", "epoch"} | {f"test/{name}" for name in EVALUATION} for row in evaluations)
    assert [row["step"] for row in found] == sorted(row["step"] for row in found)
    for row in found:
        for split in ("train", "test"):
            if f"{split}/elbo" in row:
                difference = row[f"{split}/log_likelihood"] - row[f"{split}/kl"]
                assert row[f"{split}/elbo"] == pytest.approx(difference, rel=1e-5)
    assert evaluations[-1]["test/elbo"] > evaluations[0]["test/elbo"]


def test_the_environment(run):
    found = json.loads((run / "environment.json").read_text())
    assert found["packages"]["tensorflow"] == tf.__version__
    assert found["packages"]["keras"] == keras.__version__
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert any("CPU" in device for device in found["devices"])
    assert found["components"]["encoder"] == f"vaeflow {found['vaeflow']}"


def test_the_config_reloads_to_the_same(run, loaded, digits):
    again = resolve(compose(run / "config.toml"), Registry.load()).config
    assert again == loaded.config
    assert again == resolve(compose("mnist-2d", on(digits, small_runs.PLOTS)), Registry.load()).config
    assert again.encoder.options == {"hidden": [8], "activation": "tanh", "normalization": "none"}


def test_a_directory_of_its_own_for_every_run(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["train", "mnist-2d", *on(digits, "steps=1", "name=mine")]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mine", "mine-2"]


def test_a_dry_run_writes_nothing(tmp_path, digits, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "mnist-2d", *on(digits), "--dry-run"]) == 0
    out, error = capfd.readouterr()
    assert not error
    assert not list(tmp_path.iterdir())
    assert 'name = "mnist-2d"' in out
    assert "examples      train 256, test 64; each of shape (28, 28, 1)" in out
    assert "parameters    encoder 6,280, posterior 36, decoder 7,080, all 13,396" in out
    assert "steps         16 (8 per epoch)" in out


SUBCLASSED = """
    import keras
    from vaeflow import Component, hookimpl
    class Encoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)
        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 784)))
    def encoder(x_shape: tuple[int, ...]) -> keras.Model:
        return Encoder()
    @hookimpl
    def vaeflow_components():
        yield Component("encoder", "subclassed", encoder)
"""


def test_a_dry_run_of_a_network_that_is_no_graph_of_layers(tmp_path, digits, capfd):
    plugin = tmp_path / "subclassed.py"
    plugin.write_text(dedent(SUBCLASSED))
    data = ["dataset=arrays", f"dataset.path={digits}", "encoder=subclassed", "decoder=mlp"]
    assert main(["train", "mnist-2d", *data, "--plugin", str(plugin), "--dry-run"]) == 0
    assert "encoder 3,140, posterior 20, " in capfd.readouterr().out


# The same run again


def test_equal_seeds_give_equal_runs_and_other_seeds_others(tmp_path, run, digits):
    again = train(tmp_path / "again", digits)
    assert summary(again) == summary(run)
    assert rows(again) == rows(run)
    other = summary(train(tmp_path / "other", digits, "seed=1"))
    assert other["weights_sha256"] != summary(run)["weights_sha256"]


@pytest.mark.parametrize("default", [("floatx", "float64"), ("image_data_format", "channels_first")])
def test_keras_defaults_change_no_bits(tmp_path, run, digits, default, capfd):
    """A `keras.json` in a home directory and a notebook can set them; this process stands for both."""
    name, value = default
    usual = getattr(keras.config, name)()
    getattr(keras.config, f"set_{name}")(value)
    again = train(tmp_path / "again", digits)
    assert f"warning: Keras's {name} is {value!r} here" in capfd.readouterr().err
    assert getattr(keras.config, name)() == usual
    assert summary(again)["state_sha256"] == summary(run)["state_sha256"]


@pytest.mark.slow
def test_microbatches_fix_the_bits_on_any_number_of_cores(tmp_path, digits):
    cores = sorted(os.sched_getaffinity(0))
    processes = []
    for number, mine in enumerate([cores, cores[:1]]):
        command = [*python(), "-c", f"import os; os.sched_setaffinity(0, {mine}); {RUN}"]
        settings = on(digits, "microbatches=4", "batch_size=30")
        arguments = ["train", "mnist-2d", "--run-dir", tmp_path / str(number), *settings]
        processes.append(subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True))
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    one, other = (summary(tmp_path / name) for name in "01")
    assert one == other
    assert json.loads((tmp_path / "0/environment.json").read_text())["intra_op_threads"] == 1


def test_parts_of_a_batch_are_equal_to_rounding(tmp_path, digits):
    settings = ("encoder.hidden=[16]", "optimizer=sgd", "learning_rate=1e-3", "steps=5")
    whole = looped(tmp_path / "1", digits, *settings)
    parts = looped(tmp_path / "4", digits, *settings, "accumulate=4")
    exact = looped(tmp_path / "e", digits, *settings, "microbatches=4", f"threads={len(os.sched_getaffinity(0))}")
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=0, atol=1e-6)
    np.testing.assert_allclose(weights(exact), weights(whole), rtol=0, atol=1e-6)
    assert np.abs(weights(whole)).max() > 0.1


def test_mapped_data_give_the_bits_of_resident_ones(tmp_path, digits, monkeypatch):
    resident = looped(tmp_path / "resident", digits, "binarization=dynamic")
    monkeypatch.setattr(source, "RESIDENT_BYTES", 1000)
    mapped = looped(tmp_path / "mapped", digits, "binarization=dynamic")
    assert isinstance(mapped.experiment.batches["train"].source, source.ReadingSource)
    assert isinstance(mapped.experiment.dataset.train.x.base, np.memmap)
    assert mapped.experiment.state.sha256() == resident.experiment.state.sha256()
    assert mapped.position.metrics == resident.position.metrics


class Writer(Callback):
    """Writes to a file after some steps, or replaces it by another one of that name."""

    def __init__(self, path, *, replace):
        self.path, self.replace = path, replace

    def on_steps(self, run, step):
        if step == 10:
            content = self.path.read_bytes()
            if self.replace:
                self.path.unlink()
            self.path.write_bytes(content[:-5000] + bytes(5000))


def test_data_that_are_overwritten_are_not_saved(tmp_path, mnist_content, monkeypatch):
    data = write_digits(tmp_path / "digits.npz", mnist_content)
    monkeypatch.setattr(source, "RESIDENT_BYTES", 1000)
    line = f"{data} was written to while the run read it.*vaeflow resume {tmp_path / 'run'}"
    with pytest.raises(DataError, match=line):
        looped(tmp_path / "run", data, recorder=Writer(data, replace=False))
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == ["step-000000000", "step-000000008"]


def test_data_that_are_replaced_stay_mapped(tmp_path, mnist_content, monkeypatch):
    data = write_digits(tmp_path / "digits.npz", mnist_content)
    undisturbed = looped(tmp_path / "undisturbed", data)
    monkeypatch.setattr(source, "RESIDENT_BYTES", 1000)
    replaced = looped(tmp_path / "replaced", data, recorder=Writer(data, replace=True))
    assert replaced.experiment.state.sha256() == undisturbed.experiment.state.sha256()


# Settings


def test_steps_instead_of_epochs(tmp_path, digits):
    run = train(tmp_path / "run", digits, "steps=11")
    found = summary(run)
    assert (found["steps"], found["epochs"]) == (11, 11 / 8)
    assert [row["step"] for row in rows(run) if "test/elbo" in row] == [8, 11]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "step-000000000",
        "step-000000008",
        "step-000000011",
    ]


def test_a_short_last_batch_and_rare_evaluations(tmp_path, digits):
    run = train(
        tmp_path / "run", digits, "batch_size=100", "epochs=5", "evaluate.every_epochs=2", "evaluate.batch_size=7"
    )
    found = json.loads((run / "summary.json").read_text())
    assert (found["steps"], found["traces"]) == (15, 1)
    assert [row["epoch"] for row in rows(run) if "test/elbo" in row] == [2.0, 4.0, 5.0]
    assert len(list((run / "checkpoints").iterdir())) == 3


def test_the_batch_of_an_evaluation_changes_no_figure(loaded, tmp_path, digits):
    other = looped(tmp_path, digits, "evaluate.batch_size=7")
    assert other.position.metrics["test/elbo"] == pytest.approx(loaded.experiment.evaluator("test")().elbo, rel=1e-6)


def test_a_batch_larger_than_the_data(tmp_path, digits):
    loop = looped(tmp_path, digits, "batch_size=300", "epochs=3")
    assert loop.view.steps_per_epoch == 1
    assert all(math.isfinite(value) for value in loop.position.metrics.values())


def test_a_validation_split(tmp_path, digits):
    run = train(tmp_path / "run", digits, "dataset.validation=56")
    found = summary(run)
    assert found["steps"] == 2 * math.ceil(200 / 32)
    assert {f"validation/{name}" for name in EVALUATION} < found["metrics"].keys()
    assert main(["evaluate", str(run), "--split", "validation"]) == 0
    evaluation = json.loads((run / "evaluation-validation.json").read_text())
    assert evaluation["examples"] == 56
    assert evaluation["metrics"] == {f"validation/{n}": found["metrics"][f"validation/{n}"] for n in EVALUATION}


def test_training_examples_alone_without_labels(tmp_path, mnist_content):
    data = write_digits(tmp_path / "digits.npz", mnist_content, test=0, labels=False)
    run = train(tmp_path / "run", data, "log.tensorboard=true")
    assert summary(run)["metrics"].keys() == {f"train/{name}" for name in TRAINING}
    assert main(["evaluate", str(run), "--split", "train"]) == 0
    evaluation = json.loads((run / "evaluation-train.json").read_text())
    assert evaluation["examples"] == 256
    assert (evaluation["dataset"], evaluation["binarization"]) == ("arrays", "threshold")


@pytest.mark.parametrize(
    "settings",
    [
        ("likelihood=gaussian", "binarization=none", "latent_size=5", "clip_norm=10.0"),
        ("likelihood=gaussian", "likelihood.variance=shared", "binarization=none", "prior=diagonal-gaussian"),
        ("likelihood=gaussian", "likelihood.variance=decoded", "binarization=none", *LINEAR),
        ("likelihood=continuous-bernoulli", "binarization=none", "objective=beta-vae", "objective.beta=4.0"),
        ("likelihood=laplace", "likelihood.variance=shared", "binarization=none", *CAPACITY),
        ("likelihood=poisson", "likelihood.counts_per_unit=255", "binarization=none", "prior=mixture-of-gaussians"),
        ("likelihood=categorical", "likelihood.levels=16", "binarization=none", "precision=mixed_bfloat16"),
        ("likelihood=discretized-logistic-mixture", "likelihood.mixtures=3", "binarization=none"),
        ("binarization=dynamic", "precision=mixed_float16"),
        ("binarization=fixed",),
    ],
    ids=" ".join,
)
def test_it_learns_with(settings, tmp_path, digits):
    seen = Recorder()
    loop = looped(tmp_path, digits, "epochs=6", "optimizer=adam", "learning_rate=1e-2", *settings, recorder=seen)
    assert [row["train/skipped_steps"] for row in seen.training] == [0] * len(seen.training)
    assert seen.training[-1]["train/loss"] < seen.training[0]["train/loss"]
    assert seen.evaluations[-1]["test/log_likelihood"] > seen.evaluations[0]["test/log_likelihood"]
    assert ("train/loss_scale" in loop.position.metrics) == ("precision=mixed_float16" in settings)
    assert {v.dtype for v in loop.experiment.model.trainable_variables} == {"float32"}


@pytest.mark.parametrize("name", few(Registry.load().names("optimizer"), *OPTIMIZERS))
def test_every_optimizer(name, tmp_path, digits):
    loop = looped(tmp_path, digits, "steps=2", f"optimizer={name}")
    state, folder = loop.experiment.state, CheckpointFolder(tmp_path, keep=3, say=print)
    saved, progress = folder.latest()
    assert progress.step == 2
    variables = loop.experiment.trainer.step.optimizer.variables
    assert len([key for key in saved if key.startswith("optimizer/")]) == len(variables)
    before = state.sha256()
    assert loop.experiment.trainer.step.optimizer.iterations == 2
    assert np.isfinite(weights(loop)).all()
    for variable in (*variables, *loop.experiment.model.variables):
        variable.assign(keras.ops.zeros_like(variable))
    assert state.sha256() != before
    state.assign(saved)
    assert state.sha256() == before


def test_xla_agrees(tmp_path, digits):
    settings = ("steps=8", "optimizer=sgd", "learning_rate=1e-3")
    plain = looped(tmp_path / "plain", digits, *settings)
    compiled = looped(tmp_path / "xla", digits, *settings, "xla=true")
    np.testing.assert_allclose(weights(compiled), weights(plain), rtol=0, atol=1e-4)
    assert compiled.position.metrics["test/elbo"] == pytest.approx(plain.position.metrics["test/elbo"], rel=1e-4)


def test_evaluation_uses_the_moving_average(tmp_path, digits):
    settings = ("learning_rate=1e-2", "epochs=1")
    plain = looped(tmp_path / "plain", digits, *settings)
    averaged = looped(tmp_path / "averaged", digits, *settings, "ema=0.9")
    np.testing.assert_array_equal(weights(averaged), weights(plain))
    assert averaged.position.metrics["train/elbo"] == plain.position.metrics["train/elbo"]
    assert averaged.position.metrics["test/elbo"] != plain.position.metrics["test/elbo"]
    model, average = plain.experiment.model, averaged.experiment.average
    for variable, value in zip(model.trainable_variables, average.variables, strict=True):
        variable.assign(value)
    assert plain.experiment.evaluator("test")().elbo == pytest.approx(averaged.position.metrics["test/elbo"], rel=1e-6)
    x = plain.experiment.trained.prepare(plain.experiment.dataset.test.x)
    np.testing.assert_allclose(averaged.experiment.trained.encode(x), plain.experiment.trained.encode(x), atol=1e-6)


# From Python


def test_train_from_python(tmp_path, run, digits):
    made = vf.train("mnist-2d", overrides=on(digits), run_dir=tmp_path / "run")
    assert summary(made.directory) == summary(run)
    again = vf.train(made.config, run_dir=str(tmp_path / "again"))
    assert summary(again.directory) == summary(run)
    assert again.experiment.state.sha256() == summary(run)["state_sha256"]


def test_a_loaded_run_has_the_final_state(loaded, run):
    assert loaded.experiment.state.sha256() == summary(run)["state_sha256"]
    assert loaded.experiment.state.weights_sha256() == summary(run)["weights_sha256"]
    assert loaded.experiment.evaluator("test")().scalars("test").items() <= summary(run)["metrics"].items()


def test_shapes_and_ranges(loaded):
    x = loaded.prepare(loaded.dataset.test.x)
    assert (x.shape, x.dtype) == ((64, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(x, loaded.dataset.test.x > 127)
    z = loaded.encode(x)
    assert z.shape == (64, 2)
    for images in (loaded.decode(z), loaded.reconstruct(x)):
        assert images.shape == x.shape
        assert 0 < images.min() < images.max() < 1
    np.testing.assert_array_equal(loaded.decode(z), loaded.reconstruct(x))
    np.testing.assert_allclose(loaded.encode(x[:3]), z[:3], atol=1e-6)
    assert loaded.sample(5).shape == (5, 28, 28, 1)
    np.testing.assert_array_equal(loaded.sample(5, seed=1), loaded.sample(5, seed=1))
    assert not np.array_equal(loaded.sample(5, seed=1), loaded.sample(5, seed=2))
    assert set(np.unique(loaded.sample(5, expected=False))) == {0.0, 1.0}
    assert loaded.elbo(x).shape == (64,)


def test_a_wrong_shape_is_taught(loaded):
    with pytest.raises(vf.errors.UsageError, match=r"x has shape \(3, 28, 28\), but this model takes \[B, 28, 28, 1\]"):
        loaded.encode(np.zeros((3, 28, 28)))
    with pytest.raises(vf.errors.UsageError, match=r"z has shape \(3, 4\), but this model takes \[B, 2\]"):
        loaded.decode(np.zeros((3, 4)))


def test_the_elbo_of_each_example_averages_to_that_of_the_split(loaded):
    x = loaded.prepare(loaded.dataset.test.x)
    draws = np.stack([loaded.elbo(x, seed=seed).mean() for seed in range(30)])
    reported = loaded.experiment.evaluator("test")().elbo
    assert abs(reported - draws.mean()) < 4 * draws.std(ddof=1) * math.sqrt(1 + 1 / 30)
    many = loaded.elbo(x, samples=30).mean()
    assert abs(many - draws.mean()) < 4 * draws.std(ddof=1) * math.sqrt(2 / 30)


def test_prepare_gives_what_was_evaluated(tmp_path, digits):
    loop = looped(tmp_path, digits, "steps=1", "binarization=fixed")
    for split in ("train", "test"):
        pixels = loop.experiment.dataset.splits()[split].x
        x = loop.experiment.trained.prepare(pixels, split=split)
        batch = loop.experiment.batches[split].in_order(tf.constant(0, tf.int64), len(pixels))
        np.testing.assert_array_equal(x, batch.x)
        assert set(np.unique(x)) == {0.0, 1.0}
        gray = (pixels > 50) & (pixels < 200)
        assert 0.3 < x[gray].mean() < 0.7
        np.testing.assert_array_equal(loop.experiment.trained.prepare(pixels[:9], split=split), x[:9])


def test_samples_on_disk(run, tmp_path):
    for out in ("a.npy", "b.png"):
        done = main(["sample", str(run), "--count", "9", "--seed", "3", "--out", str(tmp_path / out)])
        assert done == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), vf.load(run).sample(9, seed=3))
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_plots_again(run, tmp_path):
    before = (run / "plots/manifold.png").stat().st_mtime_ns
    assert main(["plot", str(run)]) == 0
    assert (run / "plots/manifold.png").stat().st_mtime_ns > before
    assert {path.stem for path in (run / "plots").iterdir()} == PLOTS


def test_a_run_after_tensorflow_started_refuses_threads(tmp_path, digits, capfd):
    tf.zeros(1) + 1
    settings = on(digits, "threads=7")
    assert main(["train", "mnist-2d", "--run-dir", str(tmp_path / "run"), *settings]) == 2
    assert "threads = 7 can't be set any more" in capfd.readouterr().err
