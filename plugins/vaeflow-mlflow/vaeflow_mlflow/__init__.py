"""A plugin of vaeflow: the callback `mlflow` logs runs to MLflow. Importing it imports no MLflow and no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vaeflow import Component, hookimpl
from vaeflow.errors import PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.callbacks import Callback

__all__ = ["mlflow", "vaeflow_components"]


def mlflow(
    *, tracking: str | None = None, experiment: str = "vaeflow", run_name: str | None = None, artifacts: bool = True
) -> Callback:
    """Logs config, metrics, plots and the end of a run to MLflow; a resumed run continues its MLflow run.

    Args:
        tracking: MLflow's tracking URI or a folder; 'none' uses MLflow's own setting (MLFLOW_TRACKING_URI) or, if it is
            not set, the folder `mlruns` beside the run's directory.
        experiment: the MLflow experiment; created if it does not exist.
        run_name: the run's name in MLflow; 'none' uses the name of the run's directory.
        artifacts: also store config.toml, metrics.jsonl and the plots in MLflow.
    """
    if tracking is not None and "@" in urlsplit(tracking).netloc:
        raise UsageError(
            "tracking contains a password, which config.toml would store: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI, in the environment"
        )
    from vaeflow_mlflow.callback import MLflow
    from vaeflow_mlflow.settings import settings

    try:
        with settings():
            import mlflow.tracking  # noqa: F401  # so that an error comes before the run starts
    except ImportError as error:
        raise PluginError(f"callback mlflow needs MLflow ({error}): pip install mlflow-skinny") from error
    return MLflow(tracking=tracking, experiment=experiment, run_name=run_name, artifacts=artifacts)


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the callback."""
    yield Component("callback", "mlflow", mlflow)
