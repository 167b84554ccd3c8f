"""What callbacks ask of a run: it stops, saves, learns at another rate, the same on every topology and after a kill."""

from __future__ import annotations

import json
import re
import shutil
import signal
from textwrap import dedent

import numpy as np
import pytest
import tensorflow as tf
from helpers.jobs import HOROVOD, job
from helpers.small_runs import on, rows, summary, train, tree, write_digits
from helpers.tiers import repeated

from vaeflow.cli import main
from vaeflow.data.order import Order

EPOCH = 5  # steps
SETTINGS = ("batch_size=10", "log.every_steps=1", "plots.draw=[]", "optimizer=sgd", "checkpoint.keep=99")
PLUGIN = """
    import os, signal
    from vaeflow import Component, hookimpl
    from vaeflow.callbacks import Callback

    class Asks(Callback):
        def __init__(self, moment, at, request, arguments):
            self.at, self.request, self.arguments = at, request, arguments
            setattr(self, moment, self.asked)
        def asked(self, run, *_):
            if run.step == self.at:
                getattr(run.control, self.request)(*self.arguments)

    def asks(*, moment: str, at: int, request: str, number: float | None = None, why: str | None = None):
        return Asks(moment, at, request, [value for value in (number, why) if value is not None])

    class Moments(Callback):
        def note(self, run, *what):
            with (run.directory / "moments").open("a") as file:
                print(run.step, *what, file=file)
        def on_log(self, run, record):
            self.note(run, "log")
        def on_evaluation(self, run, record):
            self.note(run, "evaluation", "final" * record.final)
        def on_epoch(self, run, epoch):
            self.note(run, "epoch", epoch)

    class Signals(Callback):
        def __init__(self, number, at):
            self.number, self.at = number, at
        def on_steps(self, run, step):
            if run.first_step == 0 and step >= self.at:
                os.kill(os.getpid(), self.number)

    def signals(*, number: int, at: int):
        return Signals(number, at)

    class Unkept(Callback):
        def state(self):
            return {"seen": {1, 2}}

    class Misspelt(Callback):
        def on_evaluaton(self, run, record):
            pass

    @hookimpl
    def vaeflow_components():
        yield Component("callback", "asks", asks)
        yield Component("callback", "moments", Moments)
        yield Component("callback", "signals", signals)
        yield Component("callback", "unkept", Unkept)
        yield Component("callback", "misspelt", Misspelt)
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    """Digits for 5 steps an epoch, the last one of one example."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=41, test=33)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "control.py"
    path.write_text(dedent(PLUGIN))
    return str(path)


def asks(moment, at, request, argument=""):
    """Return a callback of a config that asks something once."""
    given = f", why='{argument}'" if isinstance(argument, str) else f", number={float(argument)}"
    return f"{{name='asks', moment='{moment}', at={at}, request='{request}'{given if argument else ''}}}"


def called(*callbacks):
    return f"callbacks=[{', '.join(callbacks)}]"


@pytest.fixture(scope="module")
def four(tmp_path_factory, digits):
    """A run of four steps that nobody asked anything."""
    return train(tmp_path_factory.mktemp("four") / "run", digits, *SETTINGS, "steps=4")


# A run that a callback ended

WHY = "seen enough"


@pytest.fixture(scope="module")
def ended(tmp_path_factory, digits, plugin):
    """A run that is stopped in the middle of its second epoch, while another callback looks for the best checkpoint."""
    stops = called(asks("on_log", 8, "stop", WHY), "{name='best-checkpoint', metric='test/elbo'}", "'moments'")
    run = tmp_path_factory.mktemp("ended") / "run"
    return train(run, digits, *SETTINGS, "epochs=4", "kl_schedule=linear", stops, "--plugin", plugin)


def progress_of(run):
    """Return what the newest checkpoint knows of the run."""
    newest = max((run / "checkpoints").iterdir())
    return json.loads((newest / "progress.json").read_text())


