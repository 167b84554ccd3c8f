"""Progress, metrics.jsonl, and when plots are drawn."""

import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import by_hand
from tqdm import tqdm

from vaeflow.callbacks import Callback, Callbacks, Record
from vaeflow.callbacks.group import Called
from vaeflow.callbacks.metrics_log import MetricsLog
from vaeflow.callbacks.plots import Plots
from vaeflow.callbacks.progress import Closing, ProgressBar

# What a person sees


def test_each_evaluation_says_one_line(view, said):
    by_hand.live([ProgressBar()], view)
    assert said == [
        "epoch 1/2   test ELBO -186.00   (log-likelihood -180.00, KL 6.00)   1380 images/s",
        "epoch 2/2   test ELBO -182.00   (log-likelihood -176.00, KL 6.00)   1380 images/s",
    ]


def test_epochs_line_up_and_parts_may_lack(view, said):
    bar = ProgressBar()
    bar.on_start(replace(view, total_steps=80))
    record = Record(step=20, epoch=5.0, scalars={"validation/elbo": -150.471})
    bar.on_evaluation(replace(view, total_steps=80), record)
    bar.on_evaluation(view, Record(step=3, epoch=0.75, scalars={"train/loss": 1.0}))
    bar.on_end(view)
    assert said == ["epoch  5/20   validation ELBO -150.47"]


def test_the_bar_is_quiet_without_a_terminal(view, capfd):
    by_hand.live([ProgressBar()], view)
    assert capfd.readouterr().err == ""


