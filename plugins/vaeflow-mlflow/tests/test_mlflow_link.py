"""How the callback finds its run, what it does while MLflow fails, and what it can't be told. No training."""

import json
import math
import socket
import subprocess
import sys
import time

import pytest
import vaeflow_mlflow
from vaeflow_mlflow.callback import MLflow, ending
from vaeflow_mlflow.describe import LONGEST_PARAM, Point, merged, params_of
from vaeflow_mlflow.settings import DEFAULTS, settings

from vaeflow.callbacks import Record, RunView
from vaeflow.cli import main
from vaeflow.config.schema import Config
from vaeflow.errors import LeavingError, MembersChangedError, NonFiniteError, PluginError, StoppedError, UsageError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def said():
    return []


@pytest.fixture
def view(tmp_path, said):
    """A run of 8 steps as callbacks see it; this one looks at no data and no model."""
    directory = tmp_path / "run"
    directory.mkdir()
    return RunView(directory, Config(steps=8, seed=7), None, None, 0, 8, 4, said.append)


def record(step, **scalars):
    return Record(step, step / 4, {name.replace("__", "/"): value for name, value in scalars.items()})


def client_at(folder):
    from mlflow import MlflowClient

    with settings():
        return MlflowClient(folder.as_uri())


def run_id(view):
    return json.loads((view.directory / "mlflow.json").read_text())["run_id"]


def steps(client, view, key):
    return [point.step for point in client.get_metric_history(run_id(view), key)]


def live(callback, view, *records):
    callback.on_start(view)
    for one in records:
        callback.on_log(view, one)
    callback.on_end(view)


# Where