def test_a_run_that_is_stopped_ends_as_at_its_last_step(ended):
    found, logged = summary(ended), rows(ended)
    assert (found["steps"], found["epochs"], found["stopped_early"]) == (8, 1.6, WHY)
    evaluations = [row for row in logged if "test/elbo" in row]
    assert [row["step"] for row in evaluations] == [5, 8]
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 8]
    assert {k: v for k, v in evaluations[-1].items() if k.startswith("test")}.items() <= found["metrics"].items()
    assert progress_of(ended)["step"] == 8
    assert progress_of(ended)["stopped"] == WHY
    assert (ended / "moments").read_text().splitlines()[-3:] == ["7 log", "8 log", "8 evaluation final"]


def test_what_is_asked_in_the_last_evaluation_is_heard(ended):
    evaluations = {row["step"]: row["test/elbo"] for row in rows(ended) if "test/elbo" in row}
    assert evaluations[8] > evaluations[5]
    assert progress_of(ended)["best"] == {"step": 8, "value": evaluations[8], "chosen": True}
    states = {kept["callback"]: kept["state"] for kept in progress_of(ended)["callbacks"]}
    assert states["best-checkpoint"] == {"best": evaluations[8], "waited": 0}


def test_it_is_finished(ended, plugin, digits, capfd):
    before = tree(ended)
    assert main(["resume", str(ended), "--plugin", plugin]) == 0
    first = f"{ended}: already finished at step 8 of 20 ({WHY}); nothing was changed\n"
    assert capfd.readouterr().out.startswith(first)
    stops = called(asks("on_log", 8, "stop", WHY), "{name='best-checkpoint', metric='test/elbo'}", "'moments'")
    again = ["train", "mnist-2d", "--run-dir", str(ended), "--resume", "auto", "--plugin", plugin]
    assert main([*again, *on(digits, *SETTINGS, "epochs=4", "kl_schedule=linear", stops)]) == 0
    assert tree(ended) == before


def test_killed_before_its_summary_it_ends_without_another_step(ended, plugin, tmp_path):
    run = shutil.copytree(ended, tmp_path / "run")
    (run / "summary.json").unlink()
    assert main(["resume", str(run), "--plugin", plugin]) == 0
    assert summary(run) == summary(ended)
    assert rows(run) == rows(ended)


def test_a_run_that_came_to_its_end_was_not_stopped(four):
    assert summary(four)["stopped_early"] is None


# The learning rate


def rates(run):
    """Return the learning rate of each training step."""
    return {row["step"]: row["train/learning_rate"] for row in rows(run) if "train/learning_rate" in row}


def test_the_learning_rate_changes_after_the_moment(tmp_path, digits, plugin):
    sets = called(
        asks("on_log", 4, "set_learning_rate", 2**-11),
        asks("on_evaluation", 5, "set_learning_rate", 2**-12),
        asks("on_epoch", 10, "set_learning_rate", 2**-13),
        asks("on_log", 8, "save"),
    )
    run = train(tmp_path / "run", digits, *SETTINGS, "steps=12", sets, "--plugin", plugin)
    first = float(np.float32(1e-3))
    assert rates(run) == dict(enumerate([*[first] * 4, 2**-11, *[2**-12] * 5, *[2**-13] * 2], 1))
    saved = [int(path.name.removeprefix("step-")) for path in sorted((run / "checkpoints").iterdir())]
    assert saved == [0, 5, 8, 10, 12]


def test_the_learning_rate_is_the_optimizers(tmp_path, digits, plugin, four):
    sets = called(asks("on_log", 4, "set_learning_rate", 1e-30))
    run = train(tmp_path / "run", digits, *SETTINGS, "steps=7", sets, "--plugin", plugin)
    assert summary(run)["weights_sha256"] == summary(four)["weights_sha256"]


