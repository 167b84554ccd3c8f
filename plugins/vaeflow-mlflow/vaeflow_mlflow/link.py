"""The MLflow run of a run directory. Every call may fail because of the disk, the network or the server."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vaeflow.errors import PluginError
from vaeflow.plots import FOLDER as PLOTS
from vaeflow.plots import METRICS
from vaeflow_mlflow.describe import CHANGED, ENDED, LONGEST_TAG, cut, merged, params_of, points_in, shown, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from vaeflow.callbacks import RunView
    from vaeflow_mlflow.describe import Point

RUN_FILE = "mlflow.json"
FOLDER = "mlruns"
FILES = ("config.toml", "environment.json", METRICS)
SPECIAL_URIS = ("databricks", "databricks-uc", "uc")  # URIs of MLflow that look like a folder's name


class Link:
    """Finds or creates the MLflow run of a run, and writes to it.

    Args:
        uri: the tracking store.
        experiment: its experiment.
        run_name: of a new run.
    """

    def __init__(self, uri: str, experiment: str, run_name: str) -> None:
        self._uri, self._experiment, self._run_name = uri, experiment, run_name
        self._id: str | None = None
        self._client: MlflowClient | None = None
        self._last: dict[str, int] = {}

    def send(self, run: RunView, points: Sequence[Point]) -> None:
        """Send new values; in the first call and after a failure, all missing values of metrics.jsonl.

        A metric's values are sent in the order of their steps. So MLflow has all values up to its last step, also if a
        resumed run repeats steps, or an error came in between.

        Args:
            run: the run.
            points: in the order of their steps.
        """
        from mlflow.entities import Metric

        unsure = self._client is None
        with self._writing(run) as (client, run_id):
            new = []
            for point in merged(points_in(run.directory / METRICS), points) if unsure else points:
                if point.step > self._last.get(point.key, -1):
                    self._last[point.key] = point.step
                    new.append(Metric(*point))
            client.log_batch(run_id, metrics=new)

    def end(self, run: RunView, status: str, note: str) -> None:
        """Store the status of a run that ended.

        Args:
            run: the run.
            status: FINISHED, FAILED or KILLED.
            note: the reason; stored in the tag `vaeflow.ended`.
        """
        with self._writing(run) as (client, run_id):
            if note:
                client.set_tag(run_id, ENDED, cut(note, LONGEST_TAG))
            client.set_terminated(run_id, status)

    def keep_files(self, run: RunView, kl: dict[str, dict[str, Any]]) -> None:
        """Upload the run's small files and plots.

        Args:
            run: the run.
            kl: divergence by split and dimension, see `vaeflow_mlflow.describe.kl_by_split`.
        """
        with self._writing(run) as (client, run_id):
            for name in FILES:
                if (run.directory / name).is_file():
                    client.log_artifact(run_id, str(run.directory / name))
            if (run.directory / PLOTS).is_dir():
                client.log_artifacts(run_id, str(run.directory / PLOTS), PLOTS)
            if kl:
                client.log_text(run_id, json.dumps(kl, indent=2, allow_nan=False), "kl_per_dimension.json")

    @contextmanager
    def _writing(self, run: RunView) -> Iterator[tuple[MlflowClient, str]]:
        """Yield the store and the MLflow run's id.

        After a failure it is unknown which values were stored, so they are read from the store before the next write.
        """
        try:
            if self._client is None or self._id is None:
                self._client, self._id = self._open(run)
            yield self._client, self._id
        except Exception:
            self._client = None
            raise

    def _open(self, run: RunView) -> tuple[MlflowClient, str]:
        from mlflow import MlflowClient
        from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

        try:
            client = MlflowClient(self._uri)
        except UnsupportedModelRegistryStoreURIException as error:
            hint = "a database needs the full MLflow: pip install mlflow"
            raise PluginError(f"MLflow has no store for {shown(self._uri)}; {hint}") from error
        before = self._id or _id_of(run)
        found = _existing(client, before) if before else None
        if found is None:
            if before:
                run.say(f"MLflow has no run {before}: starting a new one with all rows of metrics.jsonl")
            found = client.create_run(self._experiment_id(client), run_name=self._run_name, tags=tags_of(run))
            run.say(f"MLflow: run {found.info.run_id} of experiment {self._experiment!r} at {shown(self._uri)}")
        self._id = str(found.info.run_id)  # stored even if later calls fail, so that no second run is created
        run.write_json(RUN_FILE, {"run_id": self._id})
        self._describe(client, found, run)
        self._last = _last_steps(client, found)
        return client, self._id

    def _describe(self, client: MlflowClient, found: Run, run: RunView) -> None:
        """Write the config; MLflow's parameters can't be changed, so changes are written as a tag."""
        from mlflow.entities import Param

        now, there = params_of(run.settings), found.data.params
        client.log_batch(found.info.run_id, params=[Param(key, now[key]) for key in now if key not in there])
        changed = [
            f"{key} = {value} (was {there[key]})" for key, value in now.items() if there.get(key, value) != value
        ]
        if changed:
            client.set_tag(found.info.run_id, CHANGED, cut("; ".join(changed), LONGEST_TAG))
        if ENDED in found.data.tags:
            client.delete_tag(found.info.run_id, ENDED)
        client.update_run(found.info.run_id, status="RUNNING")

    def _experiment_id(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(client.create_experiment(self._experiment))
            except MlflowException:  # another run may have created it in between
                found = client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return str(found.experiment_id)


def _id_of(run: RunView) -> str | None:
    """Return the id in a run's directory; None if it is missing or can't be read."""
    kept = run.read_json(RUN_FILE).get("run_id")
    return None if kept is None else str(kept)


def uri_for(tracking: str | None, directory: Path) -> str:
    """Return the tracking URI of a run.

    Args:
        tracking: a URI or a folder; None for MLflow's own setting, or the folder `mlruns` beside the run's directory.
        directory: of the run.
    """
    import mlflow

    if tracking is None:
        set_already = mlflow.is_tracking_uri_set()
        return str(mlflow.get_tracking_uri()) if set_already else (directory.resolve().parent / FOLDER).as_uri()
    if urlsplit(tracking).scheme or tracking in SPECIAL_URIS:
        return tracking
    return Path(tracking).expanduser().resolve().as_uri()


def _existing(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, or None if it is missing or deleted."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return found if found.info.lifecycle_stage == "active" else None


def _last_steps(client: MlflowClient, found: Run) -> dict[str, int]:
    run_id = found.info.run_id
    return {key: max(point.step for point in client.get_metric_history(run_id, key)) for key in found.data.metrics}
