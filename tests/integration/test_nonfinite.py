"""Losses and gradients that are not finite: skipped, counted, diagnosed; the run goes on, back, or ends."""

from __future__ import annotations

import re
from textwrap import dedent

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.builders import Training, column
from helpers.jobs import HOROVOD, job, usual
from helpers.small_runs import on, rows, summary
from helpers.tiers import repeated

from vaeflow.cli import main
from vaeflow.data.order import Order
from vaeflow.engine.loss_scale import LARGEST, LossScale
from vaeflow.engine.step import Trainer
from vaeflow.training.checkpoints import files as checkpoint_files
from vaeflow.training.nonfinite_diagnosis import diagnose

NUMBERS = 4  # the exit code
MARKED = 28  # the example that does the harm
PLUGIN = """
    import os, signal
    from typing import Literal
    from vaeflow import Component, hookimpl
    from vaeflow.callbacks import Callback

    def poisoned(x_shape, *, how: Literal["value", "gradient", "always"] = "value"):
        import keras, tensorflow as tf
        from vaeflow.model.distributions import Bernoulli

        class Poisoned(Bernoulli):
            weight = None
            def log_prob(self, x):
                marked = tf.reduce_all(tf.reshape(x, (tf.shape(x)[0], -1)) == 1.0, axis=1) | (how == "always")
                if how == "gradient":  # of a square root, at 0
                    return super().log_prob(x) + tf.sqrt(tf.where(marked, tf.convert_to_tensor(self.weight), 1.0))
                return super().log_prob(x) * tf.where(marked, float("nan"), 1.0)

        class Likelihood(keras.layers.Layer):
            def __init__(self):
                super().__init__(name="likelihood", dtype="float32")
                self.parameters_shape = x_shape
                self.harm = self.add_weight(shape=(), initializer="zeros", name="harm")
            def distribution(self, logits):
                made = Poisoned(logits, rank=len(x_shape))
                object.__setattr__(made, "weight", self.harm)
                return made

        return Likelihood()

    class Ask(Callback):
        def __init__(self, step):
            self._step = step
        def on_steps(self, run, step):
            if step == self._step:
                os.kill(os.getpid(), signal.SIGUSR1)

    def ask(*, step: int):
        return Ask(step)

    @hookimpl
    def vaeflow_components():
        yield Component("likelihood", "poisoned", poisoned)
        yield Component("callback", "ask", ask)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "poison.py"
    path.write_text(dedent(PLUGIN))
    return str(path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    """256 digits, 8 steps an epoch; one example has every pixel set, as no digit has."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    x = np.array(mnist_content.x_train[:256])
    x[MARKED] = 255
    np.savez(path, x_train=x, x_test=mnist_content.x_test[:64])
    return path


@pytest.fixture(scope="module")
def bad():
    """The steps of two epochs that see the example, counted from 1, and its row in the first one's batch."""
    order = Order(seed=0, examples=256, batch_size=32)
    seen = [order.rows(tf.constant(step, tf.int64), 0, 32)[0].numpy().tolist() for step in range(16)]
    steps = [step + 1 for step, index in enumerate(seen) if MARKED in index]
    assert len(steps) == 2
    assert 3 < steps[0] < 8 < steps[1] < 16
    return steps, seen[steps[0] - 1].index(MARKED)


@pytest.fixture
def run(tmp_path, digits, plugin):
    """A function that trains with the poisoned likelihood and returns the run's directory."""

    def trained(name, *settings, code=0):
        settings = on(digits, "likelihood=poisoned", "optimizer=adam", *settings)
        assert main(["train", "mnist-2d", "--run-dir", str(tmp_path / name), "--plugin", plugin, *settings]) == code
        return tmp_path / name

    return trained


def saved(run, step):
    return checkpoint_files.read_arrays(run / "checkpoints" / f"step-{step:09d}")