def test_a_rollback_keeps_the_learning_rate_that_was_set(tmp_path, mnist_content, plugin):
    x = np.asarray(mnist_content.x_train[:41], np.float32) / 255
    of_the_third_step = Order(0, 41, 10).rows(tf.constant(2, tf.int64), 0, 10)[0].numpy()
    x[of_the_third_step[0]] = np.nan
    np.savez(tmp_path / "digits.npz", x_train=x)
    run = train(
        tmp_path / "run",
        tmp_path / "digits.npz",
        *SETTINGS,
        "steps=5",
        "dataset.check=false",
        "binarization=none",
        "likelihood=gaussian",
        "nonfinite.action=rollback",
        called(asks("on_log", 1, "set_learning_rate", 2**-11)),
        "--plugin",
        plugin,
    )
    assert [row["step"] for row in rows(run) if row.get("train/skipped_steps")] == [3]
    assert rates(run) == dict(enumerate([float(np.float32(1e-3)), *[2**-11] * 4], 1))


# The best checkpoint


def test_the_chosen_checkpoint_is_kept_and_evaluated(tmp_path, digits, plugin, four):
    chooses = called(asks("on_log", 4, "save_best", -1e9), asks("on_log", 2, "save"))
    run = train(tmp_path / "run", digits, *SETTINGS, "epochs=3", "checkpoint.keep=1", chooses, "--plugin", plugin)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-000000004", "step-000000015"]
    assert progress_of(run)["best"] == {"step": 4, "value": -1e9, "chosen": True}
    assert main(["evaluate", str(run), "--best", "--plugin", plugin]) == 0
    found = json.loads((run / "evaluation-test.json").read_text())
    assert found["checkpoint"] == "best"
    assert found["metrics"].items() <= summary(four)["metrics"].items()


# Moments


def test_moments(tmp_path, digits, plugin):
    settings = ("steps=11", "log.every_steps=4", "evaluate.every_epochs=2", called("'moments'"))
    run = train(tmp_path / "run", digits, *SETTINGS, *settings, "--plugin", plugin)
    assert (run / "moments").read_text().splitlines() == [
        *("4 log", "5 epoch 1", "8 log", "10 evaluation ", "10 epoch 2", "11 log", "11 evaluation final"),
    ]


SCHEDULE = ("learning_rate.name=cosine-decay", "learning_rate.initial_learning_rate=1e-3")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            [called(asks("on_steps", 1, "stop", WHY))],
            r"callback 'asks' of .*, on_steps: run\.control\.stop was called in on_steps; it is allowed in on_log, ",
        ),
        (
            [called(asks("on_log", 2, "set_learning_rate", 1.0)), *SCHEDULE],
            "learning_rate: a callback changes it, so it must be a number, not a schedule",
        ),
        (
            [called("{name='reduce-on-plateau', metric='test/kl'}"), *SCHEDULE],
            "callback 'reduce-on-plateau' needs a learning_rate that is a number, not a schedule",
        ),
        (
            [called("'early-stopping'")],
            r"no evaluation has the metric 'validation/elbo'; available: test/active_units,",
        ),
        ([called("'unkept'")], "callback 'unkept' of .*: its state can't be stored as JSON: Object of type set"),
        (
            [called("'misspelt'")],
            "callback 'misspelt' of .* has an unknown method on_evaluaton; did you mean",
        ),
    ],
)
def test_what_may_not_be_asked_is_one_line(tmp_path, digits, plugin, capfd, *, settings, expected):
    given = on(digits, *SETTINGS, "steps=3", *settings)
    assert main(["train", "mnist-2d", "--run-dir", str(tmp_path / "run"), "--plugin", plugin, *given]) == 2
    error = capfd.readouterr().err
    assert re.fullmatch(rf"vaeflow: {expected}.*\n", error), error


# All three built-in callbacks together

WATCHED = "test/kl"  # grows from nothing in all epochs: a plateau for those who want less
TOGETHER = (
    "{name='reduce-on-plateau', metric='test/kl', mode='min', patience=2}",
    "{name='early-stopping', metric='test/kl', mode='min', patience=5}",
    "{name='best-checkpoint', metric='test/elbo'}",
)
LONG = (*SETTINGS, "epochs=8", "log.every_steps=3", "checkpoint.every_steps=4", "optimizer=adam")


def long_run(digits, *more):
    return on(digits, *LONG, called(*TOGETHER, *more))