def test_mlflows_own_setting_overrides_the_default_folder(view, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    live(MLflow(), view, record(1, a=1.0))
    assert steps(client_at(tmp_path / "elsewhere"), view, "a") == [1]
    assert not (tmp_path / "mlruns").exists()


def test_a_folder_an_experiment_and_a_name(view, tmp_path):
    live(MLflow(tracking=str(tmp_path / "a folder"), experiment="digits", run_name="first"), view, record(1, a=1.0))
    client = client_at(tmp_path / "a folder")
    found = client.get_run(run_id(view))
    assert found.info.run_name == "first"
    assert client.get_experiment(found.info.experiment_id).name == "digits"


def test_no_files_if_none_are_wanted(view, tmp_path):
    (view.directory / "config.toml").write_text("seed = 7\n")
    live(MLflow(artifacts=False), view)
    assert client_at(tmp_path / "mlruns").list_artifacts(run_id(view)) == []


def test_a_store_that_mlflow_does_not_know(view):
    callback = MLflow(tracking="pigeon://me:secret@loft")
    with pytest.raises(PluginError, match=r"no store for pigeon://\.\.\.@loft; .*pip install mlflow"):
        callback.on_start(view)


# Again


def test_a_new_process_resumes_the_run_and_logs_what_changed(view, tmp_path):
    first = MLflow()
    first.on_start(view)
    for step in (1, 2, 3):
        first.on_log(view, record(step, a=float(step)))
    first.on_exception(view, KeyboardInterrupt())
    client, same = client_at(tmp_path / "mlruns"), run_id(view)
    assert client.get_run(same).info.status == "KILLED"
    again = RunView(view.directory, Config(steps=9, seed=7), None, None, 1, 9, 4, view.say)
    live(MLflow(), again, record(2, a=2.0), record(3, a=3.0), record(4, a=4.0))
    assert run_id(view) == same
    assert steps(client, view, "a") == [1, 2, 3, 4]
    found = client.get_run(same)
    assert (found.info.status, found.data.params["steps"]) == ("FINISHED", "8")
    assert found.data.tags["vaeflow.changed"] == "steps = 9 (was 8)"


def test_a_run_that_was_deleted_is_made_anew_from_the_log(view, tmp_path, said):
    rows = [{"step": step, "epoch": step / 4, "a": None if step == 2 else 1.0} for step in (1, 2)]
    live(MLflow(), view, record(1, a=1.0), record(2, a=math.nan))
    client, gone = client_at(tmp_path / "mlruns"), run_id(view)
    client.delete_run(gone)
    (view.directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    live(MLflow(), view, record(3, a=1.0))
    assert run_id(view) != gone
    assert steps(client, view, "a") == [1, 2, 3]
    assert math.isnan(client.get_metric_history(run_id(view), "a")[1].value)
    assert any(f"MLflow has no run {gone}" in line for line in said)


def test_a_damaged_note_of_the_run_is_no_obstacle(view, tmp_path):
    (view.directory / "mlflow.json").write_text('{"run')
    live(MLflow(), view, record(1, a=1.0))
    assert steps(client_at(tmp_path / "mlruns"), view, "a") == [1]


# While MLflow fails


def test_what_waited_is_sent_once_mlflow_answers(view, tmp_path, said):
    store = tmp_path / "mlruns"
    store.write_text("in the way")
    callback = MLflow()
    callback.on_start(view)
    for step in (1, 2, 3):
        callback.on_log(view, record(step, a=1.0))
    assert len(said) == 1
    assert said[0].startswith("warning: MLflow failed (")
    store.unlink()
    callback._quiet_until = 0.0  # half a minute later
    callback.on_log(view, record(4, a=1.0))
    assert said[-1] == "MLflow is available again: missing data were sent"
    callback.on_end(view)
    assert steps(client_at(store), view, "a") == [1, 2, 3, 4]


def test_what_arrived_of_a_batch_is_not_sent_twice(view, tmp_path):
    callback = MLflow()
    callback.on_start(view)
    callback.on_log(view, record(1, a=1.0, b__c=1.0))
    metrics = next((tmp_path / "mlruns").glob("*/*/metrics"))
    (metrics / "b").rename(tmp_path / "b")
    (metrics / "b").write_text("in the way")  # a arrives, b/c does not
    callback.on_log(view, record(2, a=1.0, b__c=1.0))
    (metrics / "b").unlink()
    (tmp_path / "b").rename(metrics / "b")
    callback.on_end(view)
    client = client_at(tmp_path / "mlruns")
    assert steps(client, view, "a") == steps(client, view, "b/c") == [1, 2]


def test_a_missing_server_costs_seconds_and_is_retried_seldom(view, said):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    started = time.monotonic()
    callback = MLflow(tracking=f"http://127.0.0.1:{port}")
    callback.on_start(view)
    assert time.monotonic() - started < 15
    started = time.monotonic()
    for step in range(1, 100):
        callback.on_log(view, record(step, a=1.0))
    assert time.monotonic() - started < 1
    assert len(said) == 1
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        callback.on_end(view)


# Limits, and what can't be


def test_names_and_values_that_mlflow_does_not_take(view, tmp_path):
    odd = Record(1, 0.25, {"test/FID (μ)": 1.0, "train/loss": math.inf})
    live(MLflow(), view, odd)
    found = client_at(tmp_path / "mlruns").get_run(run_id(view)).data.metrics
    assert found == {"test/FID _μ_": 1.0, "train/loss": math.inf, "epoch": 0.25}


def test_a_long_value_is_cut(view, tmp_path):
    long = Config(steps=8, dataset={"name": "arrays", "path": "x" * 10_000})
    live(MLflow(), RunView(view.directory, long, None, None, 0, 8, 4, view.say))
    kept = client_at(tmp_path / "mlruns").get_run(run_id(view)).data.params["dataset.path"]
    assert kept == params_of(long.model_dump(mode="json"))["dataset.path"]
    assert len(kept) == LONGEST_PARAM


def test_points_come_in_the_order_of_their_steps():
    kept, newer = [Point("a", 1.0, 9, 1), Point("a", 1.0, 9, 2)], [Point("a", 1.0, 5, 2), Point("a", 1.0, 6, 3)]
    assert merged(kept, newer) == [Point("a", 1.0, 9, 1), Point("a", 1.0, 5, 2), Point("a", 1.0, 6, 3)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoppedError("stopped by SIGTERM"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (NonFiniteError("step 3: loss is nan"), "FAILED"),
        (ValueError("shape"), "FAILED"),
        (MembersChangedError("one more"), ""),
        (LeavingError("one less"), ""),
    ],
)
def test_how_a_run_ends(error, status):
    assert ending(error)[0] == status


def test_settings_of_the_user_stay(monkeypatch):
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    with settings():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ


def test_a_password_does_not_belong_into_a_config():
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_PASSWORD"):
        vaeflow_mlflow.mlflow(tracking="https://me:secret@host")


def test_without_mlflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PluginError, match="pip install mlflow-skinny"):
        vaeflow_mlflow.mlflow()


def test_listing_it_imports_neither_mlflow_nor_tensorflow(capsys):
    code = "import sys, vaeflow_mlflow; sys.exit(bool({'mlflow', 'tensorflow', 'keras'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert main(["plugins", "show", "callback", "mlflow"]) == 0
    assert "vaeflow-mlflow 0.1.0" in capsys.readouterr().out
