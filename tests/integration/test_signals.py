"""Signals and Ctrl-C at any moment, to real processes: a known exit code, one line, nothing lost."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from helpers.small_runs import RUN, command_line, on, python, summary, train, vaeflow, write_digits
from helpers.tiers import few, repeated

SECONDS = 120  # in which a process must have come to a moment
LONG = ("microbatches=4", "steps=5000", "batch_size=8", "log.every_steps=500", "checkpoint.every_steps=50")

SLOW = """
import os
import signal
import time

from vaeflow import Component, hookimpl

WHERE = os.environ["SLOW"]
NUMBER = int(os.environ.get("NUMBER", signal.SIGINT))


def pause(where):
    if where == WHERE:
        for _ in range(2):
            os.kill(os.getpid(), NUMBER)
            time.sleep(0.1)
        time.sleep(600)


def slow_plot():
    return lambda subject: pause("plot")


def slow_metric():
    import tensorflow as tf

    def metric(x, terms):
        pause("tracing")
        kl = tf.numpy_function(lambda kl: pause("graph") or kl, [terms.kl], tf.float32)
        return tf.ensure_shape(kl, terms.kl.shape)

    return metric


def slow_callback():
    from vaeflow.callbacks import Callback

    class Slow(Callback):
        def on_start(self, run):
            pause("start")

        def on_checkpoint(self, run, step):
            pause("save")

        def on_evaluation(self, run, record):
            pause("evaluation")

        def on_exception(self, run, error):
            if WHERE == "exception":
                pause(WHERE)

    return Slow()


@hookimpl
def vaeflow_components():
    yield Component("plot", "slow", slow_plot)
    yield Component("metric", "slow", slow_metric)
    yield Component("callback", "slow", slow_callback)


pause("import")
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=128)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    return train(tmp_path_factory.mktemp("finished") / "run", digits, "steps=3", "plots.draw=['samples']")


def begin(*arguments, plain=False, **options):
    called = command_line(*arguments, plain=plain)
    return subprocess.Popen(called, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options})


def wait_for(found, process):
    until = time.monotonic() + SECONDS
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def begin_to_train(run, digits, **options):
    process = begin("train", "mnist-2d", "--run-dir", run, *on(digits, *LONG), **options)
    wait_for(lambda: list((run / "checkpoints").glob("step-*[1-9]*")), process)
    return process


def test_a_hangup_saves_and_stops(tmp_path, digits):
    run = tmp_path / "run"
    process = begin_to_train(run, digits)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 75, (out, err)
    assert "stopped by SIGHUP at rank 0 at step" in err


def test_a_terminal_that_is_closed_stops_a_run(tmp_path, digits):
    """Whatever it says then has no reader."""
    run = tmp_path / "run"
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    controlled = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {RUN}"
    called = [*python(), "-c", controlled, "train", "mnist-2d", "--run-dir", str(run), *on(digits, *LONG)]
    process = subprocess.Popen(called, **streams)
    os.close(theirs)
    wait_for(lambda: list((run / "checkpoints").glob("step-*[1-9]*")), process)
    os.close(ours)
    assert process.wait(SECONDS) == 75


def test_under_nohup_a_hangup_is_ignored(tmp_path, digits):
    run = tmp_path / "run"
    process = begin_to_train(run, digits, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 75


MOMENTS = ["save", "plot", "graph"]
MORE_MOMENTS = ["import", "start", "evaluation", "tracing", "exception"]


@pytest.mark.parametrize("where", [*MOMENTS, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_MOMENTS)])
def test_two_interrupts_end_a_run_at_any_moment(where, tmp_path, digits):
    plugin = tmp_path / "slow.py"
    plugin.write_text(SLOW)
    settings = on(digits, "steps=4", "callbacks=['slow']", "metrics=['slow']", "plots.draw=['slow']")
    if where == "exception":
        settings += ["nonfinite.stop_after=1", "nonfinite.action=stop", "learning_rate=1e38", "optimizer=sgd"]
    command = ("train", "mnist-2d", "--plugin", plugin, "--run-dir", tmp_path / "run", *settings)
    plain = where in ("import", "start")
    done = vaeflow(*command, plain=plain, env={**os.environ, "SLOW": where}, timeout=SECONDS)  # less than the pause
    assert done.returncode == 130, (done.returncode, done.stderr)
    assert done.stderr.strip() == "vaeflow: interrupted"


@pytest.mark.parametrize("pause", few([0.0, 0.02, 0.1, 0.3], 0.1))
def test_two_interrupts_end_a_command(pause, finished):
    """Also where the second one comes while the first is reported, or the interpreter ends."""
    process = begin("plot", finished, plain=True)
    wait_for(lambda: "matplotlib" in process_maps(process), process)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err.strip()) == (130, "vaeflow: interrupted"), (process.returncode, out, err)


def process_maps(process):
    with open(f"/proc/{process.pid}/maps") as maps:  # noqa: PTH123
        return maps.read()


LATE = """
import atexit, sys, threading, time
from vaeflow.cli import main
sys.argv = ["vaeflow", "--version"]
code = main()
atexit.register(time.sleep, {atexit})
threading.Thread(target=time.sleep, args=({thread},)).start()
print("done", flush=True)
sys.exit(code)
"""


@pytest.mark.parametrize("seconds", [{"atexit": 30, "thread": 0}, repeated({"atexit": 0, "thread": 30})])
def test_interrupts_as_the_interpreter_ends(seconds):
    """What is left to do then may hang; the exit code is known."""
    script = LATE.format(**seconds)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.stdout.readline() != b"done\n":
            pass
        for _ in range(2):
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 0


def test_one_interrupt_still_saves(tmp_path, digits):
    run = tmp_path / "run"
    process = begin_to_train(run, digits)
    process.send_signal(signal.SIGINT)
    assert "stopped by SIGINT at rank 0" in process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 75
    assert not (run / "summary.json").exists()


def test_a_reader_that_leaves_does_not_end_a_run(tmp_path, digits):
    read, write = os.pipe()
    run = tmp_path / "run"
    process = begin("train", "mnist-2d", "--run-dir", run, *on(digits, "steps=9"), stdout=write)
    os.close(write)
    os.close(read)
    assert process.communicate(timeout=SECONDS)[1] == ""
    assert process.returncode == 0
    assert summary(run)["steps"] == 9