def newest(run):
    return max(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


# What a run does


def test_skip_counts_and_goes_on(run, bad):
    steps, _ = bad
    made = run("run", "log.every_steps=1")
    counts = {row["step"]: row["train/skipped_steps"] for row in rows(made) if "train/skipped_steps" in row}
    assert [step for step, count in counts.items() if count] == steps
    assert summary(made)["steps"] == 16


def test_stop_ends_at_the_step_and_says_why(run, bad, plugin, capfd):
    steps, row = bad
    made = run("run", "nonfinite.action=stop", "log.every_steps=8", code=NUMBERS)
    said = capfd.readouterr()
    assert newest(made) == steps[0]
    assert (
        f"step {steps[0]}: the log-likelihood is not finite for 1 of 32 examples: "
        f"example {MARKED} of the training split (row {row} of the batch)\n"
    ) in said.out
    assert re.search(r"\n  10 of 11 variables' gradients are not finite: encoder/dense\w*/kernel, ", said.out)
    assert "\n  all weights are finite; the largest in magnitude is " in said.out
    assert said.err == (
        f"vaeflow: the loss or its gradient was not finite at step {steps[0]}; it was skipped, and the state is saved. "
        f"`vaeflow resume {made}` continues with the same config. To change the config, start a new run: try a smaller "
        "learning_rate or clip_norm\n"
    )
    assert main(["resume", str(made), "--plugin", plugin]) == NUMBERS
    assert newest(made) == steps[1]
    assert main(["resume", str(made), "--plugin", plugin]) == 0
    skipped = run("skipped", "log.every_steps=8")
    assert summary(made)["state_sha256"] == summary(skipped)["state_sha256"]
    assert rows(made) == rows(skipped)


def test_rollback_puts_the_whole_state_back(run, bad, capfd):
    steps, _ = bad
    made = run("run", "nonfinite.action=rollback", "checkpoint.every_steps=2", "ema=0.9", f"steps={steps[0]}")
    back = (steps[0] - 1) // 2 * 2
    assert_same_state(saved(made, steps[0]), saved(made, back))
    said = f"step {steps[0]}: the loss was not finite; step {steps[0] + 1} continues from the checkpoint of step {back}"
    assert capfd.readouterr().out.splitlines().count(said) == 1


def test_rollback_is_a_function_of_the_config(run, bad, plugin):
    steps, _ = bad
    settings = ("nonfinite.action=rollback", "checkpoint.every_steps=3", "checkpoint.keep=9")
    five, seven = run("five", *settings), run("seven", *settings, "log.every_steps=7")
    assert summary(five)["state_sha256"] == summary(seven)["state_sha256"]
    assert summary(five)["state_sha256"] != summary(run("skipped"))["state_sha256"]
    # A signal leaves a checkpoint of its own, which is not gone back to.
    asked = steps[0] - (1 if steps[0] % 3 != 1 else 2)
    stopped = run("stopped", *settings, "log.every_steps=1", f"callbacks=[{{name='ask', step={asked}}}]", code=75)
    assert newest(stopped) == asked
    assert main(["resume", str(stopped), "--plugin", plugin]) == 0
    assert summary(stopped)["state_sha256"] == summary(five)["state_sha256"]


def test_rollback_takes_no_checkpoint_that_is_not_finite(run, bad, plugin, capfd):
    """An update can make weights infinite just before a checkpoint: the one before it is gone back to."""
    steps, _ = bad
    made = run("run", "nonfinite.action=rollback", "checkpoint.every_steps=1", f"steps={steps[0] - 1}")
    config, newest_files = made / "config.toml", made / "checkpoints" / f"step-{steps[0] - 1:09d}"
    arrays = saved(made, steps[0] - 1)
    name = next(name for name in arrays if "kernel" in name)
    arrays[name].flat[0] = np.inf
    texts = {path.name: path.read_text() for path in newest_files.iterdir() if path.suffix in (".json", ".toml")}
    texts.pop(checkpoint_files.MANIFEST)
    for path in newest_files.iterdir():
        path.unlink()
    checkpoint_files.write(newest_files, arrays, texts)
    config.write_text(config.read_text().replace(f"steps = {steps[0] - 1}\n", f"steps = {steps[0]}\n", 1))
    assert main(["resume", str(made), "--plugin", plugin]) == 0
    assert f"continues from the checkpoint of step {steps[0] - 2}" in capfd.readouterr().out
    assert_same_state(saved(made, steps[0]), saved(made, steps[0] - 2))


@pytest.mark.parametrize("action", ["skip", "rollback"])
def test_stop_after_so_many_in_a_row(run, plugin, action, capfd):
    always = ("likelihood.how=always", "nonfinite.stop_after=3", "checkpoint.every_steps=2")
    made = run("run", f"nonfinite.action={action}", *always, code=NUMBERS)
    said = capfd.readouterr()
    assert newest(made) == 3
    assert said.err.startswith(
        "vaeflow: the loss or its gradient was not finite for 3 steps in a row, up to step 3; those steps were skipped"
    )
    assert "step 3: the log-likelihood is not finite for 32 of 32 examples: examples " in said.out
    assert " and 29 more\n" in said.out
    assert said.out.count("checkpoint") == (2 if action == "rollback" else 0)
    assert main(["resume", str(made), "--plugin", plugin]) == NUMBERS
    assert newest(made) == 6


def test_a_row_of_skipped_steps_outlives_a_signal(run, plugin):
    always = (
        "likelihood.how=always",
        "nonfinite.stop_after=5",
        "log.every_steps=1",
        "callbacks=[{name='ask', step=2}]",
    )
    made = run("run", *always, code=75)
    assert newest(made) == 2
    assert main(["resume", str(made), "--plugin", plugin]) == NUMBERS
    assert newest(made) == 5


def test_a_gradient_alone_is_not_finite(run, bad, capfd):
    steps, row = bad
    run("run", "nonfinite.action=stop", "likelihood.how=gradient", code=NUMBERS)
    said = capfd.readouterr().out
    assert (
        f"step {steps[0]}: the loss is finite, but its gradient is not, for example {MARKED} of the training split "
        f"(row {row} of the batch)\n"
    ) in said
    assert "\n  1 of 11 variables' gradient is not finite: likelihood/harm\n" in said


def test_a_diagnosis_that_fails_hides_nothing(run, bad, monkeypatch, capfd):
    def fails(*_):
        raise ValueError("no memory\nleft")

    monkeypatch.setattr("vaeflow.training.nonfinite.diagnose", fails)
    run("run", "nonfinite.action=stop", code=NUMBERS)
    said = capfd.readouterr()
    assert f"step {bad[0][0]}: no diagnosis: ValueError: no memory left\n" in said.out
    assert "the state is saved" in said.err


@pytest.fixture(scope="module")
def together(digits, plugin):
    """A function that trains with two microbatches, on two replicas unless single: the harm is in one microbatch."""

    def trained(kind, folder, action):
        settings = ("microbatches=2", "optimizer=adam", "checkpoint.every_steps=3", f"nonfinite.action={action}")
        arguments = ("--run-dir", folder, "--plugin", plugin, *on(digits, "likelihood=poisoned", *settings))
        return job(kind, 1 if kind == "single" else 2, "train", "mnist-2d", *arguments)

    return trained


@pytest.fixture(scope="module")
def alone(tmp_path_factory, together):
    """A function that trains on one device in a process of its own, once an action."""
    done = {}

    def trained(action):
        if action not in done:
            done[action] = tmp_path_factory.mktemp("alone") / "run"
            assert together("single", done[action], action).codes == [0]
        return done[action]

    return trained


KINDS = [
    pytest.param("mirrored", id="mirrored x2"),
    pytest.param("multiworker", id="multiworker x2"),
    pytest.param("horovod", id="horovod x2", marks=[pytest.mark.horovod, HOROVOD]),
]


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("kind", "action"),
    [
        pytest.param("horovod", "rollback", marks=[pytest.mark.horovod, HOROVOD]),
        repeated("multiworker", "skip"),
        repeated("horovod", "skip"),
        repeated("multiworker", "rollback"),
        repeated("mirrored", "skip"),
        repeated("mirrored", "rollback"),
    ],
)
def test_one_replica_of_two(tmp_path, together, alone, kind, action):
    finished = together(kind, tmp_path / "run", action)
    assert set(finished.codes) == {0}, finished.outputs
    assert summary(tmp_path / "run")["state_sha256"] == summary(alone(action))["state_sha256"]
    assert rows(tmp_path / "run") == rows(alone(action))
    said = "".join(finished.outputs).count("the loss was not finite")
    assert said == (2 if action == "rollback" else 0)  # rank 0's lines


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("kind", usual(KINDS, "mirrored x2"))
def test_two_replicas_stop_together(tmp_path, together, bad, kind):
    steps, row = bad
    finished = together(kind, tmp_path / "run", "stop")
    assert set(finished.codes) == {1 if kind == "horovod" else NUMBERS}, finished.outputs  # horovodrun's is always 1
    assert newest(tmp_path / "run") == steps[0]
    said = "".join(finished.outputs)
    place = f"1 of 32 examples: example {MARKED} of the training split (row {row} of the batch)\n"
    assert said.count(f"step {steps[0]}: the log-likelihood is not finite for {place}") == 1
    assert said.count("was not finite at step") == 1
    assert said.count("all weights are finite") == 1


