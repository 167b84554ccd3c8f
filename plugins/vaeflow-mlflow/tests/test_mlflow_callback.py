"""Real runs on a few real digits, read back from MLflow's own store."""

import importlib.util
import json
import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.jobs import job
from vaeflow_mlflow.settings import DEFAULTS, settings

from vaeflow.cli import main
from vaeflow.data.sets import Folders
from vaeflow.data.sets.content import read_content
from vaeflow.data.sets.fetch import fetch

STOPPED, UNSAVED = 75, 74  # exit codes of vaeflow
HOROVOD = importlib.util.find_spec("horovod") is not None
TROUBLE = '''
import os, signal
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback

class Trouble(Callback):
    def __init__(self, how):
        self.how = how

    def on_log(self, run, record):
        if run.first_step == 0 and record.step == 9:
            if self.how == "error":
                raise RuntimeError("the dog ate it")
            os.kill(os.getpid(), signal.SIGTERM)

def trouble(*, how: str):
    """Fail, or be asked to stop, at step 9; not again once the run is resumed."""
    return Trouble(how)

@hookimpl
def vaeflow_components():
    yield Component("callback", "trouble", trouble)
'''


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folders = Folders.default()
    fetch("mnist", folders)
    x_train, y_train, x_test, y_test = read_content(folders.cache / "mnist.npz")
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x_train=x_train[:256], y_train=y_train[:256], x_test=x_test[:64], y_test=y_test[:64])
    return path


def arguments(run, digits, *more):
    """Return a run of 16 steps in 2 epochs: logged every 3, saved every 5, evaluated at 8 and 16."""
    small = ["encoder=mlp", "encoder.hidden=[8]", "decoder=mlp", "decoder.hidden=[8]", "batch_size=32", "epochs=2"]
    often = ["log.every_steps=3", "log.tensorboard=false", "checkpoint.every_steps=5", "microbatches=4"]
    data = ["dataset=arrays", f"dataset.path={digits}"]
    drawn = ["plots.draw=['manifold', 'curves']"]
    return ["train", "mnist-2d", "--run-dir", str(run), *data, *small, *often, *drawn, *more]


def trained(folder, digits, *more, code=0):
    run = folder / "run"
    assert main(arguments(run, digits, *more)) == code
    return run


@pytest.fixture(scope="module")
def plain(tmp_path_factory, digits):
    return trained(tmp_path_factory.mktemp("plain"), digits)


@pytest.fixture(scope="module")
def logged(tmp_path_factory, digits, plain):  # after plain, which starts TensorFlow's own threads
    before = {thread.name for thread in threading.enumerate()}
    run = trained(tmp_path_factory.mktemp("logged folder"), digits, 'callbacks=["mlflow"]')
    assert {thread.name for thread in threading.enumerate()} <= before
    return run


@pytest.fixture
def trouble(tmp_path):
    path = tmp_path / "trouble.py"
    path.write_text(TROUBLE)
    return path


def client_of(run):
    from mlflow import MlflowClient

    with settings():
        return MlflowClient((run.parent / "mlruns").as_uri())


def runs_of(run):
    client = client_of(run)
    experiments = [client.get_experiment_by_name("vaeflow").experiment_id]
    return client.search_runs(experiments)


def the_run(run):
    (found,) = runs_of(run)
    assert found.info.run_id == json.loads((run / "mlflow.json").read_text())["run_id"]
    return found


def history(run):
    """Return all values by metric, as (step, value) in the order they were logged."""
    client, found = client_of(run), the_run(run)
    keys = found.data.metrics
    return {key: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, key)] for key in keys}


def rows(run):
    """Return the same of metrics.jsonl."""
    values = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name != "step" and (row["step"], value) not in values.setdefault(name, []):  # epoch is in two rows
                values[name].append((row["step"], value))
    return values


def untimed(values):
    return {name: points for name, points in values.items() if name != "train/examples_per_second"}


def weights(run):
    return json.loads((run / "summary.json").read_text())["weights_sha256"]


def artifacts(run, path=None):
    listed = client_of(run).list_artifacts(the_run(run).info.run_id, path)
    return {name for one in listed for name in (artifacts(run, one.path) if one.is_dir else [one.path])}


# A run


def test_every_metric_is_there_at_every_step(logged):
    assert history(logged) == rows(logged)
    assert [step for step, _ in history(logged)["train/elbo"]] == [3, 6, 9, 12, 15, 16]
    assert [step for step, _ in history(logged)["test/elbo"]] == [8, 16]
    assert history(logged)["epoch"][-1] == (16, 2.0)