def by_oracle(run):
    """Return the steps after which the learning rate is halved, and the one after which the run stops."""
    best, waited, stale, halved = np.inf, 0, 0, []
    for row in rows(run):
        if WATCHED not in row:
            continue
        better = row[WATCHED] < best
        best = min(best, row[WATCHED])
        waited, stale = (0, 0) if better else (waited + 1, stale + 1)
        if waited == 2:
            halved, waited = [*halved, row["step"]], 0
        if stale == 5:
            return halved, row["step"]
    return halved, None


def assert_as_decided(run):
    """The run halved its learning rate and stopped where a plain oracle says by its figures."""
    halved, stopped = by_oracle(run)
    assert len(halved) == 2
    assert stopped is not None
    assert summary(run)["steps"] == stopped < 8 * EPOCH
    first = float(np.float32(1e-3))
    assert rates(run) == {step: first * 0.5 ** sum(step > at for at in halved) for step in rates(run)}
    evaluations = {row["test/elbo"]: row["step"] for row in rows(run) if "test/elbo" in row}
    assert progress_of(run)["best"]["step"] == evaluations[max(evaluations)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits):
    return train(tmp_path_factory.mktemp("undisturbed") / "run", digits, *LONG, called(*TOGETHER))


def test_the_oracle_decides_alike(undisturbed):
    assert_as_decided(undisturbed)


@pytest.mark.parametrize("after", [1, 7])
def test_stopped_by_a_signal_and_resumed(after, tmp_path, digits, plugin, undisturbed):
    """In the middle of the epoch after the first plateau has begun, or between it and the next."""
    at = by_oracle(undisturbed)[0][0] - EPOCH + after
    settings = long_run(digits, f"{{name='signals', number={int(signal.SIGTERM)}, at={at}}}")
    run = tmp_path / "run"
    assert main(["train", "mnist-2d", "--run-dir", str(run), *settings, "--plugin", plugin]) == 75
    assert progress_of(run)["step"] < summary(undisturbed)["steps"]
    assert main(["resume", str(run), "--plugin", plugin]) == 0
    assert summary(run) == summary(undisturbed)
    assert rows(run) == rows(undisturbed)


# The same on every topology


@pytest.fixture(scope="module")
def alone(tmp_path_factory, digits):
    run = tmp_path_factory.mktemp("alone") / "run"
    finished = job("single", 1, "train", "mnist-2d", "--run-dir", run, *long_run(digits), "microbatches=4")
    assert finished.codes == [0], finished.outputs
    assert_as_decided(run)
    return run


def assert_same(run, alone):
    for key in ("state_sha256", "steps", "stopped_early", "metrics"):
        assert summary(run)[key] == summary(alone)[key]
    assert rows(run) == rows(alone)
    assert rates(run) == rates(alone)
    best, of_alone = (progress_of(made)["best"] for made in (run, alone))
    assert best == of_alone


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("kind", "count"),
    [
        repeated("multiworker", 2, id="multiworker x2"),
        pytest.param("horovod", 2, id="horovod x2", marks=[pytest.mark.horovod, HOROVOD]),
    ],
)
def test_all_ranks_do_what_the_chiefs_callbacks_ask(tmp_path, digits, alone, *, kind, count):
    run = tmp_path / "run"
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", run, *long_run(digits), "microbatches=4")
    assert set(finished.codes) == {0}, finished.outputs
    assert_same(run, alone)


@pytest.mark.distributed
def test_killed_between_reductions_and_resumed_on_two_replicas(tmp_path, digits, plugin, alone):
    run, at = tmp_path / "run", by_oracle(alone)[0][0] + 3
    killed = long_run(digits, f"{{name='signals', number={int(signal.SIGKILL)}, at={at}}}")
    arguments = ["train", "mnist-2d", "--run-dir", run, *killed, "microbatches=4", "--plugin", plugin]
    assert job("single", 1, *arguments).codes == [-signal.SIGKILL]
    assert 0 < progress_of(run)["step"] < summary(alone)["steps"]
    finished = job("mirrored", 2, "resume", run, "--plugin", plugin)
    assert finished.codes == [0], finished.outputs
    assert_same(run, alone)
