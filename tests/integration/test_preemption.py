"""A signal at any one rank: all stop at the same step, what they have is saved, and the run can go on."""

from __future__ import annotations

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.jobs import HOROVOD, begin, finish, process_of_rank, usual
from helpers.small_runs import on, rows, summary, train, tree, vaeflow, write_digits

from vaeflow.cli import main
from vaeflow.distributed.job.stop_signals import SIGNALS, StopRequest, stop_requests

STOPPED = 75
SECONDS = 30  # in which a job must have ended
LONG = (
    "microbatches=4",
    "batch_size=8",
    "steps=800",
    "log.every_steps=500",
    "checkpoint.every_steps=50",
    "optimizer=adam",
)
JOBS = [
    pytest.param(("single", 1, signal.SIGTERM), id="single TERM"),
    pytest.param(("single", 1, signal.SIGINT), id="single INT"),
    pytest.param(("single", 1, signal.SIGUSR1), id="single USR1"),
    pytest.param(("mirrored", 2, signal.SIGTERM), id="mirrored x2", marks=pytest.mark.distributed),
    pytest.param(("multiworker", 2, signal.SIGTERM), id="multiworker x2", marks=pytest.mark.distributed),
    pytest.param(
        ("horovod", 2, signal.SIGTERM), id="horovod x2", marks=[pytest.mark.distributed, pytest.mark.horovod, HOROVOD]
    ),
]

INTERRUPTING = """
import os
import signal
from pathlib import Path

from vaeflow import Component, hookimpl

MARK = Path(__file__).with_name("mark")  # while there is one, the first batch sends the last rank SIGTERM
BEGUN = Path(__file__).with_name("run") / "checkpoints/step-000000000"  # before, each rank tries the metric


def interrupt(kl):
    if MARK.exists() and BEGUN.exists() and '"index": 0' not in os.environ.get("TF_CONFIG", ""):
        MARK.unlink()
        os.kill(os.getpid(), signal.SIGTERM)
    return kl


def interrupting():
    import tensorflow as tf

    return lambda x, terms: tf.ensure_shape(tf.numpy_function(interrupt, [terms.kl], tf.float32), terms.kl.shape)


@hookimpl
def vaeflow_components():
    yield Component("metric", "interrupting", interrupting)
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=400)


@pytest.fixture(scope="module")
def settings(digits):
    return on(digits, *LONG)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, settings):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert vaeflow("train", "mnist-2d", "--run-dir", run, *settings).returncode == 0
    return run


def wait_until_it_trains(run, processes):
    """Wait for the first checkpoint after the one at step 0."""
    until = time.monotonic() + 100
    while not list((run / "checkpoints").glob("step-*[1-9]*")):
        assert all(process.poll() is None for process in processes), finish(processes).outputs
        assert time.monotonic() < until
        time.sleep(0.02)


def newest(run):
    return max(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))


@pytest.mark.slow
@pytest.mark.parametrize("how", usual(JOBS, "single TERM", "horovod x2"))
def test_a_signal_at_any_rank(tmp_path, settings, undisturbed, how):
    kind, count, number = how
    run, last = tmp_path / "run", 0 if kind == "mirrored" else count - 1
    processes = begin(kind, count, "train", "mnist-2d", "--run-dir", run, *settings)
    wait_until_it_trains(run, processes)
    os.kill(process_of_rank(kind, last, processes, run), number)
    asked = time.monotonic()
    finished = finish(processes)
    assert time.monotonic() - asked < SECONDS
    assert set(finished.codes) == ({1} if kind == "horovod" else {STOPPED})  # horovodrun's is always 1
    lines = [line for output in finished.outputs for line in output.splitlines() if "stopped by" in line]
    step = newest(run)
    expected = (
        f"stopped by {number.name} at rank {last} at step {step} of 800; the state is saved. `vaeflow resume {run}`"
    )
    assert len(lines) == 1
    assert expected in lines[0]
    assert not list(run.rglob("*.partial"))
    assert vaeflow("resume", run, "strategy=single").returncode == 0
    assert summary(run)["state_sha256"] == summary(undisturbed)["state_sha256"]
    assert rows(run) == rows(undisturbed)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("single", 1),
        pytest.param("multiworker", 2, marks=[pytest.mark.slow, pytest.mark.distributed, pytest.mark.repetition]),
    ],
)
def test_a_signal_in_an_evaluation(tmp_path, digits, kind, count):
    """It is heard within the evaluation, which the resumed run does again, from its beginning."""
    plugin = ("--plugin", tmp_path / "interrupting.py")
    plugin[1].write_text(INTERRUPTING)
    settings = on(digits, "microbatches=4", "epochs=2", "evaluate.samples=25", "metrics=['interrupting']")
    train_it = ("train", "mnist-2d", *plugin, *settings, "--run-dir")
    run, whole, mark = tmp_path / "run", tmp_path / "whole", tmp_path / "mark"
    mark.touch()
    finished = finish(begin(kind, count, *train_it, run))
    assert set(finished.codes) == {STOPPED}, finished.outputs
    assert not mark.exists()
    line = f"stopped by SIGTERM at rank {count - 1} at step 13 of 26; the state is saved. `vaeflow resume {run}`"
    assert sum(line in output for output in finished.outputs) == 1
    assert not any("test/elbo" in row for row in rows(run))
    saved = [path.name for path in sorted((run / "checkpoints").iterdir())]
    assert saved == ["step-000000000", "step-000000013-due"]
    assert vaeflow("resume", run, *plugin, "strategy=single").returncode == 0
    assert vaeflow(*train_it, whole).returncode == 0
    assert summary(run) == summary(whole)
    assert rows(run) == rows(whole)


@pytest.mark.slow
@pytest.mark.distributed
def test_a_signal_before_there_is_a_run_ends_it(tmp_path, digits):
    """TensorFlow's cluster service would swallow it."""
    plugin = tmp_path / "interrupting.py"
    plugin.write_text(INTERRUPTING.replace("and BEGUN.exists()", ""))
    (tmp_path / "mark").touch()
    settings = on(digits, "microbatches=4", "epochs=2", "metrics=['interrupting']")
    finished = finish(
        begin("multiworker", 2, "train", "mnist-2d", "--plugin", plugin, *settings, "--run-dir", tmp_path / "run")
    )
    assert finished.codes == [1, -signal.SIGTERM]
    assert "vaeflow: TensorFlow: Collective ops is aborted by: " in finished.outputs[0]