# The call that ends early


def poisoned_training(**options):
    """Return training whose second step has a NaN in one pixel."""
    training = Training(**options)
    index = training.batches.order.rows(tf.constant(1, tf.int64), 0, 10)[0].numpy()
    training.pixels[index[4], 2] = np.nan
    return Training(training.pixels, **options), int(index[4])


def test_a_call_ends_at_the_first_bad_step():
    training, _ = poisoned_training(optimizer=keras.optimizers.SGD(0.01))
    trainer = Trainer(training.step(), until_bad=True)
    np.testing.assert_array_equal(column(trainer.execute(0, 5).numpy(), "skipped"), [0.0, 1.0])
    np.testing.assert_array_equal(column(trainer.execute(2, 2).numpy(), "skipped"), [0.0, 0.0])
    assert trainer.traces == 1


def test_execution_continues_while_the_loss_scale_adapts():
    half = keras.layers.Dense(5, dtype="mixed_float16")
    x = keras.Input((6,))
    training = Training(
        pixels=builders.binary_pixels(20, 6),
        model=builders.tiny_vae(encoder=keras.Model(x, half(x))),
        optimizer=keras.optimizers.SGD(0.01),
        loss_scale=LossScale(LARGEST, dynamic=True),
    )
    taken = Trainer(training.step(), until_bad=True).execute(0, 6).numpy()
    assert len(taken) == 6
    assert column(taken, "skipped")[0] == 1.0
    assert diagnose(training.step(), 5)[0].startswith("step 6: ")
    x = training.pixels
    x[:] = np.nan
    broken = Training(x, training.model, optimizer=keras.optimizers.SGD(0.01), loss_scale=training.loss_scale)
    assert len(Trainer(broken.step(), until_bad=True).execute(0, 6)) == 1