def test_the_config_and_what_runs_are_searched_by(logged, digits):
    found = the_run(logged)
    assert {
        "epochs": "2",
        "steps": "none",
        "xla": "false",
        "encoder.name": "mlp",
        "encoder.hidden": "[8]",
        "dataset.path": str(digits),
        "learning_rate": "0.001",
        "callbacks.0.name": "mlflow",
        "callbacks.0.tracking": "none",
    }.items() <= found.data.params.items()
    assert {
        "vaeflow.seed": "0",
        "vaeflow.dataset": "arrays",
        "vaeflow.binarization": "threshold",
        "vaeflow.strategy": "auto",
    }.items() <= found.data.tags.items()
    assert found.info.run_name == "run"


def test_the_files_are_kept(logged, tmp_path):
    plots = {f"plots/{name}.png" for name in ("manifold", "curves")}
    small = {"config.toml", "environment.json", "metrics.jsonl", "kl_per_dimension.json"}
    assert artifacts(logged) == plots | small
    client, run_id = client_of(logged), the_run(logged).info.run_id
    for name in ("config.toml", "plots/manifold.png"):
        assert Path(client.download_artifacts(run_id, name, str(tmp_path))).read_bytes() == (logged / name).read_bytes()
    kl = json.loads(Path(client.download_artifacts(run_id, "kl_per_dimension.json", str(tmp_path))).read_text())
    assert sum(kl["test"]["nats"]) == pytest.approx(history(logged)["test/kl"][-1][1], rel=1e-5)


def test_it_is_finished_and_leaves_nothing_behind(logged):
    import mlflow

    found = the_run(logged)
    assert found.info.status == "FINISHED"
    assert "vaeflow.ended" not in found.data.tags
    assert not any(name in os.environ for name in DEFAULTS)
    assert mlflow.active_run() is None
    assert not mlflow.is_tracking_uri_set()


def test_it_changes_no_weight(plain, logged):
    assert weights(logged) == weights(plain)


# Runs that end early


def test_a_run_that_fails_and_is_resumed(tmp_path, digits, plain, trouble):
    more = ('callbacks=["mlflow", {name="trouble", how="error"}]', "--plugin", str(trouble))
    run = trained(tmp_path, digits, *more, code=2)
    failed = the_run(run)
    assert failed.info.status == "FAILED"
    assert "the dog ate it" in failed.data.tags["vaeflow.ended"]
    assert [step for step, _ in history(run)["train/elbo"]] == [3, 6, 9]  # saved at 8, the end of the first epoch

    assert main(["resume", str(run), "--plugin", str(trouble)]) == 0
    finished = the_run(run)
    assert (finished.info.run_id, finished.info.status) == (failed.info.run_id, "FINISHED")
    assert "vaeflow.ended" not in finished.data.tags
    assert untimed(history(run)) == untimed(rows(run)) == untimed(rows(plain))
    assert history(run).keys() == rows(run).keys()
    assert weights(run) == weights(plain)


def test_a_run_that_is_stopped_and_resumed(tmp_path, digits, plain, trouble):
    more = ('callbacks=["mlflow", {name="trouble", how="signal"}]', "--plugin", str(trouble))
    run = trained(tmp_path, digits, *more, code=STOPPED)
    stopped = the_run(run)
    assert stopped.info.status == "KILLED"
    assert "SIGTERM" in stopped.data.tags["vaeflow.ended"]
    assert f"vaeflow resume {run}" in stopped.data.tags["vaeflow.ended"]
    assert main(["resume", str(run), "--plugin", str(trouble)]) == 0
    assert the_run(run).info.status == "FINISHED"
    assert untimed(history(run)) == untimed(rows(run)) == untimed(rows(plain))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_store_that_takes_nothing(tmp_path, digits, plain, capfd):
    (tmp_path / "mlruns").write_text("a file where a folder must be")
    run = trained(tmp_path, digits, 'callbacks=["mlflow"]', code=UNSAVED)
    out, said = capfd.readouterr()
    assert (out + said).count("warning: MLflow failed") == 1
    assert re.search(r"training has ended, but callback 'mlflow' of vaeflow-mlflow .* could not write", said)
    assert "Traceback" not in said
    assert untimed(rows(run)) == untimed(rows(plain))

    (tmp_path / "mlruns").unlink()
    assert main(["resume", str(run)]) == 0
    assert weights(run) == weights(plain)
    assert the_run(run).info.status == "FINISHED"
    assert history(run) == rows(run)
    assert "plots/manifold.png" in artifacts(run)


# Several replicas


@pytest.mark.slow
@pytest.mark.distributed
def test_a_job_of_two_replicas_is_one_run(tmp_path, digits, plain):
    run = tmp_path / "run"
    finished = job("horovod" if HOROVOD else "mirrored", 2, *arguments(run, digits, 'callbacks=["mlflow"]'))
    assert set(finished.codes) == {0}, finished.outputs
    assert the_run(run).info.status == "FINISHED"
    assert history(run) == rows(run)
    assert weights(run) == weights(plain)