def test_a_second_interrupt_does_not_wait():
    request = StopRequest()
    request.receive(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        request.receive(signal.SIGINT, None)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.number is signal.SIGTERM  # the first
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.number is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_signals_alone():
    before = [signal.getsignal(number) for number in SIGNALS]

    def look():
        with stop_requests():
            return [signal.getsignal(number) for number in SIGNALS]

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(look).result() == before


def test_resume_auto(tmp_path, digits, capfd):
    run, whole = tmp_path / "run", train(tmp_path / "whole", digits, "steps=9")
    command = ["train", "mnist-2d", "--run-dir", str(run), "--resume", "auto", *on(digits, "steps=9")]
    assert main(command) == 0
    done = tree(run)
    capfd.readouterr()
    assert main([*command, "strategy=single"]) == 0  # how it is run is no difference
    assert "already finished at step 9 of 9; nothing was changed" in capfd.readouterr().out
    assert tree(run) == done
    (run / "summary.json").unlink()
    assert main(command) == 0
    assert summary(run)["state_sha256"] == summary(whole)["state_sha256"]


def test_resume_auto_takes_no_other_run(tmp_path, digits, capfd):
    run = train(tmp_path / "run", digits, "steps=2")
    before = tree(run)
    command = ["train", "mnist-2d", "--run-dir", str(run), "--resume", "auto"]
    capfd.readouterr()
    assert main([*command, *on(digits, "steps=2", "learning_rate=0.5")]) == 2
    line = f"--resume: {run} contains another run: learning_rate is 0.001 there and 0.5 here; choose another directory"
    assert line in capfd.readouterr().err
    assert tree(run) == before


def test_resume_auto_needs_a_directory(capfd):
    assert main(["train", "mnist-2d", "--resume", "auto"]) == 2
    assert "--resume auto needs --run-dir" in capfd.readouterr().err


def test_a_run_that_never_got_to_its_first_checkpoint_begins(tmp_path, digits, capfd):
    run, whole = tmp_path / "run", train(tmp_path / "whole", digits, "steps=3")
    run.mkdir()
    for name in ("config.toml", "environment.json"):
        shutil.copy(whole / name, run / name)
    (run / "checkpoints/.step-000000000.99.partial").mkdir(parents=True)
    assert main(["resume", str(run)]) == 0
    assert summary(run)["state_sha256"] == summary(whole)["state_sha256"]


def test_a_run_whose_checkpoints_are_gone_is_no_new_run(tmp_path, digits, capfd):
    run = train(tmp_path / "run", digits, "steps=3")
    shutil.rmtree(run / "checkpoints")
    (run / "summary.json").unlink()
    before = tree(run)
    assert main(["resume", str(run)]) == 1
    assert "the checkpoints are missing, but metrics.jsonl shows that the run was trained" in capfd.readouterr().err
    assert tree(run) == before


# A signal while plots are drawn

SIGNALLING = """
import os, signal
from vaeflow import Component, hookimpl

def signalling():
    return lambda subject: os.kill(os.getpid(), signal.SIGTERM)

@hookimpl
def vaeflow_components():
    yield Component("plot", "signalling", signalling)
"""


def test_a_signal_while_plots_are_drawn_ends_the_set(tmp_path, digits, capsys):
    plugin, run = tmp_path / "signalling.py", tmp_path / "run"
    plugin.write_text(SIGNALLING)
    settings = on(digits, "steps=2", 'plots.draw=["samples", "signalling", "latents", "curves"]')
    assert main(["train", "mnist-2d", "--plugin", str(plugin), "--run-dir", str(run), *settings]) == 0
    out = capsys.readouterr().out
    assert (
        "warning: a signal came, and these plots of epoch 0.1538 were not drawn: latents, curves; `vaeflow plot" in out
    )
    assert [path.name for path in (run / "plots").iterdir()] == ["samples.png"]
    assert summary(run)["steps"] == 2
