"""Progress, metrics.jsonl, and when plots are drawn."""

import io
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import by_hand

from vaeflow.callbacks import Callback, Record
from vaeflow.callbacks.metrics_log import MetricsLog
from vaeflow.callbacks.plots import Plots
from vaeflow.callbacks.progress import ProgressBar

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


def test_the_bar_starts_where_the_run_was_resumed(view, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    by_hand.live([ProgressBar()], view, first=4)
    first, last = (terminal.getvalue().split("\r")[i].strip() for i in (1, -1))
    assert "4/8" in first
    assert "8/8" in last
    assert "train=-192.00" in last
    assert "test=-182.00" in last


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