# The diagnosis


def test_pixels():
    training, example = poisoned_training(microbatches=3)
    lines = diagnose(training.step(), 1)
    place = f"1 of 10 examples: example {example} of the training split (row 4 of the batch)"
    assert lines[0] == f"step 2: the pixels are not finite for {place}"
    assert lines[1].startswith("  10 of 10 variables' gradients are not finite: encoder/dense")
    assert lines[1].endswith(" and 7 more")
    assert len(lines) == 3


def test_weights_that_are_broken_already():
    training = Training()
    kernel = training.model.decoder.trainable_variables[2]
    value = kernel.numpy()
    value[1, 1] = np.inf
    kernel.assign(value)
    lines = diagnose(training.step(), 0)
    assert lines[0].startswith("step 1: the log-likelihood is not finite for 10 of 10 examples: examples ")
    assert re.fullmatch(
        r"  before the step, 1 of 10 variables' weight is already not finite: decoder/dense\w*/kernel", lines[-1]
    )


def test_both_terms():
    training = Training()
    training.model.posterior.mu.bias.assign([np.nan, 0.0])
    lines = diagnose(training.step(), 0)
    assert lines[0].startswith("step 1: the log-likelihood and the KL divergence are not finite for 10 of 10 examples")


def test_the_divergence():
    training = Training()
    training.model.posterior.log_var.bias.assign([200.0, 0.0])
    lines = diagnose(training.step(), 0)
    assert lines[0].startswith("step 1: the KL divergence is not finite for 10 of 10 examples: examples ")
    assert lines[-1] == "  all weights are finite; the largest in magnitude is 200, in posterior/log_var/bias"


class Broken:
    """An objective whose loss is NaN though the terms are not."""

    samples = 1

    def loss(self, terms, schedule, step):
        return tf.math.log(-1.0 - terms.kl)


def test_the_objective():
    lines = diagnose(Training(objective=Broken()).step(), 0)
    assert lines[0].startswith("step 1: the loss is not finite for 10 of 10 examples: examples ")
    assert lines[0].endswith("; the terms of the ELBO are finite")


class Steep:
    """An objective whose gradient overflows once it is squared."""

    samples = 1

    def loss(self, terms, schedule, step):
        return 1e25 * terms.kl


def test_a_norm_that_overflows():
    training = Training(objective=Steep())
    assert column(training.step()(tf.constant(0, tf.int64)).numpy(), "skipped") == 1.0
    lines = diagnose(training.step(), 0)
    assert re.fullmatch(
        r"step 1: each example's gradient is finite, but their sum or its norm overflows: its largest element is "
        r"\d\.\d+e\+\d\d in (encoder|posterior)/\w+/\w+",
        lines[0],
    )


def test_nothing_is_wrong():
    lines = diagnose(Training().step(), 0)
    assert lines[0].startswith("step 1: computed again, all values are finite")
    assert len(lines) == 2


def test_a_diagnosis_changes_nothing():
    encoder = builders.networks.mlp_encoder((6,), hidden=(5,), normalization="batch")
    training = Training(model=builders.tiny_vae(encoder=encoder), microbatches=2)
    before = [v.numpy().copy() for v in training.model.variables]
    diagnose(training.step(), 0)
    for variable, value in zip(training.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