def terminal_of(monkeypatch):
    """Return standard error as a terminal of 100 columns; `shown` returns what was drawn, one text for each time."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    stream.shown = lambda: [text.strip() for text in re.split("[\r\n]", stream.getvalue()) if text.strip()]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    return stream


def test_the_bar_is_right_after_a_resume(view, monkeypatch):
    """2 s for 2 of 200 steps after the compilation: 192 steps left of 8 images per second take 192 s."""
    terminal, run = terminal_of(monkeypatch), replace(view, first_step=4, total_steps=200)
    seconds = iter([1000.0, 1002.0])
    bar = ProgressBar(clock=lambda: next(seconds))
    bar.on_start(run)
    for step in (6, 8):
        run.newest.update({"train/elbo": -200.0 + step, "train/kl": 5.125, "train/examples_per_second": 8.4})
        bar.on_steps(run, step)
    with run.doing("evaluating"):
        pass
    bar.close()
    shown = terminal.shown()
    assert re.fullmatch(r"tiny epoch 1/50:   2%\|.+\| compiling the first step", shown[0])
    assert re.fullmatch(
        r"tiny epoch 2/50, evaluating:   4%\|.+\| ELBO -192.00, KL 5.12, 8 images/s, 03:12 left", shown[1]
    )
    assert shown[-1].startswith("tiny epoch 2/50:   4%|")


def test_the_bar_has_figures_from_the_first_steps_on(view, monkeypatch):
    terminal, bar = terminal_of(monkeypatch), ProgressBar()
    bar.on_start(view)
    view.newest.update({"train/elbo": -500.0, "train/kl": 1.0, "train/examples_per_second": 9.0})
    bar.on_steps(view, 1)
    bar.close()
    assert re.search(r"tiny epoch 1/2:  12%\|.+\| ELBO -500.00, KL 1.00, 9 images/s$", terminal.shown()[-1])


def test_the_bar_is_open_until_all_callbacks_have_ended(view, monkeypatch):
    class Late(Callback):
        def on_end(self, run):
            with run.doing("counting"):
                terminal.write("\rnow\r")

    terminal, bar = terminal_of(monkeypatch), ProgressBar()
    called = [Called.own(bar), Called(Late(), "late", "late of plugin 1"), Called.own(Closing(bar))]
    callbacks = Callbacks(called, view)
    callbacks.tell("on_start")
    callbacks.tell("on_steps", 8)
    callbacks.tell("on_end")
    ended = [text.partition(":")[0] for text in terminal.shown()[-5:]]
    plain = "tiny epoch 2/2"
    assert ended == [f"{plain}, counting", "now", f"{plain}, callback late", plain, plain]
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize(("widgets", "drawn"), [(True, "tqdm.notebook"), (False, "tqdm.std")])
def test_a_notebook_has_its_own_bar(widgets, drawn):
    """A process that looks like a kernel; without ipywidgets it has the terminal's bar, without a warning."""
    kernel = ["IPython", "IPython.display", "ipykernel", "ipykernel.zmqshell"]
    parts = ["HTML", "FloatProgress", "HBox"]
    code = f"""
import sys, types, warnings
warnings.simplefilter("error")
for name in {[*kernel, "ipywidgets"]}:
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = object
sys.modules["IPython.display"].display = print
for name in {parts if widgets else []}:
    setattr(sys.modules["ipywidgets"], name, object)
from vaeflow.callbacks.progress import bar_class, in_notebook
print(in_notebook(), "tqdm.notebook" if "tqdm_notebook" in str(bar_class().__mro__) else "tqdm.std")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"True {drawn}\n", "")


# metrics.jsonl


def test_metrics_are_rows_of_json(view):
    by_hand.live([MetricsLog()], view)
    rows = [json.loads(line) for line in (view.directory / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["epoch"]) for row in rows] == [(2, 0.5), (4, 1), (4, 1), (6, 1.5), (8, 2), (8, 2)]
    assert rows[1]["train/elbo"] == -196.0
    assert "test/elbo" not in rows[1]
    assert rows[2]["test/elbo"] == -186.0


def test_a_row_is_on_disk_as_soon_as_it_is_logged(view):
    log = MetricsLog()
    log.on_start(view)
    log.on_log(view, by_hand.log_record(2))
    assert len((view.directory / "metrics.jsonl").read_text().splitlines()) == 1
    log.on_exception(view, RuntimeError())


def test_json_has_no_nan(view):
    log = MetricsLog()
    log.on_start(view)
    log.on_log(view, Record(1, 0.25, {"a": math.nan, "b": math.inf, "c": np.float32(0.5)}))
    log.on_end(view)
    assert json.loads((view.directory / "metrics.jsonl").read_text()) == {
        "step": 1,
        "epoch": 0.25,
        "a": None,
        "b": None,
        "c": 0.5,
    }


@pytest.mark.parametrize("resumed", [0, 4])
def test_a_resumed_run_has_the_metrics_of_an_uninterrupted_one(view, resumed):
    path = view.directory / "metrics.jsonl"
    by_hand.live([MetricsLog()], view)
    whole = path.read_bytes()
    path.unlink()
    by_hand.live([MetricsLog()], view, until=6)
    with path.open("a") as file:
        file.write('{"step": 8, "epo')  # a machine died here
    by_hand.live([MetricsLog()], view, first=resumed)
    assert path.read_bytes() == whole


def test_progress_and_metrics_need_no_tensorflow():
    code = (
        "import sys, vaeflow.callbacks.base, vaeflow.callbacks.progress, vaeflow.callbacks.metrics_log, "
        "vaeflow.callbacks.plots, vaeflow.plots; sys.exit(bool({'tensorflow', 'matplotlib', 'keras'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Plots, and all together


@pytest.mark.slow
def test_plots_are_drawn_at_the_end_and_every_so_many_epochs(tmp_path, mnist_content):
    view = by_hand.view_of(tmp_path, by_hand.digits(mnist_content), epochs=5, said=[])
    by_hand.live([MetricsLog(), Plots(every_epochs=2)], view)
    folders = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "plots").rglob("latents.png")}
    assert folders == {"plots/latents.png", "plots/epoch-002/latents.png", "plots/epoch-004/latents.png"}


@pytest.mark.slow
def test_one_set_of_plots_by_default(view):
    by_hand.live([Plots()], view)
    assert not list((view.directory / "plots").glob("epoch-*"))


def test_a_callback_may_do_nothing(view):
    by_hand.live([Callback()], view)
    Callback().on_exception(view, RuntimeError())
    assert not list(view.directory.iterdir())
